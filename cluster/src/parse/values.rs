//! The values inside objects: metadata, names, ports, addresses, networks, identities and selectors.

use crate::error::FieldError;
use crate::{Key, Meta, PortLists, PortRef, Requirement, Selector};
use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use outrigger_crds as crds;
use outrigger_model::{DnsName, Identity, IdentityMatch, NetworkMatch, SpiffeId};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// Parses an object into its API type.
pub(super) fn typed<T: DeserializeOwned>(value: Value) -> Result<T, FieldError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let mut problem = error.inner().to_string();
        if problem.starts_with("invalid type") && problem.ends_with("expected a string") {
            problem += "; put it in quotes";
        }
        FieldError::new(pointer(error.path()), problem)
    })
}

fn pointer(path: &Path) -> String {
    path.iter().fold(String::new(), |pointer, segment| match segment {
        Segment::Seq { index } => format!("{pointer}/{index}"),
        Segment::Map { key } => format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { variant } => format!("{pointer}/{variant}"),
        Segment::Unknown => pointer,
    })
}

/// Metadata of an object in a namespace; `default` where it names none.
pub(super) fn namespaced(meta: ObjectMeta) -> Result<Meta, FieldError> {
    let namespace = meta.namespace.clone().filter(|ns| !ns.is_empty()).unwrap_or_else(|| "default".to_owned());
    if namespace.len() > 63 || namespace.contains('.') || !is_name(&namespace) {
        return Err(FieldError::new("/metadata/namespace", not_a_name(&namespace)));
    }
    metadata(meta, &namespace)
}

/// Metadata of an object that is in no namespace.
pub(super) fn cluster_wide(meta: ObjectMeta) -> Result<Meta, FieldError> {
    metadata(meta, "")
}

fn metadata(meta: ObjectMeta, namespace: &str) -> Result<Meta, FieldError> {
    let name = meta.name.unwrap_or_default();
    if name.is_empty() {
        return Err(FieldError::new("/metadata/name", "missing; give the object a name"));
    }
    if !is_name(&name) {
        return Err(FieldError::new("/metadata/name", not_a_name(&name)));
    }
    let owners = meta.owner_references.unwrap_or_default();
    let owner = owners.iter().find(|owner| owner.controller == Some(true)).or_else(|| owners.first());
    let annotations = meta.annotations.unwrap_or_default();
    Ok(Meta {
        key: Key::new(namespace, &name),
        labels: meta.labels.unwrap_or_default(),
        ports: PortLists::of(&annotations),
        annotations,
        created: meta.creation_timestamp.map(|time| time.0),
        owner: owner.map(|owner| (owner.kind.clone(), owner.name.clone())),
    })
}

/// A DNS subdomain name (RFC 1123), as Kubernetes names objects.
pub(super) fn is_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    name.len() <= 253 && name.split('.').all(label)
}

pub(super) fn not_a_name(name: &str) -> String {
    format!("{name:?} is no Kubernetes name; use lower-case letters, digits and '-'")
}

/// A reference's group. `core` is the core group's other name.
pub(super) fn group(raw: Option<&str>) -> String {
    match raw {
        None | Some("core") => String::new(),
        Some(group) => group.to_owned(),
    }
}

/// A port's number.
pub(super) fn port(number: i32, at: &str) -> Result<u16, FieldError> {
    let port = u16::try_from(number).ok().filter(|port| *port > 0);
    port.ok_or_else(|| FieldError::new(at, format!("{number} is no port; write a number from 1 to 65535")))
}

/// A port's number, or its name.
pub(super) fn port_ref(value: &IntOrString, at: &str) -> Result<PortRef, FieldError> {
    match value {
        IntOrString::Int(number) => port(*number, at).map(PortRef::Number),
        IntOrString::String(name) => port_name(name, at).map(PortRef::Name),
    }
}

/// A port's name (RFC 6335 §5.1, as Kubernetes takes it).
pub(super) fn port_name(name: &str, at: &str) -> Result<String, FieldError> {
    let chars = name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    let invalid = |fix: &str| Err(FieldError::new(at, format!("{name:?} is no port name; {fix}")));
    if !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit()) {
        return invalid("write the number without quotes");
    }
    if name.is_empty() || name.len() > 15 || !chars || !name.bytes().any(|b| b.is_ascii_lowercase()) {
        return invalid("use 1 to 15 lower-case letters, digits and '-'");
    }
    Ok(name.to_owned())
}

/// An address; a v4-mapped one is its IPv4 address.
pub(super) fn address(text: &str, at: &str) -> Result<IpAddr, FieldError> {
    let invalid = || FieldError::new(at, format!("{text:?} is no IP address; write one such as 10.0.0.1 or fd00::1"));
    text.parse::<IpAddr>().map(|ip| ip.to_canonical()).map_err(|_| invalid())
}

