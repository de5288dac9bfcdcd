//! The controllers.

use crate::env::{Environment, Workload};
use ipnet::IpNet;
use outrigger_mtls::grpc::ControlAddr;
use std::net::IpAddr;
use std::time::Duration;

/// Where destinations are resolved.
#[derive(Debug, Clone)]
pub struct Destination {
    pub addr: ControlAddr,
    pub streams: StreamLimits,
    pub context: String,
    /// Only addresses in these are looked up; `None`: all of them.
    pub networks: Option<Vec<IpNet>>,
}

/// Where policies come from.
#[derive(Debug, Clone)]
pub struct Policy {
    pub addr: ControlAddr,
    pub streams: StreamLimits,
    pub workload: String,
}

/// How long a controller's stream lives until it is opened anew; `None`: for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamLimits {
    /// Until its first message.
    pub initial: Option<Duration>,
    /// From one message to the next.
    pub idle: Option<Duration>,
    pub lifetime: Option<Duration>,
}

impl Destination {
    pub(super) fn read(env: &mut Environment<'_>) -> Option<Self> {
        let addr = controller(env, "DESTINATION_SVC");
        let streams = StreamLimits::read(env, addr.as_ref());
        let context = env.optional("DESTINATION_CONTEXT").unwrap_or_default();
        // Linkerd reads "unset" as "none" and learns of services by OutboundPolicies instead.
        let networks = env.optional("DESTINATION_PROFILE_NETWORKS");
        Some(Self { addr: addr?, streams, context, networks })
    }
}

impl Policy {
    pub(super) fn read(env: &mut Environment<'_>) -> Option<Self> {
        let addr = controller(env, "POLICY_SVC");
        let streams = StreamLimits::read(env, addr.as_ref());
        let workload = env.required("POLICY_WORKLOAD").map(|Workload(text)| text);
        Some(Self { addr: addr?, streams, workload: workload? })
    }
}

impl StreamLimits {
    /// A controller on loopback is this host's own: its streams last (A.2.1).
    fn read(env: &mut Environment<'_>, addr: Option<&ControlAddr>) -> Self {
        let limits = Self {
            initial: env.optional("CONTROL_STREAM_INITIAL_TIMEOUT"),
            idle: env.optional("CONTROL_STREAM_IDLE_TIMEOUT"),
            lifetime: env.optional("CONTROL_STREAM_LIFETIME"),
        };
        let set: Vec<Duration> = [limits.initial, limits.idle, limits.lifetime].into_iter().flatten().collect();
        if !set.is_sorted() || set.contains(&Duration::ZERO) {
            env.mistake(
                "CONTROL_STREAM_INITIAL_TIMEOUT",
                "must be above zero, at most CONTROL_STREAM_IDLE_TIMEOUT, and that at most CONTROL_STREAM_LIFETIME",
            );
        }
        if addr.is_some_and(on_loopback) { Self::default() } else { limits }
    }
}

fn on_loopback(addr: &ControlAddr) -> bool {
    addr.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) || addr.host == "localhost"
}

fn controller(env: &mut Environment<'_>, service: &str) -> Option<ControlAddr> {
    let name = format!("{service}_NAME");
    let addr: Option<ControlAddr> = env.required(&format!("{service}_ADDR"));
    let identity = env.optional(&name);
    let addr = addr?;
    let loopback = on_loopback(&addr);
    if identity.is_none() && !loopback {
        env.mistake(&name, format_args!("is not set, and {addr} is not on loopback: it must prove its identity"));
    }
    Some(ControlAddr { name: if loopback { None } else { identity }, ..addr })
}
