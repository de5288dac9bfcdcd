//! The forms that a variable's value may have.

use ipnet::IpNet;
use outrigger_model::{DefaultPolicy, DnsName, Identity, WorkloadRef};
use outrigger_mtls::grpc::ControlAddr;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// A value that can be read from a variable's text.
pub(crate) trait Value: Sized {
    /// What the text must be, for errors and the documentation.
    const FORM: &'static str;

    /// The text has no white space around it and is not empty, but for defaults.
    fn parse(text: &str) -> Option<Self>;
}

macro_rules! from_str {
    ($($of:ty: $form:literal;)*) => {
        $(impl Value for $of {
            const FORM: &'static str = $form;

            fn parse(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        })*
    };
}

from_str! {
    bool: "true or false";
    usize: "a whole number";
    u32: "a whole number below 2^32";
    SocketAddr: "an address such as 127.0.0.1:4191";
    DnsName: "a DNS name";
    Identity: "a SPIFFE id or a DNS name";
    ControlAddr: "host:port, such as linkerd-dst-headless.linkerd.svc.cluster.local.:8086";
    String: "text";
    PathBuf: "a path";
}

impl Value for DefaultPolicy {
    const FORM: &'static str = "one of deny, all-unauthenticated, all-authenticated, cluster-unauthenticated, \
                                cluster-authenticated, audit";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Value for Duration {
    const FORM: &'static str = "a duration such as 500ms, 10s, 5m, 1h or 1d";

    /// A whole number and its unit, which only zero may leave out (A.6).
    fn parse(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let seconds = |n: u64| number.checked_mul(n).map(Self::from_secs);
        match unit {
            "" if number == 0 => Some(Self::ZERO),
            "ms" => Some(Self::from_millis(number)),
            "s" => seconds(1),
            "m" => seconds(60),
            "h" => seconds(3600),
            "d" => seconds(86400),
            _ => None,
        }
    }
}

impl Value for f64 {
    const FORM: &'static str = "a share such as 0.1";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|share| (0.0..=100.0).contains(share))
    }
}

impl Value for Vec<SocketAddr> {
    const FORM: &'static str = "one or two addresses such as 127.0.0.1:4140,[::1]:4140";

    fn parse(text: &str) -> Option<Self> {
        list(text, |part| part.parse().ok()).filter(|addrs: &Self| (1..=2).contains(&addrs.len()))
    }
}

impl Value for BTreeSet<IpAddr> {
    const FORM: &'static str = "a list of IP addresses";

    fn parse(text: &str) -> Option<Self> {
        list(text, |part| part.parse::<IpAddr>().ok().map(|ip| ip.to_canonical()))
    }
}

impl Value for Vec<IpNet> {
    const FORM: &'static str = "a list of networks such as 10.0.0.0/8,fd00::/8";

    fn parse(text: &str) -> Option<Self> {
        list(text, |part| part.parse().ok())
    }
}

impl Value for Vec<RangeInclusive<u16>> {
    const FORM: &'static str = "a list of ports and ranges such as 25,3306,8000-8080";

    fn parse(text: &str) -> Option<Self> {
        list(text, |part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = first.trim().parse().ok()?..=last.trim().parse().ok()?;
            (*range.start() > 0 && !range.is_empty()).then_some(range)
        })
    }
}

/// Ends of DNS names; `.` is every name.
pub(crate) struct Suffixes;

impl Value for Suffixes {
    const FORM: &'static str = "a list of DNS names' ends such as svc.cluster.local. (. is every name)";

    fn parse(text: &str) -> Option<Self> {
        let suffix = |part: &str| (part == "." || part.parse::<DnsName>().is_ok()).then_some(());
        list::<(), Vec<()>>(text, suffix).map(|_| Self)
    }
}

/// The workload as the policy controller knows it (A.3.2), as text.
#[derive(Clone)]
pub(crate) struct Workload(pub(crate) String);

impl Value for Workload {
    const FORM: &'static str = "{\"ns\":\"NS\",\"pod\":\"NAME\"} or {\"ns\":\"NS\",\"external_workload\":\"NAME\"}";

    fn parse(text: &str) -> Option<Self> {
        WorkloadRef::parse(text).ok().map(|_| Self(text.to_owned()))
    }
}

/// What is logged.
pub(crate) struct LogFilter(pub(crate) EnvFilter);

impl Value for LogFilter {
    const FORM: &'static str = "a list of target=level such as warn,linkerd=info";

    /// Linkerd's targets begin with `linkerd`, ours with `outrigger`: a filter written for one holds for the other.
    fn parse(text: &str) -> Option<Self> {
        EnvFilter::try_new(text.replace("linkerd=", "outrigger=")).ok().map(Self)
    }
}

/// How a log line is written.
#[derive(PartialEq)]
pub(crate) enum LogFormat {
    Plain,
    Json,
}

impl Value for LogFormat {
    const FORM: &'static str = "plain or json";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "plain" => Some(Self::Plain),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// How the access log's lines are written.
pub(crate) struct AccessLog;

impl Value for AccessLog {
    const FORM: &'static str = "apache or json";

    fn parse(text: &str) -> Option<Self> {
        matches!(text, "apache" | "json").then_some(Self)
    }
}

fn list<T, List: FromIterator<T>>(text: &str, parse: impl Fn(&str) -> Option<T>) -> Option<List> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_6_durations_need_a_unit() {
        let good = [("0", 0), ("500ms", 500), ("10s", 10_000), ("5m", 300_000), ("1h", 3_600_000), ("1d", 86_400_000)];
        for (text, millis) in good {
            assert_eq!(Duration::parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "10", "s", "1.5s", "-1s", "10 s", "1w", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(Duration::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_6_ports_are_numbers_and_ranges() {
        let ports = Vec::<RangeInclusive<u16>>::parse;
        assert_eq!(ports("80, 90-91,,"), Some(vec![80..=80, 90..=91]));
        for bad in ["0", "90-80", "80-", "65536", "http", "80,http"] {
            assert_eq!(ports(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_6_every_other_form_is_checked() {
        assert!(Suffixes::parse(".").is_some() && Suffixes::parse("svc.cluster.local., example.com").is_some());
        assert!(Suffixes::parse("a b").is_none());
        assert!(LogFilter::parse("warn,linkerd=debug").is_some() && LogFilter::parse("outrigger=loud").is_none());
        assert!(AccessLog::parse("json").is_some() && AccessLog::parse("xml").is_none());
        assert!(LogFormat::parse("json") == Some(LogFormat::Json) && LogFormat::parse("xml").is_none());
        assert!(bool::parse("yes").is_none() && f64::parse("nan").is_none() && f64::parse("-1").is_none());
        assert!(Vec::<SocketAddr>::parse("127.0.0.1:1,[::1]:1").is_some());
        assert!(Vec::<SocketAddr>::parse(",").is_none());
    }
}
