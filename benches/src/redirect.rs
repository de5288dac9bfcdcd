//! The redirect rules of a proxied host, written by outrigger-proxy-init as for any workload.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use outrigger_testkit::Host;

pub(crate) const OUTBOUND_PORT: u16 = 4140;
pub(crate) const INBOUND_PORT: u16 = 4143;
/// The user whose connections are not redirected.
pub(crate) const PROXY_UID: u32 = 2102;

/// A program that was built together with this one.
pub(crate) fn sibling(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(path.is_file(), "{} is missing: run `cargo build --release --workspace --bins`", path.display());
    Ok(path)
}

/// Sends the host's TCP through the proxy's two ports.
pub(crate) fn redirect(host: &Host) -> Result<()> {
    let program = sibling("outrigger-proxy-init")?;
    let (outbound, inbound, uid) = (OUTBOUND_PORT.to_string(), INBOUND_PORT.to_string(), PROXY_UID.to_string());
    let args = ["--outgoing-proxy-port", &outbound, "--incoming-proxy-port", &inbound, "--proxy-uid", &uid];
    let output = host.run(&program.to_string_lossy(), &args).context("cannot run outrigger-proxy-init")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "outrigger-proxy-init on {}: {said}", host.name());
    Ok(())
}
