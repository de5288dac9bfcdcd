//! Who gets which identity: a YAML file of entries, by the caller's uid.

use std::collections::BTreeSet;

use outrigger_model::{DnsName, SpiffeId, TrustDomain};
use serde::Deserialize;
use thiserror::Error;

/// A process of this uid gets this SVID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub uid: u32,
    pub id: SpiffeId,
    pub dns_names: Vec<DnsName>,
}

/// An entries file that cannot be used; the caller adds the file's name.
#[derive(Debug, Error)]
pub enum InvalidEntries {
    #[error("{0}")]
    Yaml(String),
    #[error("entries[{index}].{field}: {why}")]
    Field { index: usize, field: &'static str, why: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    entries: Vec<Raw>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    uid: u32,
    spiffe_id: String,
    #[serde(default)]
    dns_names: Vec<String>,
}

/// Parses an entries file whose ids must all be of `trust_domain`.
pub(super) fn parse(yaml: &str, trust_domain: &TrustDomain) -> Result<Vec<Entry>, InvalidEntries> {
    let file: File = serde_saphyr::from_str(yaml).map_err(|error| InvalidEntries::Yaml(error.to_string()))?;
    let mut seen = BTreeSet::new();
    let mut entries = Vec::with_capacity(file.entries.len());
    for (index, raw) in file.entries.into_iter().enumerate() {
        let invalid = |field, why: String| InvalidEntries::Field { index, field, why };
        let entry = entry(raw, trust_domain).map_err(|(field, why)| invalid(field, why))?;
        if !seen.insert((entry.uid, entry.id.clone())) {
            return Err(invalid("spiffeId", format!("uid {} has an entry with {} already", entry.uid, entry.id)));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn entry(raw: Raw, trust_domain: &TrustDomain) -> Result<Entry, (&'static str, String)> {
    let id: SpiffeId = raw.spiffe_id.parse().map_err(|error| ("spiffeId", format!("{error}")))?;
    if !id.is_of(trust_domain) {
        return Err(("spiffeId", format!("{id} is not of this server's trust domain, {trust_domain}")));
    }
    // X.509-SVID §2: a trust domain's own id is an authority's, never a workload's.
    if id.path().is_empty() {
        return Err(("spiffeId", format!("{id} has no path, so it names no workload")));
    }
    let dns_names = raw.dns_names.iter().map(|name| name.parse()).collect::<Result<_, _>>();
    Ok(Entry { uid: raw.uid, id, dns_names: dns_names.map_err(|error| ("dnsNames", format!("{error}")))? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(yaml: &str) -> Result<Vec<Entry>, String> {
        parse(yaml, &"td".parse().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn entries_parse() {
        let yaml = "entries:\n- {uid: 2102, spiffeId: 'spiffe://td/vm', dnsNames: [VM.example.]}\n- uid: 0\n  spiffeId: spiffe://td/root\n";
        let entries = parsed(yaml).unwrap();
        assert_eq!((entries[0].uid, entries[0].id.as_str()), (2102, "spiffe://td/vm"));
        assert_eq!(entries[0].dns_names[0].as_str(), "vm.example");
        assert_eq!((entries[1].uid, entries[1].dns_names.len()), (0, 0));
        assert_eq!(parsed("entries: []").unwrap(), []);
    }

    #[test]
    fn a_bad_entry_is_named_with_its_field() {
        for (yaml, said) in [
            ("entries:\n- {uid: 1, spiffeId: 'spiffe://td/a'}\n- {uid: 1, spiffeId: 'td/a'}", "entries[1].spiffeId"),
            ("entries: [{uid: 1, spiffeId: 'spiffe://other/a'}]", "trust domain, td"),
            ("entries: [{uid: 1, spiffeId: 'spiffe://td'}]", "no path"),
            ("entries: [{uid: 1, spiffeId: 'spiffe://td/a', dnsNames: [a, '*.b']}]", "entries[0].dnsNames: \"*.b\""),
            ("entries: [{uid: 1, spiffeId: 'spiffe://td/a', dnsName: [a]}]", "dnsName"),
            ("entries: [{uid: -1, spiffeId: 'spiffe://td/a'}]", "-1"),
            ("entries: [{spiffeId: 'spiffe://td/a'}]", "uid"),
            ("entries: [{uid: 1, spiffeId: 'spiffe://td/a'}, {uid: 1, spiffeId: 'spiffe://td/a'}]", "already"),
            ("entrys: []", "entrys"),
            ("", "end of input"),
        ] {
            let error = parsed(yaml).unwrap_err();
            assert!(error.contains(said), "{yaml:?} says {error:?}, not {said:?}");
        }
    }
}
