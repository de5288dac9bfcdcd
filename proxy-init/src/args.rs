use std::str::FromStr;

use clap::builder::{BoolishValueParser, PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Parser, ValueEnum};
use ipnet::IpNet;
use outrigger_proxy_init::{Firewall, Mode, Options, PortRange, Programs};
use tracing_subscriber::filter::LevelFilter;

/// Redirects a workload's TCP traffic to the proxy with iptables, in one transaction, reversibly.
#[derive(Debug, Parser)]
#[command(name = "outrigger-proxy-init", version)]
pub(crate) struct Args {
    /// Port of the proxy that takes incoming traffic
    #[arg(short = 'p', long, value_name = "PORT", value_parser = port(), default_value_t = 4143)]
    incoming_proxy_port: u16,

    /// Port of the proxy that takes outgoing traffic
    #[arg(short = 'o', long, value_name = "PORT", value_parser = port(), default_value_t = 4140)]
    outgoing_proxy_port: u16,

    /// User that the proxy runs as, whose traffic passes; 0 is root, -1 is nobody
    #[arg(short = 'u', long, value_name = "UID", value_parser = owner(), allow_negative_numbers = true, default_value = "-1")]
    proxy_uid: i64,

    /// Group that the proxy runs as, whose traffic passes; -1 is none
    #[arg(short = 'g', long, value_name = "GID", value_parser = owner(), allow_negative_numbers = true, default_value = "-1")]
    proxy_gid: i64,

    /// Incoming ports to redirect, separated by commas; all if none is given
    #[arg(short = 'r', long, value_name = "PORTS", value_parser = List::<Port>::parse)]
    ports_to_redirect: Vec<List<Port>>,

    /// Incoming ports and ranges like 4567-4568 that pass
    #[arg(long, value_name = "PORTS", value_parser = List::<PortRange>::parse)]
    inbound_ports_to_ignore: Vec<List<PortRange>>,

    /// Outgoing ports and ranges like 4567-4568 that pass
    #[arg(long, value_name = "PORTS", value_parser = List::<PortRange>::parse)]
    outbound_ports_to_ignore: Vec<List<PortRange>>,

    /// Subnets like 10.0.0.0/8 from which incoming traffic passes
    #[arg(long, value_name = "SUBNETS", value_parser = List::<IpNet>::parse)]
    subnets_to_ignore: Vec<List<IpNet>>,

    /// Print the rules instead of writing them
    #[arg(long, default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true,
          value_parser = BoolishValueParser::new(), action = ArgAction::Set)]
    pub(crate) simulate: bool,

    /// Network namespace to work in: a path, or a name that `ip netns` knows
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) netns: Option<String>,

    /// Wait for the lock of iptables for as long as it takes
    #[arg(short = 'w', long, default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true,
          value_parser = BoolishValueParser::new(), action = ArgAction::Set)]
    use_wait_flag: bool,

    /// Seconds for which conntrack remembers a half-closed connection; 0 leaves the kernel's value
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) timeout_close_wait_secs: u32,

    /// Form of the log lines
    #[arg(long, value_enum, default_value_t = LogFormat::Plain)]
    pub(crate) log_format: LogFormat,

    /// Least severity that is logged
    #[arg(long, default_value = "info", value_parser = level())]
    pub(crate) log_level: LevelFilter,

    /// Variant of iptables: legacy, nft or plain; legacy if neither this nor a path is given
    #[arg(long, value_name = "MODE")]
    iptables_mode: Option<Mode>,

    /// Redirect IPv6 too; on by default, where it may fail only if there is no IPv6
    #[arg(long, default_missing_value = "true", num_args = 0..=1, require_equals = true, value_parser = BoolishValueParser::new(),
          action = ArgAction::Set)]
    pub(crate) ipv6: Option<bool>,

    /// Path of iptables, without --iptables-mode
    #[arg(long, value_name = "PATH")]
    firewall_bin_path: Option<String>,

    /// Path of iptables-save, without --iptables-mode
    #[arg(long, value_name = "PATH")]
    firewall_save_bin_path: Option<String>,

    /// Remove the rules instead of writing them
    #[arg(long, conflicts_with = "simulate")]
    pub(crate) uninstall: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    Plain,
    Json,
}

impl Args {
    pub(crate) fn options(&self) -> Options {
        Options {
            incoming_proxy_port: self.incoming_proxy_port,
            outgoing_proxy_port: self.outgoing_proxy_port,
            proxy_uid: u32::try_from(self.proxy_uid).ok(),
            proxy_gid: u32::try_from(self.proxy_gid).ok(),
            ports_to_redirect: flat(&self.ports_to_redirect).map(|port: Port| port.0).collect(),
            inbound_ports_to_ignore: flat(&self.inbound_ports_to_ignore).collect(),
            outbound_ports_to_ignore: flat(&self.outbound_ports_to_ignore).collect(),
            subnets_to_ignore: flat(&self.subnets_to_ignore).collect(),
        }
    }

    pub(crate) fn firewall(&self) -> Firewall {
        let given = |path: &Option<String>| path.clone().filter(|path| !path.is_empty());
        let programs = Programs {
            mode: self.iptables_mode,
            iptables: given(&self.firewall_bin_path),
            iptables_save: given(&self.firewall_save_bin_path),
        };
        Firewall { programs, ipv6: self.ipv6, waits_for_ever: self.use_wait_flag }
    }
}

/// The values of one flag, separated by commas; Linkerd's charts pass empty lists too.
#[derive(Clone, Debug)]
struct List<T>(Vec<T>);

impl<T: FromStr<Err: ToString>> List<T> {
    fn parse(text: &str) -> Result<Self, String> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        let parse = |item: &str| item.parse().map_err(|e: T::Err| format!("{item:?}: {}", e.to_string()));
        items.map(parse).collect::<Result<_, _>>().map(Self)
    }
}

fn flat<T: Clone>(lists: &[List<T>]) -> impl Iterator<Item = T> {
    lists.iter().flat_map(|list| list.0.iter().cloned())
}

#[derive(Clone, Copy, Debug)]
struct Port(u16);

impl FromStr for Port {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().ok().filter(|port| *port > 0).map(Self).ok_or("a port is a number from 1 to 65535")
    }
}

fn port() -> impl TypedValueParser<Value = u16> {
    clap::value_parser!(u16).range(1..)
}

fn owner() -> impl TypedValueParser<Value = i64> {
    // The largest 32-bit id is the kernel's sign for "no id".
    clap::value_parser!(i64).range(-1..i64::from(u32::MAX))
}

fn level() -> impl TypedValueParser<Value = LevelFilter> {
    let names = ["trace", "debug", "info", "warning", "warn", "error", "fatal", "panic"];
    PossibleValuesParser::new(names).map(|name| match name.as_str() {
        "trace" => LevelFilter::TRACE,
        "debug" => LevelFilter::DEBUG,
        "info" => LevelFilter::INFO,
        "warning" | "warn" => LevelFilter::WARN,
        _ => LevelFilter::ERROR,
    })
}

#[cfg(test)]
mod tests;
