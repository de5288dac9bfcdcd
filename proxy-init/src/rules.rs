//! The rule list as data. A rule prints as iptables-save writes it, so that reading back is comparing text.

use std::fmt;

use ipnet::IpNet;

use crate::{Options, PortRange};

/// The chain that PREROUTING jumps to.
pub(crate) const REDIRECT: &str = "PROXY_INIT_REDIRECT";
/// The chain that OUTPUT jumps to.
pub(crate) const OUTPUT: &str = "PROXY_INIT_OUTPUT";

/// The kernel's chains with what jumps from them, and the name of the jump.
pub(crate) const HOOKS: [Hook; 2] = [
    Hook { from: "PREROUTING", to: REDIRECT, name: "install-proxy-init-prerouting" },
    Hook { from: "OUTPUT", to: OUTPUT, name: "install-proxy-init-output" },
];

/// How many ports one multiport match takes, a range counting as two (iptables-extensions(8)).
const MULTIPORT_PLACES: usize = 15;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Hook {
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    pub(crate) name: &'static str,
}

/// The address family of a rule list; each has its own tables in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// All rules of one address family, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSet {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    chain: &'static str,
    matches: Match,
    target: Target,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Match {
    Tcp,
    TcpPort(u16),
    TcpPorts(Vec<PortRange>),
    Source(IpNet),
    Uid(u32),
    Gid(u32),
    Loopback,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Return,
    Redirect(u16),
}

impl RuleSet {
    /// The rules for these options, in the order and with the names of linkerd.md D.1.
    pub fn new(options: &Options, family: Family) -> Self {
        Self { rules: inbound(options, family).into_iter().chain(outbound(options)).collect() }
    }

    /// A chain's rules as iptables-save writes them.
    pub(crate) fn of_chain<'a>(&'a self, chain: &'a str) -> impl Iterator<Item = String> + 'a {
        self.rules.iter().filter(move |rule| rule.chain == chain).map(Rule::to_string)
    }
}

fn inbound(options: &Options, family: Family) -> Vec<Rule> {
    let mut rules = ignore_ports(REDIRECT, &options.inbound_ports_to_ignore);
    for subnet in options.subnets_to_ignore.iter().filter(|subnet| family_of(subnet) == family) {
        let (name, matches) = (format!("ignore-subnet-{subnet}"), Match::Source(subnet.trunc()));
        rules.push(Rule { chain: REDIRECT, matches, target: Target::Return, name });
    }
    let target = Target::Redirect(options.incoming_proxy_port);
    for port in &options.ports_to_redirect {
        let name = format!("redirect-port-{port}-to-proxy-port");
        rules.push(Rule { chain: REDIRECT, matches: Match::TcpPort(*port), target, name });
    }
    if options.ports_to_redirect.is_empty() {
        let name = "redirect-all-incoming-to-proxy-port".to_owned();
        rules.push(Rule { chain: REDIRECT, matches: Match::Tcp, target, name });
    }
    rules
}

fn outbound(options: &Options) -> Vec<Rule> {
    let pass = |matches, name: &str| Rule { chain: OUTPUT, matches, target: Target::Return, name: name.to_owned() };
    let uid = options.proxy_uid.map(|uid| pass(Match::Uid(uid), "ignore-proxy-user-id"));
    let gid = options.proxy_gid.map(|gid| pass(Match::Gid(gid), "ignore-proxy-group-id"));
    let mut rules: Vec<Rule> = uid.into_iter().chain(gid).collect();
    rules.push(pass(Match::Loopback, "ignore-loopback"));
    rules.extend(ignore_ports(OUTPUT, &options.outbound_ports_to_ignore));
    let target = Target::Redirect(options.outgoing_proxy_port);
    let name = "redirect-all-outgoing-to-proxy-port".to_owned();
    rules.push(Rule { chain: OUTPUT, matches: Match::Tcp, target, name });
    rules
}

fn ignore_ports(chain: &'static str, ports: &[PortRange]) -> Vec<Rule> {
    let mut groups: Vec<Vec<PortRange>> = Vec::new();
    for port in ports {
        let taken = |group: &Vec<PortRange>| group.iter().map(|p| p.places()).sum::<usize>();
        match groups.last_mut() {
            Some(group) if taken(group) + port.places() <= MULTIPORT_PLACES => group.push(*port),
            _ => groups.push(vec![*port]),
        }
    }
    let rule = |group: Vec<PortRange>| {
        let name = format!("ignore-port-{}", join(&group));
        Rule { chain, matches: Match::TcpPorts(group), target: Target::Return, name }
    };
    groups.into_iter().map(rule).collect()
}

fn family_of(subnet: &IpNet) -> Family {
    if subnet.addr().is_ipv4() { Family::V4 } else { Family::V6 }
}

fn join(ports: &[PortRange]) -> String {
    ports.iter().map(PortRange::to_string).collect::<Vec<_>>().join(",")
}

/// A comment match with our prefix, as Linkerd names its rules.
pub(crate) fn comment(name: &str) -> String {
    format!("-m comment --comment \"proxy-init/{name}\"")
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "-A {} {}{} -j {}", self.chain, self.matches, comment(&self.name), self.target)
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => write!(f, "-p tcp "),
            Self::TcpPort(port) => write!(f, "-p tcp -m tcp --dport {port} "),
            Self::TcpPorts(ports) => write!(f, "-p tcp -m multiport --dports {} ", join(ports)),
            // A match of every address is none, and iptables-save does not print it.
            Self::Source(subnet) if subnet.prefix_len() == 0 => Ok(()),
            Self::Source(subnet) => write!(f, "-s {subnet} "),
            Self::Uid(uid) => write!(f, "-m owner --uid-owner {uid} "),
            Self::Gid(gid) => write!(f, "-m owner --gid-owner {gid} "),
            Self::Loopback => write!(f, "-o lo "),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Return => f.write_str("RETURN"),
            Self::Redirect(port) => write!(f, "REDIRECT --to-ports {port}"),
        }
    }
}

#[cfg(test)]
mod tests;
