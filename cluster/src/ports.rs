//! Lists of ports, as annotations and flags write them: `25,4000-4100,mysql`.

use crate::{Meta, World};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use thiserror::Error;

/// Ports without protocol detection: of a workload, a Service, or for all of a Namespace.
pub const OPAQUE_PORTS: &str = "config.linkerd.io/opaque-ports";
/// A workload's ports that its proxy does not see.
pub const SKIP_INBOUND_PORTS: &str = "config.linkerd.io/skip-inbound-ports";
/// Ports at which a client must have an identity: of a workload, or for all of a Namespace.
pub const REQUIRE_IDENTITY_PORTS: &str = "config.linkerd.io/proxy-require-identity-inbound-ports";

/// The lists of ports in an object's annotations. `None`: the object does not have the annotation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortLists {
    pub opaque: Option<PortSet>,
    pub skip_inbound: Option<PortSet>,
    pub require_identity: Option<PortSet>,
}

/// Ports, port ranges and names of ports, and the entries that are none of these.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortSet {
    ranges: Vec<RangeInclusive<u16>>,
    names: Vec<String>,
    invalid: Vec<InvalidPort>,
}

/// An entry that is no port, range or port name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{entry:?} is no port; write {fix}")]
pub struct InvalidPort {
    entry: String,
    fix: &'static str,
}

impl InvalidPort {
    fn new(entry: &str, fix: &'static str) -> Self {
        Self { entry: entry.chars().take(64).collect(), fix }
    }
}

const NAMED: &str = "ports of 1 to 65535, ranges and port names, as in 25,4000-4100,mysql";
const NUMBERS: &str = "ports of 1 to 65535 and ranges, as in 25,4000-4100";

impl PortLists {
    pub(crate) fn of(annotations: &BTreeMap<String, String>) -> Self {
        let list = |name| annotations.get(name).map(|list| PortSet::read(list));
        Self {
            opaque: list(OPAQUE_PORTS),
            skip_inbound: list(SKIP_INBOUND_PORTS),
            require_identity: list(REQUIRE_IDENTITY_PORTS),
        }
    }
}

impl World {
    /// A list of ports of an object's own annotations, else of its Namespace's.
    pub fn ports_of<'a>(
        &'a self,
        own: &'a Meta,
        list: impl Fn(&'a PortLists) -> Option<&'a PortSet>,
    ) -> Option<&'a PortSet> {
        let namespace = || self.namespaces.get(&crate::Key::cluster(&own.key.namespace));
        list(&own.ports).or_else(|| namespace().and_then(|namespace| list(&namespace.meta.ports)))
    }

    /// Whether no protocol is to be detected at a port of a workload or Service: its annotation says so, else its
    /// Namespace's, else `default`. `named` are its own ports.
    pub fn is_opaque<'a>(
        &self,
        own: &Meta,
        port: u16,
        named: impl IntoIterator<Item = (&'a str, u16)>,
        default: &PortSet,
    ) -> bool {
        self.ports_of(own, |lists| lists.opaque.as_ref()).unwrap_or(default).contains_named(port, named)
    }
}

impl PortSet {
    /// Reads an annotation's list. What is invalid in it is kept apart: the rest holds, as in Linkerd.
    pub fn read(list: &str) -> Self {
        let mut ports = Self::default();
        for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            match range(entry) {
                Some(range) => ports.ranges.push(range),
                None if is_name(entry) => ports.names.push(entry.to_owned()),
                None => ports.invalid.push(InvalidPort::new(entry, NAMED)),
            }
        }
        ports
    }

    /// Reads a flag's list, which has no names: those are a workload's own.
    pub fn numbers(list: &str) -> Result<Self, InvalidPort> {
        let ports = Self::read(list);
        let invalid = ports.invalid.first().map(|invalid| &invalid.entry).or_else(|| ports.names.first());
        match invalid {
            Some(entry) => Err(InvalidPort::new(entry, NUMBERS)),
            None => Ok(ports),
        }
    }

    /// Whether the port is in the list by its number.
    pub fn contains(&self, port: u16) -> bool {
        self.ranges.iter().any(|range| range.contains(&port))
    }

    /// Whether the port is in the list by its number or by one of its names. `named` are the object's own ports.
    pub fn contains_named<'a>(&self, port: u16, named: impl IntoIterator<Item = (&'a str, u16)>) -> bool {
        let listed = |name: &str| self.names.iter().any(|listed| listed == name);
        self.contains(port) || named.into_iter().any(|(name, number)| number == port && listed(name))
    }

    /// The names in the list.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The entries that mean nothing.
    pub fn invalid(&self) -> &[InvalidPort] {
        &self.invalid
    }
}

