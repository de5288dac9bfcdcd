//! The redirect rules of a proxied host, written by outrigger-proxy-init as for any workload.

use anyhow::{Context as _, Result, ensure};
use outrigger_testkit::Host;

use crate::programs;

pub(crate) const OUTBOUND_PORT: u16 = 4140;
pub(crate) const INBOUND_PORT: u16 = 4143;
/// The users that the client's and the server's proxy run as.
pub(crate) const CLIENT_UID: u32 = 2102;
pub(crate) const SERVER_UID: u32 = 2103;

/// Sends the host's TCP through the proxy's two ports, but for what the proxy's user sends.
pub(crate) fn redirect(host: &Host, proxy_uid: u32) -> Result<()> {
    let program = programs::ours("outrigger-proxy-init")?;
    let (outbound, inbound, uid) = (OUTBOUND_PORT.to_string(), INBOUND_PORT.to_string(), proxy_uid.to_string());
    let args = ["--outgoing-proxy-port", &outbound, "--incoming-proxy-port", &inbound, "--proxy-uid", &uid];
    let output = host.run(&program.to_string_lossy(), &args).context("cannot run outrigger-proxy-init")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "outrigger-proxy-init on {}: {said}", host.name());
    Ok(())
}
