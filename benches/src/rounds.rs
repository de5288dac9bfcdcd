//! The order of the measurements, and what one of them is.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use crate::path::Path;
use crate::{usage, wrk};

/// How much is measured.
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    pub(crate) seconds: u32,
    pub(crate) connections: &'static [u32],
}

impl Plan {
    pub(crate) fn new(rounds: u32, seconds: u32) -> Self {
        Self { rounds, seconds, connections: &[32, 1] }
    }

    pub(crate) fn quick() -> Self {
        Self::new(1, 1)
    }
}

/// One measurement of one path; the proxies' figures are of all its proxies together.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    pub(crate) path: &'static str,
    pub(crate) connections: u32,
    pub(crate) round: u32,
    pub(crate) requests: u64,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) cpu_us_per_request: Option<f64>,
    pub(crate) resident_mb: Option<f64>,
}

/// Measures every path in turns; who begins changes from round to round. Prints each figure as it comes.
pub(crate) fn run(plan: &Plan, paths: &[Path]) -> Result<Vec<Sample>> {
    for path in paths {
        wrk::load(&path.client, path.target, 32, 1).with_context(|| format!("warming {} up", path.name))?;
    }
    let mut samples = Vec::new();
    for &connections in plan.connections {
        for round in 0..plan.rounds {
            for turn in 0..paths.len() {
                let path = &paths[(turn + round as usize) % paths.len()];
                let sample = measure(path, connections, round, plan.seconds)
                    .with_context(|| format!("{} with {connections} connections", path.name))?;
                println!("{}", sample.line(plan.rounds));
                samples.push(sample);
            }
        }
    }
    Ok(samples)
}

fn measure(path: &Path, connections: u32, round: u32, seconds: u32) -> Result<Sample> {
    let cpu_times = || path.proxies.iter().map(|proxy| usage::cpu_time(proxy.pid())).collect::<Result<Vec<_>>>();
    let before = cpu_times()?;
    let load = wrk::load(&path.client, path.target, connections, seconds)?;
    load.check(connections)?;
    let used: Vec<Duration> =
        cpu_times()?.iter().zip(before).map(|(after, before)| after.saturating_sub(before)).collect();
    ensure!(used.iter().all(|time| !time.is_zero()), "the requests went past a proxy");
    let resident_kb: u64 = path.proxies.iter().map(|proxy| usage::resident_kb(proxy.pid())).sum::<Result<u64>>()?;
    let proxied = !path.proxies.is_empty();
    let micros = used.iter().sum::<Duration>().as_secs_f64() * 1e6;
    Ok(Sample {
        path: path.name,
        connections,
        round,
        requests: load.requests,
        requests_per_second: load.requests as f64 / (load.duration_us as f64 / 1e6),
        p50_us: load.p50_us as f64,
        p99_us: load.p99_us as f64,
        cpu_us_per_request: proxied.then_some(micros / load.requests as f64),
        resident_mb: proxied.then_some(resident_kb as f64 / 1024.0),
    })
}

impl Sample {
    fn line(&self, rounds: u32) -> String {
        let cpu = self.cpu_us_per_request.map(|cpu| format!("{cpu:6.1} us CPU/request")).unwrap_or_default();
        format!(
            "c{:<3} round {}/{rounds}  {:<10} {:>8.0} requests/s  p50 {:>6.0} us  p99 {:>6.0} us  {cpu}",
            self.connections,
            self.round + 1,
            self.path,
            self.requests_per_second,
            self.p50_us,
            self.p99_us
        )
    }
}
