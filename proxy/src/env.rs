//! The environment, read once, every mistake named: variable, value and the form that is wanted.

use ipnet::IpNet;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;

/// Every mistake of an environment, one a line.
#[derive(Debug, Error)]
#[error("{}", .0.join("\n"))]
pub struct InvalidEnvironment(pub Vec<String>);

/// Reads `LINKERD2_PROXY_*` variables and collects the mistakes.
pub(crate) struct Environment<F> {
    read: F,
    mistakes: Vec<String>,
}

impl<F: Fn(&str) -> Option<String>> Environment<F> {
    pub(crate) fn new(read: F) -> Self {
        Self { read, mistakes: Vec::new() }
    }

    /// Ends reading; `value` stands only if there was no mistake.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T, InvalidEnvironment> {
        match value {
            Some(value) if self.mistakes.is_empty() => Ok(value),
            _ => Err(InvalidEnvironment(self.mistakes)),
        }
    }

    /// The variable's text; empty counts as unset.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        (self.read)(&format!("LINKERD2_PROXY_{name}")).filter(|value| !value.trim().is_empty())
    }

    pub(crate) fn mistake(&mut self, name: &str, why: impl Display) {
        self.mistakes.push(format!("LINKERD2_PROXY_{name}: {why}"));
    }

    /// A variable that must be set.
    pub(crate) fn required(&mut self, name: &str, form: &str) -> Option<String> {
        let value = self.text(name);
        if value.is_none() {
            self.mistake(name, format!("is not set; set it to {form}"));
        }
        value
    }

    /// Reads a value by `parse`; a mistake is noted with the value and the form that is wanted.
    pub(crate) fn parsed<T>(&mut self, name: &str, form: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let value = self.text(name)?;
        let parsed = parse(value.trim());
        if parsed.is_none() {
            self.mistake(name, format!("{value:?} is not {form}"));
        }
        parsed
    }

    /// Reads a value by its `FromStr`.
    pub(crate) fn value<T: FromStr>(&mut self, name: &str, form: &str) -> Option<T> {
        self.parsed(name, form, |value| value.parse().ok())
    }

    /// A duration, or its default.
    pub(crate) fn duration(&mut self, name: &str, default: Duration) -> Duration {
        self.optional_duration(name).unwrap_or(default)
    }

    /// A duration that is off where it is unset.
    pub(crate) fn optional_duration(&mut self, name: &str) -> Option<Duration> {
        self.parsed(name, "a duration such as 500ms, 10s, 5m, 1h or 1d", duration)
    }

    /// A number, or its default.
    pub(crate) fn number(&mut self, name: &str, default: usize) -> usize {
        self.value(name, "a whole number").unwrap_or(default)
    }

    /// A comma-separated list; unset is `None`.
    pub(crate) fn list<T>(&mut self, name: &str, form: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
        self.parsed(name, form, |value| {
            value.split(',').map(str::trim).filter(|part| !part.is_empty()).map(&parse).collect()
        })
    }

    pub(crate) fn addresses(&mut self, name: &str) -> Option<Vec<SocketAddr>> {
        self.list(name, "a list of addresses such as 127.0.0.1:4140,[::1]:4140", |part| part.parse().ok())
    }

    pub(crate) fn ips(&mut self, name: &str) -> Option<BTreeSet<IpAddr>> {
        let ips = self.list(name, "a list of IP addresses", |part| part.parse::<IpAddr>().ok());
        ips.map(|ips| ips.into_iter().map(|ip| ip.to_canonical()).collect())
    }

    pub(crate) fn networks(&mut self, name: &str) -> Option<Vec<IpNet>> {
        self.list(name, "a list of networks such as 10.0.0.0/8,fd00::/8", |part| part.parse().ok())
    }

    pub(crate) fn ports(&mut self, name: &str) -> Vec<RangeInclusive<u16>> {
        self.list(name, "a list of ports and ranges such as 25,3306,8000-8080", port_range).unwrap_or_default()
    }
}

/// A whole number and its unit, which only zero may leave out (A.6).
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let seconds = |n: u64| number.checked_mul(n).map(Duration::from_secs);
    match unit {
        "" if number == 0 => Some(Duration::ZERO),
        "ms" => Some(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(3600),
        "d" => seconds(86400),
        _ => None,
    }
}

fn port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = first.trim().parse().ok()?..=last.trim().parse().ok()?;
    (*range.start() > 0 && !range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_6_durations_need_a_unit() {
        let good = [("0", 0), ("500ms", 500), ("10s", 10_000), ("5m", 300_000), ("1h", 3_600_000), ("1d", 86_400_000)];
        for (text, millis) in good {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "10", "s", "1.5s", "-1s", "10 s", "1w", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_6_ports_are_numbers_and_ranges() {
        assert_eq!(port_range("80"), Some(80..=80));
        assert_eq!(port_range("80-90"), Some(80..=90));
        for bad in ["", "0", "90-80", "80-", "65536", "http"] {
            assert_eq!(port_range(bad), None, "{bad}");
        }
    }
}
