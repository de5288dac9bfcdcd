//! The process itself.

use crate::env::{Environment, LogFilter, LogFormat};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Threads, the admin server, the end.
#[derive(Debug, Clone)]
pub struct Process {
    pub admin: SocketAddr,
    pub workers: usize,
    /// How long a drain may take (`SHUTDOWN_GRACE_PERIOD`).
    pub grace: Duration,
    /// Whether `POST /shutdown` begins a drain.
    pub shutdown_endpoint: bool,
    /// How long series of metrics that nothing counts any more are shown.
    pub retain_idle: Duration,
    /// What `/env.json` shows: the variables of the contract and our own, nothing else of the environment.
    pub environment: BTreeMap<String, String>,
}

impl Process {
    pub(super) fn read(env: &mut Environment<'_>, variables: &BTreeMap<String, String>) -> Self {
        let ours = |name: &str| name.starts_with(crate::env::PREFIX) || name.starts_with("OUTRIGGER_");
        // The log was started before anything else; here only its mistakes are noted.
        let _ = (env.optional::<LogFilter>("LOG"), env.optional::<LogFormat>("LOG_FORMAT"));
        let shown = variables.iter().filter(|(name, _)| ours(name));
        Self {
            admin: env.value("ADMIN_LISTEN_ADDR"),
            workers: workers(env),
            grace: env.value("SHUTDOWN_GRACE_PERIOD"),
            shutdown_endpoint: env.value("SHUTDOWN_ENDPOINT_ENABLED"),
            retain_idle: env.value("METRICS_RETAIN_IDLE"),
            environment: shown.map(|(name, value)| (name.clone(), value.clone())).collect(),
        }
    }
}

fn workers(env: &mut Environment<'_>) -> usize {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    let older = env.value("CORES");
    let least: usize = env.value("CORES_MIN");
    let ratio: Option<f64> = env.optional("CORES_MAX_RATIO");
    if let Some(ratio) = ratio.filter(|ratio| *ratio > 1.0) {
        env.mistake("CORES_MAX_RATIO", format_args!("{ratio} is not between 0 and 1"));
    }
    let of_ratio = ratio.map(|ratio| (available as f64 * ratio).round() as usize);
    let most = env.optional("CORES_MAX").or(of_ratio).unwrap_or(older);
    most.max(least).clamp(1, available)
}
