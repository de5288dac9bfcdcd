//! Lists of ports as annotations and flags write them: `25,4000-4100,mysql`.

use std::ops::RangeInclusive;
use std::str::FromStr;

/// Whether an annotation's list names the port, by number, range or name. `named` are the workload's or Service's own
/// names of ports. Entries that mean nothing are skipped, as Linkerd does; see [`meaningless`].
pub fn contains<'a>(list: &str, port: u16, named: impl Iterator<Item = (&'a str, u16)> + Clone) -> bool {
    entries(list).any(|entry| match range(entry) {
        Some(range) => range.contains(&port),
        None => named.clone().any(|(name, number)| name == entry && number == port),
    })
}

/// The entries of an annotation's list that are neither ports nor names of ports.
pub fn meaningless<'a>(
    list: &'a str,
    named: impl Iterator<Item = (&'a str, u16)> + Clone,
) -> impl Iterator<Item = &'a str> {
    entries(list).filter(move |entry| range(entry).is_none() && !named.clone().any(|(name, _)| name == *entry))
}

fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

fn range(entry: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = entry.split_once('-').unwrap_or((entry, entry));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first != 0 && first <= last).then_some(first..=last)
}

/// Ports by number only: `--default-opaque-ports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSet(Vec<RangeInclusive<u16>>);

impl PortSet {
    /// Whether the port is one of them.
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
    }
}

impl FromStr for PortSet {
    type Err = String;

    fn from_str(list: &str) -> Result<Self, String> {
        let parsed = entries(list).map(|entry| range(entry).ok_or(entry)).collect::<Result<_, _>>();
        parsed.map(Self).map_err(|entry| format!("{entry:?} is no port; write numbers and ranges: 25,4000-4100"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b_2_lists_hold_numbers_ranges_and_names() {
        let named = [("mysql", 3306), ("http", 80), ("http", 8080)].into_iter();
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
            assert_eq!(contains(list, port, named.clone()), expected, "{list} {port}");
        }
        let wrong: Vec<_> = meaningless("25,mysql,4100-4000,x,0,70000", named).collect();
        assert_eq!(wrong, ["4100-4000", "x", "0", "70000"]);
    }

    #[test]
    fn a_flag_takes_numbers_only() {
        let ports: PortSet = "25,4000-4100".parse().unwrap();
        assert!(ports.contains(4050) && !ports.contains(26));
        assert!("25,smtp".parse::<PortSet>().unwrap_err().contains("smtp"));
        assert!(!"".parse::<PortSet>().unwrap().contains(25));
    }
}
