//! Who a workload is: SPIFFE ids, DNS identities, and what a certificate's names say of a peer.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use thiserror::Error;

/// A name that is not a valid SPIFFE id, trust domain or DNS name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{name:?} is not a valid {kind}: {why}")]
pub struct InvalidName {
    name: String,
    kind: &'static str,
    why: &'static str,
}

impl InvalidName {
    fn new(name: &str, kind: &'static str, why: &'static str) -> Self {
        // A hostile certificate may carry any length of name; an error message must not.
        let name = name.chars().take(128).collect();
        Self { name, kind, why }
    }
}

/// A SPIFFE trust domain: lower-case letters, digits, `.`, `-`, `_`; 1 to 255 bytes (SPIFFE-ID §2.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The domain's name, without scheme.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        let invalid = |why| Err(InvalidName::new(name, "trust domain", why));
        if name.is_empty() {
            return invalid("it is empty");
        }
        if name.len() > 255 {
            return invalid("it is longer than 255 bytes");
        }
        if !name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_')) {
            return invalid("only a-z, 0-9, '.', '-' and '_' are allowed");
        }
        Ok(Self(name.into()))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A SPIFFE id, `spiffe://trust-domain/path`, at most 2048 bytes (SPIFFE-ID §2). The path may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    uri: Arc<str>,
    domain_end: usize,
}

const SCHEME: &str = "spiffe://";

impl SpiffeId {
    /// The whole URI.
    pub fn as_str(&self) -> &str {
        &self.uri
    }

    /// The trust domain that issued the id.
    pub fn trust_domain(&self) -> TrustDomain {
        TrustDomain(self.uri[SCHEME.len()..self.domain_end].into())
    }

    /// The path with its leading slash, or nothing.
    pub fn path(&self) -> &str {
        &self.uri[self.domain_end..]
    }

    /// Whether the id is of this trust domain; compares without allocating.
    pub fn is_of(&self, domain: &TrustDomain) -> bool {
        &self.uri[SCHEME.len()..self.domain_end] == domain.as_str()
    }

    /// The id of a Kubernetes ServiceAccount: `spiffe://<domain>/ns/<namespace>/sa/<account>`.
    ///
    /// Fails where a name holds a character that no path segment may, a `/` among them.
    pub fn service_account(domain: &TrustDomain, namespace: &str, account: &str) -> Result<Self, InvalidName> {
        if let Some(name) = [namespace, account].into_iter().find(|name| name.contains('/')) {
            return Err(InvalidName::new(name, "path segment of a SPIFFE id", "it holds a '/'"));
        }
        format!("{SCHEME}{domain}/ns/{namespace}/sa/{account}").parse()
    }
}

impl FromStr for SpiffeId {
    type Err = InvalidName;

