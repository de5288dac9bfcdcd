//! A workload that runs: its application, its proxy, and the ways in which both end.

use super::Play;
use super::admin;
use super::binaries::Binaries;
use super::issuer::Issuer;
use super::layout::{GROUP, Workload};
use anyhow::{Context as _, Result, bail};
use outrigger_testkit::{Host, Process, Program};
use std::fs;
use std::process::ExitStatus;
use std::time::Duration;

/// How long a part may take to come up, or to drain.
const PATIENCE: Duration = Duration::from_secs(15);

/// Time for every proxy to hear that the pod is going, before its application stops; on a cluster often 5 to 15 s.
const PRESTOP: &str = "2s";

/// The two programs of a machine.
pub(crate) struct Running {
    host: Host,
    app: Process,
    proxy: Process,
}

impl Running {
    /// Starts both; the redirect rules must be there already, so that not one connection goes around the proxy.
    pub(crate) fn start(play: &Play, binaries: &Binaries, issuer: &Issuer, it: &Workload, host: &Host) -> Result<Self> {
        let anchors = fs::read_to_string(&issuer.anchors)
            .with_context(|| format!("cannot read the trust anchors {}", issuer.anchors.display()))?;
        let socket = issuer.socket.to_str().context("the Workload API's path is not UTF-8")?;
        let environment = it.environment(socket, &anchors);
        let proxy = Program::new(&binaries.proxy).user(it.uid, GROUP, &[]);
        let proxy = environment.iter().fold(proxy, |program, (name, value)| program.env(name, value));
        let payload = it.payload();
        let app = ["demo", "app", "--listen", "0.0.0.0:80", "--text", &payload, "--prestop", PRESTOP];
        let app = Program::new(&binaries.outrigger).args(app);
        let (proxy, app) = (host.spawn(&play.lasting(proxy))?, host.spawn(&play.lasting(app))?);
        Ok(Self { host: host.clone(), app, proxy })
    }

    /// Waits until the application listens and the proxy has its SVID.
    pub(crate) fn wait_ready(&mut self) -> Result<()> {
        let host = &self.host;
        self.app.wait_for("the application to listen", PATIENCE, |_| host.is_listening(80).unwrap_or(false))?;
        self.proxy.wait_for("the proxy to be ready", PATIENCE, |_| admin::is_ready(host, admin::PROXY))?;
        Ok(())
    }

    /// As a kubelet does: SIGTERM to the application, which serves on through its preStop time, then to the proxy.
    pub(crate) fn end_gracefully(&mut self) -> Result<()> {
        self.app.terminate()?;
        exited_well("the application", self.app.wait(PATIENCE)?)?;
        self.proxy.terminate()?;
        exited_well("the proxy", self.proxy.wait(PATIENCE)?)
    }

    /// As a crash does: SIGKILL to both at once.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.app.kill()?;
        self.proxy.kill()?;
        self.app.wait(PATIENCE)?;
        self.proxy.wait(PATIENCE)?;
        Ok(())
    }

    /// Whether both programs still run.
    pub(crate) fn runs(&mut self) -> bool {
        self.app.status().is_none() && self.proxy.status().is_none()
    }

    /// When the certificate that the proxy uses expires, in Unix seconds.
    pub(crate) fn certificate_expiry(&self) -> Result<f64> {
        let metrics = admin::fetch(&self.host, admin::PROXY, "/metrics")?;
        let name = "control_identity_cert_expiration_timestamp_seconds";
        admin::metric(&metrics, name).with_context(|| format!("{}'s proxy has no metric {name}", self.host.name()))
    }
}

fn exited_well(who: &str, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("{who} ended with {status} after SIGTERM");
    }
    Ok(())
}