impl FromStr for PortSet {
    type Err = InvalidPort;

    fn from_str(list: &str) -> Result<Self, InvalidPort> {
        let mut ports = Self::read(list);
        if ports.invalid.is_empty() { Ok(ports) } else { Err(ports.invalid.swap_remove(0)) }
    }
}

fn range(entry: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = entry.split_once('-').unwrap_or((entry, entry));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first != 0 && first <= last).then_some(first..=last)
}

/// Kubernetes' rule for port names (IANA_SVC_NAME): at least one letter, so that no number is taken for a name.
fn is_name(text: &str) -> bool {
    let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    text.len() <= 15 && text.bytes().all(valid) && text.bytes().any(|b| b.is_ascii_lowercase())
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = |range: &RangeInclusive<u16>| {
            let (first, last) = (range.start(), range.end());
            if first == last { first.to_string() } else { format!("{first}-{last}") }
        };
        let entries: Vec<_> = self.ranges.iter().map(range).chain(self.names.iter().cloned()).collect();
        f.write_str(&entries.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_list_holds_numbers_ranges_and_names() {
        let ports: PortSet = " 25, 8000 - 8080 ,mysql,,".parse().unwrap();
        assert!(ports.contains(25) && ports.contains(8080) && !ports.contains(26));
        assert!(!ports.contains_named(26, [("http", 26), ("mysql", 27)]));
        assert!(ports.contains_named(26, [("http", 26), ("mysql", 26)]));
        assert_eq!(ports.to_string(), "25,8000-8080,mysql");
        assert!(!"".parse::<PortSet>().unwrap().contains(25));
        for bad in ["0", "65536", "2-1", "2-", "My_SQL", "1;2", "-"] {
            assert!(bad.parse::<PortSet>().is_err(), "{bad}");
        }
        let ports = PortSet::read("2-1,25,0");
        assert_eq!(
            (ports.to_string(), ports.invalid()),
            ("25".into(), &["2-1", "0"].map(|entry| InvalidPort::new(entry, NAMED))[..])
        );
    }

    #[test]
    fn b_2_lists_hold_numbers_ranges_and_names() {
        let named = [("mysql", 3306), ("http", 80), ("http", 8080)];
        for (list, port, expected) in [
            ("", 80, false),
            ("25", 25, true),
            ("25", 26, false),
            ("25, 4000-4100 ,mysql", 4000, true),
            ("4000-4100", 4100, true),
            ("4000-4100", 4101, false),
            ("mysql", 3306, true),
            ("http", 80, true),
            ("http", 8080, true),
            ("http", 3306, false),
            ("4100-4000,x,0,70000,80", 80, true),
            ("4100-4000", 4050, false),
        ] {
            assert_eq!(PortSet::read(list).contains_named(port, named), expected, "{list} {port}");
        }
    }

    #[test]
    fn a_flag_takes_numbers_only() {
        let ports = PortSet::numbers("25,4000-4100").unwrap();
        assert!(ports.contains(4050) && !ports.contains(26));
        assert!(PortSet::numbers("25,smtp").unwrap_err().to_string().contains("smtp"));
        assert!(!PortSet::numbers("").unwrap().contains(25));
    }
}
