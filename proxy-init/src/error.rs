use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::Family;

/// Why the rules could not be read, written or verified, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "{program} is not installed: install it with `apt-get install iptables`, or name another back end with --iptables-mode"
    )]
    Missing { program: String },
    #[error("cannot start {program}: {source}")]
    Start { program: String, source: io::Error },
    #[error(
        "`{command}` is not allowed to: {message} (run as root; in a pod, add the capabilities NET_ADMIN and NET_RAW)"
    )]
    NotPermitted { command: String, message: String },
    #[error("`{command}` failed: {message}")]
    Failed { command: String, message: String },
    #[error("no iptables back end works for {family}: {}", .tried.join("; "))]
    NoBackend { family: Family, tried: Vec<String> },
    #[error("IPv6 traffic would bypass the proxy: {0}; make ip6tables work, or accept it with --ipv6=false")]
    Ipv6Bypass(Box<Self>),
    #[error("another program held {} for {waited:?}: try again when it is done, or pass --use-wait-flag to wait for it", path.display())]
    Locked { path: PathBuf, waited: Duration },
    #[error("the kernel does not hold the {family} rules that {program} was given: {}; does another program rewrite them?", .differences.join("; "))]
    Drift { family: Family, program: String, differences: Vec<String> },
    #[error(
        "--netns {path}: {source}; name a namespace of `ip netns list`, or a path like /proc/PID/ns/net, and run as root"
    )]
    Namespace { path: String, source: io::Error },
    #[error("--timeout-close-wait-secs: cannot write {path}: {source}; it needs root and the kernel's conntrack")]
    CloseWait { path: String, source: io::Error },
}

impl Error {
    pub(crate) fn start(program: &str, source: io::Error) -> Self {
        let program = program.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { program },
            _ => Self::Start { program, source },
        }
    }

    /// Reads what a program said on its standard error.
    pub(crate) fn failed(command: &str, stderr: &str) -> Self {
        let lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let message = lines.collect::<Vec<_>>().join("; ");
        let command = command.to_owned();
        match ["Permission denied", "not permitted", "must be root"].iter().any(|sign| message.contains(sign)) {
            true => Self::NotPermitted { command, message },
            false => Self::Failed { command, message },
        }
    }
}
