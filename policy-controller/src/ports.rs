//! Lists of ports, as annotations and flags write them.

use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Ports, port ranges and the names of container ports: `25,8000-8080,mysql`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortSet {
    ranges: Vec<(u16, u16)>,
    names: Vec<String>,
}

/// An entry that is no port, range or port name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no port; write ports of 1 to 65535, ranges and port names, as in 25,8000-8080,mysql")]
pub struct InvalidPort(String);

impl PortSet {
    /// Whether the port is in the list, by number or by one of its names.
    pub fn contains<'a>(&self, port: u16, mut names: impl Iterator<Item = &'a str>) -> bool {
        self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&port))
            || names.any(|name| self.names.iter().any(|n| n == name))
    }
}

impl PortSet {
    /// The entries that can be read, and the first one that cannot.
    pub(crate) fn read(list: &str) -> (Self, Option<InvalidPort>) {
        let (mut ports, mut invalid) = (Self::default(), None);
        for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let bounds = entry.split_once('-').map_or((entry, entry), |(first, last)| (first.trim(), last.trim()));
            match (port(bounds.0), port(bounds.1)) {
                (Some(first), Some(last)) if first <= last => ports.ranges.push((first, last)),
                _ if is_name(entry) => ports.names.push(entry.to_owned()),
                _ => invalid = invalid.or_else(|| Some(InvalidPort(entry.chars().take(64).collect()))),
            }
        }
        (ports, invalid)
    }
}

impl FromStr for PortSet {
    type Err = InvalidPort;

    fn from_str(list: &str) -> Result<Self, InvalidPort> {
        match Self::read(list) {
            (ports, None) => Ok(ports),
            (_, Some(invalid)) => Err(invalid),
        }
    }
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

/// Kubernetes' rule for port names (IANA_SVC_NAME): at least one letter, so that no number is taken for a name.
fn is_name(text: &str) -> bool {
    let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    text.len() <= 15 && text.bytes().all(valid) && text.bytes().any(|b| b.is_ascii_lowercase())
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = |(first, last): &(u16, u16)| {
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
        assert!(ports.contains(25, [].into_iter()) && ports.contains(8080, [].into_iter()));
        assert!(!ports.contains(26, ["http"].into_iter()));
        assert!(ports.contains(26, ["http", "mysql"].into_iter()));
        assert_eq!(ports.to_string(), "25,8000-8080,mysql");
        assert!("".parse::<PortSet>().is_ok());
        for bad in ["0", "65536", "2-1", "2-", "My_SQL", "1;2", "-"] {
            assert!(bad.parse::<PortSet>().is_err(), "{bad}");
        }
        let (ports, invalid) = PortSet::read("2-1,25,0");
        assert_eq!((ports.to_string(), invalid), ("25".to_owned(), Some(InvalidPort("2-1".into()))));
    }
}
