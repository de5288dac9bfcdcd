//! The demo's client at work inside a machine.

use super::load::{Tally, UNDER_WAY};
use anyhow::{Context as _, Result, bail};
use outrigger_testkit::{Host, Process, Program};
use std::path::Path;
use std::time::Duration;

/// Time for the first answers, and for the last ones after the load was told to stop.
const PATIENCE: Duration = Duration::from_secs(15);

/// Sends this many requests and counts what comes back.
pub(crate) fn ask(outrigger: &Path, host: &Host, url: &str, requests: u64, connections: u32) -> Result<Tally> {
    let (requests, connections) = (requests.to_string(), connections.to_string());
    let program = outrigger.to_str().context("our program's path is not UTF-8")?;
    let args = ["demo", "load", "--url", url, "--requests", &requests, "--connections", &connections];
    let output = host.run(program, &args)?;
    if !output.status.success() {
        bail!("the client in {} failed: {}", host.name(), String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("the client's tally is not understood")
}

/// Load that goes on until it is stopped: POSTs, so that no proxy hides a failure by sending a request again.
pub(crate) struct Load(Process);

impl Load {
    /// Starts it and waits until hundreds of requests have been answered.
    pub(crate) fn start(outrigger: &Path, host: &Host, url: &str, connections: u32) -> Result<Self> {
        let connections = connections.to_string();
        let args = ["demo", "load", "--method", "POST", "--url", url, "--connections", &connections];
        let mut load = host.spawn(&Program::new(outrigger).args(args))?;
        load.wait_for("the load's first answers", PATIENCE, |load| load.log().contains(UNDER_WAY))?;
        Ok(Self(load))
    }

    /// Ends it and counts.
    pub(crate) fn stop(mut self) -> Result<Tally> {
        self.0.terminate()?;
        self.0.wait(PATIENCE)?;
        let log = self.0.log();
        serde_json::from_str(log.lines().last().unwrap_or_default()).with_context(|| format!("the load failed: {log}"))
    }
}
