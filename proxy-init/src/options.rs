use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;

/// What to redirect and what to leave alone; the same names as the flags of linkerd.md D.1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub incoming_proxy_port: u16,
    pub outgoing_proxy_port: u16,
    /// Traffic of this user is the proxy's own and passes; 0 is a user like any other.
    pub proxy_uid: Option<u32>,
    pub proxy_gid: Option<u32>,
    /// The inbound ports to redirect; none means all.
    pub ports_to_redirect: Vec<u16>,
    pub inbound_ports_to_ignore: Vec<PortRange>,
    pub outbound_ports_to_ignore: Vec<PortRange>,
    /// Inbound traffic from these sources passes.
    pub subnets_to_ignore: Vec<IpNet>,
}

/// An option's value that cannot be used, with what would be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidOption {
    #[error("{0:?} is neither a port (1 to 65535) nor a range of ports like 4567-4568")]
    Port(String),
    #[error("the range {0:?} ends before it starts: write the lower port first")]
    Reversed(String),
    #[error("--incoming-proxy-port and --outgoing-proxy-port are both {0}: the proxy listens on two ports")]
    SamePort(u16),
}

impl Options {
    /// Refuses what no single value shows to be wrong.
    pub fn validate(&self) -> Result<(), InvalidOption> {
        match self.incoming_proxy_port == self.outgoing_proxy_port {
            true => Err(InvalidOption::SamePort(self.incoming_proxy_port)),
            false => Ok(()),
        }
    }
}

/// One port, or several in a row, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// How many of a multiport match's fifteen places this takes (iptables-extensions(8)).
    pub(crate) fn places(self) -> usize {
        if self.first == self.last { 1 } else { 2 }
    }
}

impl From<u16> for PortRange {
    fn from(port: u16) -> Self {
        Self { first: port, last: port }
    }
}

impl FromStr for PortRange {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| match text.trim().parse() {
            Ok(0) | Err(_) => Err(InvalidOption::Port(text.to_owned())),
            Ok(port) => Ok(port),
        };
        let whole = |_| InvalidOption::Port(text.to_owned());
        let (first, last) = (port(first).map_err(whole)?, port(last).map_err(whole)?);
        if first > last { Err(InvalidOption::Reversed(text.to_owned())) } else { Ok(Self { first, last }) }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.places() {
            1 => write!(f, "{}", self.first),
            _ => write!(f, "{}:{}", self.first, self.last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_ranges_parse_and_print_as_iptables_writes_them() {
        for (text, printed) in
            [("4190", "4190"), ("4567-4568", "4567:4568"), ("80-80", "80"), (" 1 - 65535", "1:65535")]
        {
            assert_eq!(text.parse::<PortRange>().unwrap().to_string(), printed, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_port_is_refused_by_name() {
        for text in ["", "0", "65536", "http", "1-", "-1", "1-2-3", "1:2"] {
            assert_eq!(text.parse::<PortRange>(), Err(InvalidOption::Port(text.to_owned())));
        }
        assert_eq!("9-8".parse::<PortRange>(), Err(InvalidOption::Reversed("9-8".to_owned())));
    }
}