fn network(text: &str, at: &str) -> Result<IpNet, FieldError> {
    let single = || text.parse::<IpAddr>().map(IpNet::from);
    let invalid = |_| FieldError::new(at, format!("{text:?} is no network; write one such as 10.0.0.0/8 or fd00::/8"));
    text.parse::<IpNet>().or_else(|_| single()).map(|net| net.trunc()).map_err(invalid)
}

/// Networks with their exceptions, each of which must lie strictly inside its network.
pub(super) fn networks(list: &[crds::Network], at: &str) -> Result<Vec<NetworkMatch>, FieldError> {
    let one = |(index, raw): (usize, &crds::Network)| {
        let net = network(&raw.cidr, &format!("{at}/{index}/cidr"))?;
        let mut except = Vec::new();
        for (nth, text) in raw.except.iter().flatten().enumerate() {
            let at = format!("{at}/{index}/except/{nth}");
            let exception = network(text, &at)?;
            if exception == net || !net.contains(&exception) {
                let problem = format!("{exception} is not a part of {net}; write a smaller network inside it");
                return Err(FieldError::new(at, problem));
            }
            except.push(exception);
        }
        Ok(NetworkMatch { net, except })
    };
    list.iter().enumerate().map(one).collect()
}

/// `*`, `*.suffix`, a DNS name, a SPIFFE id, or a SPIFFE prefix that ends in `/*`.
pub fn identity_match(text: &str) -> Result<IdentityMatch, String> {
    let explain = |error: outrigger_model::InvalidName| {
        format!("{error}; write a SPIFFE id, a DNS name, *, *.suffix or spiffe://domain/path/*")
    };
    if text == "*" {
        return Ok(IdentityMatch::Any);
    }
    if let Some(suffix) = text.strip_prefix("*.") {
        return suffix.parse::<DnsName>().map(|name| IdentityMatch::DnsSuffix(name.as_str().into())).map_err(explain);
    }
    if let Some(prefix) = text.strip_suffix("/*") {
        let invalid = |_| format!("{text:?} is no prefix of SPIFFE ids; write one such as spiffe://domain/path/*");
        return prefix.parse::<SpiffeId>().map(|id| IdentityMatch::SpiffePrefix(id.as_str().into())).map_err(invalid);
    }
    text.parse::<Identity>().map(|identity| IdentityMatch::Exact(identity.as_str().into())).map_err(explain)
}

/// A list of identities.
pub(super) fn identities(list: &[String], at: &str) -> Result<Vec<IdentityMatch>, FieldError> {
    let one = |(index, text): (usize, &String)| {
        identity_match(text).map_err(|problem| FieldError::new(format!("{at}/{index}"), problem))
    };
    list.iter().enumerate().map(one).collect()
}

/// A time: decimal numbers with units, as Go and the Gateway API write it.
pub(super) fn duration(text: &str, at: &str) -> Result<Duration, FieldError> {
    let invalid = || FieldError::new(at, format!("{text:?} is no duration; write one such as 300ms, 10s or 1m30s"));
    parse_duration(text).ok_or_else(invalid)
}

/// Reads `1h15m30.5s`; the units are h, m, s, ms, us and ns. `None`: it is none.
pub fn parse_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 7] =
        [("ns", 1e-9), ("us", 1e-6), ("\u{b5}s", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let unit = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let end = rest[unit..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |end| unit + end);
        let (_, seconds) = UNITS.iter().find(|(name, _)| *name == &rest[unit..end])?;
        let number: f64 = rest[..unit].parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &rest[end..];
    }
    (!text.is_empty()).then_some(total)
}

/// A label selector.
pub(super) fn selector(raw: &crds::Selector, at: &str) -> Result<Selector, FieldError> {
    let mut selector = raw.match_labels.as_ref().map(Selector::of_labels).unwrap_or_default();
    for (index, raw) in raw.match_expressions.iter().flatten().enumerate() {
        let (key, values) = (raw.key.clone(), raw.values.clone().unwrap_or_default());
        let wants_values = matches!(raw.operator, crds::Operator::In | crds::Operator::NotIn);
        if wants_values == values.is_empty() {
            let operator = raw.operator;
            let fix = if wants_values { "needs at least one value" } else { "takes no values; remove them" };
            let at = format!("{at}/matchExpressions/{index}/values");
            return Err(FieldError::new(at, format!("{operator:?} {fix}")));
        }
        let values: BTreeSet<String> = values.into_iter().collect();
        selector.requirements.push(match raw.operator {
            crds::Operator::In => Requirement::In(key, values),
            crds::Operator::NotIn => Requirement::NotIn(key, values),
            crds::Operator::Exists => Requirement::Exists(key),
            crds::Operator::DoesNotExist => Requirement::DoesNotExist(key),
        });
    }
    Ok(selector)
}
