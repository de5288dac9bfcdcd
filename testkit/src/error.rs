use std::io;
use std::time::Duration;

/// What went wrong while building or using a network of namespaces, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("network namespaces need root: run this as root, e.g. with sudo")]
    NotRoot,
    #[error("{program} is not installed: install it with `apt-get install {package}`")]
    Missing { program: String, package: &'static str },
    #[error("{program} does not exist: build it first, or correct the path")]
    NoProgram { program: String },
    #[error("`{command}` failed: {message}{}", hint(.message))]
    Command { command: String, message: String },
    #[error("host name {name:?}: {problem}; use 1 to 15 of a-z, 0-9 and '-', each name once per network")]
    HostName { name: String, problem: &'static str },
    #[error("address {address:?} of host {host}: {problem}; write e.g. 10.77.0.2/24 or fd77::2/64")]
    Address { host: String, address: String, problem: String },
    #[error("{what}: {source}{}", hint(&source.to_string()))]
    Io { what: String, source: io::Error },
    #[error("the capture lost {lost} frames: record a shorter span or less traffic")]
    FramesLost { lost: u64 },
    #[error("waited {waited:?} for {what}, in vain{log}")]
    TimedOut { what: String, waited: Duration, log: String },
    #[error("{program} ended ({status}) while waiting for {what}{log}")]
    Ended { program: String, status: String, what: String, log: String },
}

impl Error {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

fn hint(message: &str) -> &'static str {
    if message.contains("not permitted") || message.contains("Permission denied") {
        " (CAP_NET_ADMIN and CAP_SYS_ADMIN are needed: run as root, and a container as privileged)"
    } else {
        ""
    }
}