    fn from_str(uri: &str) -> Result<Self, InvalidName> {
        let invalid = |why| Err(InvalidName::new(uri, "SPIFFE id", why));
        if uri.len() > 2048 {
            return invalid("it is longer than 2048 bytes");
        }
        // RFC 3986 §3.1: a scheme has no case.
        let Some(scheme) = uri.get(..SCHEME.len()).filter(|s| s.eq_ignore_ascii_case(SCHEME)) else {
            return invalid("it does not begin with spiffe://");
        };
        let rest = &uri[scheme.len()..];
        let (domain, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if domain.parse::<TrustDomain>().is_err() {
            return invalid("its trust domain is empty or holds a character other than a-z, 0-9, '.', '-', '_'");
        }
        if !path.is_empty() {
            for segment in path[1..].split('/') {
                match segment {
                    "" => return invalid("its path has an empty segment or a trailing slash"),
                    "." | ".." => return invalid("its path has a relative segment"),
                    _ => {}
                }
                if !segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) {
                    return invalid("its path holds a character other than letters, digits, '.', '-', '_'");
                }
            }
        }
        Ok(Self { uri: format!("{SCHEME}{rest}").into(), domain_end: SCHEME.len() + domain.len() })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

/// A DNS name, lower-cased, without trailing dot (RFC 1035 §2.3.4 lengths, RFC 5890 LDH labels and `_`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DnsName(Arc<str>);

impl DnsName {
    /// The name, lower-cased, without trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Linkerd's name of a ServiceAccount: `<sa>.<ns>.serviceaccount.identity.<control-plane ns>.<domain>`.
    pub fn service_account(
        account: &str,
        namespace: &str,
        control_plane: &str,
        domain: &str,
    ) -> Result<Self, InvalidName> {
        format!("{account}.{namespace}.serviceaccount.identity.{control_plane}.{domain}").parse()
    }
}

impl FromStr for DnsName {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        let invalid = |why| Err(InvalidName::new(name, "DNS name", why));
        let bare = name.strip_suffix('.').unwrap_or(name);
        if bare.is_empty() || bare.len() > 253 {
            return invalid("it must have 1 to 253 bytes");
        }
        for label in bare.split('.') {
            if label.is_empty() || label.len() > 63 {
                return invalid("each label must have 1 to 63 bytes");
            }
            if label.starts_with('-') || label.ends_with('-') {
                return invalid("a label begins or ends with '-'");
            }
            if !label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
                return invalid("a label holds a character other than letters, digits, '-', '_'");
            }
        }
        Ok(Self(bare.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One name that a certificate proves: a SPIFFE id or a DNS name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// A URI SAN.
    Spiffe(SpiffeId),
    /// A DNS SAN, as Linkerd names pods.
    Dns(DnsName),
}

impl Identity {
    /// The identity as it stands in headers, policies and metrics.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Spiffe(id) => id.as_str(),
            Self::Dns(name) => name.as_str(),
        }
    }
}

impl FromStr for Identity {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        if name.contains("://") { name.parse().map(Self::Spiffe) } else { name.parse().map(Self::Dns) }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a verified certificate still names nobody.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidPeer {
    /// X.509-SVID §2: exactly one URI SAN.
    #[error("the certificate has {0} URI SANs; an SVID has exactly one")]
    SeveralUris(usize),
    /// Without a URI SAN the one DNS SAN is the identity; several would be ambiguous.
    #[error("the certificate has no URI SAN and {0} DNS SANs; it must have exactly one name")]
    SeveralDnsNames(usize),
    /// Neither a URI nor a DNS SAN.
    #[error("the certificate has neither a URI nor a DNS SAN")]
    NoName,
    /// The one URI SAN, or the one DNS SAN, does not parse.
    #[error(transparent)]
    Invalid(#[from] InvalidName),
}

/// An authenticated peer: its identity, and every name of its leaf certificate that may be matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    names: Arc<[Identity]>,
}

impl Peer {
    /// Reads a leaf's SANs. The identity is the one URI SAN, else the one DNS SAN. A SPIFFE id of a domain other than
    /// `own` hides the DNS SANs beside it: a federated bundle vouches for spiffe ids of its domain only.
    pub fn from_sans(own: &TrustDomain, uris: &[&str], dns: &[&str]) -> Result<Self, InvalidPeer> {
        if uris.len() > 1 {
            return Err(InvalidPeer::SeveralUris(uris.len()));
        }
        let Some(uri) = uris.first() else {
            return match dns {
                [] => Err(InvalidPeer::NoName),
                [name] => Ok(Self { names: [Identity::Dns(name.parse()?)].into() }),
                several => Err(InvalidPeer::SeveralDnsNames(several.len())),
            };
        };
        let id: SpiffeId = uri.parse()?;
        let ours = id.is_of(own);
        let mut names = vec![Identity::Spiffe(id)];
        if ours {
            // A DNS SAN that does not parse (a wildcard, say) is no name that anything could match.
            names.extend(dns.iter().filter_map(|name| name.parse().ok()).map(Identity::Dns));
        }
        Ok(Self { names: names.into() })
    }

    /// The peer's identity, for headers, logs and metrics.
    pub fn identity(&self) -> &Identity {
        &self.names[0]
    }

    /// Every name an expected id or a policy may match; the identity comes first.
    pub fn names(&self) -> &[Identity] {
        &self.names
    }

    /// Whether one of the peer's names is `expected`.
    pub fn is(&self, expected: &Identity) -> bool {
        self.names.contains(expected)
    }
}

#[cfg(test)]
mod tests;
