//! What the machine must have before anything is set up.

use anyhow::{Result, bail};
use nix::unistd::Uid;
use std::path::Path;

/// Programs by the Debian package that brings them; any one of a line's programs will do.
const PROGRAMS: [(&[&str], &str); 3] = [
    (&["ip"], "iproute2"),
    (&["setpriv"], "util-linux"),
    (&["iptables-restore", "iptables-nft-restore", "iptables-legacy-restore"], "iptables"),
];

/// Fails with the one command that helps.
pub(crate) fn check() -> Result<()> {
    if !Uid::effective().is_root() {
        bail!("the demo makes network namespaces and needs root: run it with sudo");
    }
    let missing: Vec<_> = PROGRAMS.iter().filter(|(any, _)| !any.iter().any(|name| installed(name))).collect();
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|(any, _)| any[0]).collect();
        let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
        bail!("{} not found: run `apt-get install {}`", names.join(", "), packages.join(" "));
    }
    Ok(())
}

/// Also in the folders that a plain user's PATH leaves out.
fn installed(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|folder| Path::new(folder).join(program).is_file())
}
