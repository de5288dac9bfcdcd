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
    match missing(installed) {
        Some(what) => bail!(what),
        None => Ok(()),
    }
}

fn missing(installed: impl Fn(&str) -> bool) -> Option<String> {
    let missing = PROGRAMS.iter().filter(|(any, _)| !any.iter().any(|name| installed(name)));
    let (names, packages): (Vec<_>, Vec<_>) = missing.map(|(any, package)| (any[0], *package)).unzip();
    (!names.is_empty()).then(|| format!("{} not found: run `apt-get install {}`", names.join(", "), packages.join(" ")))
}

/// Also in the folders that a plain user's PATH leaves out.
fn installed(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|folder| Path::new(folder).join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_the_command_that_helps() {
        assert_eq!(missing(|_| true), None);
        assert_eq!(missing(|program| program != "iptables-restore"), None, "another back end will do");
        let bare = missing(|program| program == "setpriv").unwrap();
        assert_eq!(bare, "ip, iptables-restore not found: run `apt-get install iproute2 iptables`");
    }
}
