//! Who may come in at a port: a `Server`'s policy as `WatchPort` sends it (C.2).

use crate::{InboundRoute, Meta};
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// The policy of one inbound port.
#[derive(Debug, Clone, PartialEq)]
pub struct InboundPolicy {
    /// The Server, or the default policy, that made it.
    pub meta: Meta,
    pub protocol: InboundProtocol,
    /// Any one that matches admits. None: nobody may come in.
    pub authorizations: Arc<[Authorization]>,
    /// For requests that were admitted; `None`: no limit.
    pub rate_limit: Option<RateLimit>,
}

/// How many HTTP requests a second are served; each proxy counts for itself (A.3.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    pub meta: Meta,
    /// Of all clients together.
    pub total: Option<NonZeroU32>,
    /// Of each client identity; clients without one count as one.
    pub identity: Option<NonZeroU32>,
    /// Instead of `identity`.
    pub overrides: Vec<RateOverride>,
}

/// Clients with a limit of their own, which they share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateOverride {
    pub limit: NonZeroU32,
    /// Identities, matched exactly.
    pub clients: Arc<[Arc<str>]>,
}

/// What the port speaks.
#[derive(Debug, Clone, PartialEq)]
pub enum InboundProtocol {
    /// Wait up to `timeout` for the first bytes, then decide; none in time means opaque.
    Detect {
        timeout: Duration,
        routes: Arc<[InboundRoute]>,
    },
    Http1 {
        routes: Arc<[InboundRoute]>,
    },
    Http2 {
        routes: Arc<[InboundRoute]>,
    },
    Grpc {
        routes: Arc<[InboundRoute]>,
    },
    Opaque,
    /// The application ends TLS itself.
    Tls,
}

/// One way to be admitted: from these networks **and** authenticated so.
#[derive(Debug, Clone, PartialEq)]
pub struct Authorization {
    pub meta: Meta,
    /// Never empty: an authorization without networks admits nobody.
    pub networks: Arc<[NetworkMatch]>,
    pub authentication: Authentication,
}

/// A network without its exceptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkMatch {
    pub net: IpNet,
    pub except: Vec<IpNet>,
}

impl NetworkMatch {
    /// All of it, without exceptions.
    pub fn all_of(net: IpNet) -> Self {
        Self { net, except: Vec::new() }
    }

    /// Whether the address is in the network and in none of the exceptions. A v4-mapped IPv6 address, and a network of
    /// such addresses, is its IPv4 one.
    pub fn contains(&self, addr: IpAddr) -> bool {
        let addr = addr.to_canonical();
        let within = |net: &IpNet| canonical(*net).contains(&addr);
        within(&self.net) && !self.except.iter().any(within)
    }
}

fn canonical(net: IpNet) -> IpNet {
    match (net.addr().to_canonical(), net.prefix_len().checked_sub(96)) {
        (IpAddr::V4(addr), Some(len)) => IpNet::new(addr.into(), len).unwrap_or(net),
        _ => net,
    }
}

/// What the client must prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    /// Nothing, not even TLS.
    Unauthenticated,
    /// TLS that this proxy ended; a client certificate is not needed.
    TlsUnauthenticated,
    /// A client certificate with a name that one of these matches.
    TlsAuthenticated(Arc<[IdentityMatch]>),
}

/// A set of identities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityMatch {
    /// Any authenticated peer, SPIFFE or DNS.
    Any,
    /// Exactly this name.
    Exact(Arc<str>),
    /// DNS names below this one; `ns.serviceaccount…` does not match itself.
    DnsSuffix(Arc<str>),
    /// SPIFFE ids below this path or domain, at a `/`: `spiffe://td/ns/prod` matches `spiffe://td/ns/prod/sa/web`.
    SpiffePrefix(Arc<str>),
}

/// What a port without a Server allows (`config.linkerd.io/default-inbound-policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DefaultPolicy {
    Deny,
    #[default]
    AllUnauthenticated,
    AllAuthenticated,
    ClusterUnauthenticated,
    ClusterAuthenticated,
    /// Admits everybody, and says so in the log.
    Audit,
}

impl DefaultPolicy {
    /// Every value, in the order the documentation lists them.
    pub const ALL: [Self; 6] = [
        Self::Deny,
        Self::AllUnauthenticated,
        Self::AllAuthenticated,
        Self::ClusterUnauthenticated,
        Self::ClusterAuthenticated,
        Self::Audit,
    ];

    /// The name in annotations, flags and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::AllUnauthenticated => "all-unauthenticated",
            Self::AllAuthenticated => "all-authenticated",
            Self::ClusterUnauthenticated => "cluster-unauthenticated",
            Self::ClusterAuthenticated => "cluster-authenticated",
            Self::Audit => "audit",
        }
    }

    /// The authorizations that the policy stands for. `cluster` are the cluster's networks; `require_identity`
    /// turns an unauthenticated policy into the authenticated one of the same reach.
    pub fn authorizations(self, cluster: &[IpNet], require_identity: bool) -> Arc<[Authorization]> {
        let everywhere = || [all_networks(false), all_networks(true)].map(NetworkMatch::all_of).into();
        let in_cluster = || cluster.iter().copied().map(NetworkMatch::all_of).collect();
        let (networks, authenticated): (Arc<[NetworkMatch]>, bool) = match self {
            Self::Deny => return Arc::default(),
            Self::AllUnauthenticated | Self::Audit => (everywhere(), require_identity),
            Self::AllAuthenticated => (everywhere(), true),
            Self::ClusterUnauthenticated => (in_cluster(), require_identity),
            Self::ClusterAuthenticated => (in_cluster(), true),
        };
        let authentication = if authenticated {
            Authentication::TlsAuthenticated([IdentityMatch::Any].into())
        } else {
            Authentication::Unauthenticated
        };
        [Authorization { meta: Meta::default_named(self.as_str()), networks, authentication }].into()
    }
}

fn all_networks(v6: bool) -> IpNet {
    if v6 { ipnet::Ipv6Net::default().into() } else { ipnet::Ipv4Net::default().into() }
}

impl FromStr for DefaultPolicy {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|p| p.as_str() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|p| p.as_str()).collect();
            format!("{name:?} is no default policy; write one of {}", names.join(", "))
        })
    }
}

impl fmt::Display for DefaultPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_policies_print_and_parse() {
        for policy in DefaultPolicy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        assert!("allow".parse::<DefaultPolicy>().unwrap_err().contains("all-authenticated"));
        assert!(DefaultPolicy::Deny.authorizations(&[], false).is_empty());
    }

    #[test]
    fn s_14_a_mapped_address_is_its_ipv4_one() {
        let net = NetworkMatch { net: "10.0.0.0/8".parse().unwrap(), except: vec!["10.1.0.0/16".parse().unwrap()] };
        assert!(net.contains("::ffff:10.2.0.1".parse().unwrap()));
        assert!(!net.contains("::ffff:10.1.0.1".parse().unwrap()));
        assert!(!net.contains("11.0.0.1".parse().unwrap()));
        let mapped = ["::ffff:10.1.0.0/112", "::ffff:10.0.0.0/104"].map(|net| net.parse().unwrap());
        let net = NetworkMatch { net: mapped[1], except: vec![mapped[0]] };
        assert!(net.contains("10.2.0.1".parse().unwrap()));
        assert!(!net.contains("10.1.0.1".parse().unwrap()));
        assert!(!NetworkMatch::all_of("::/0".parse().unwrap()).contains("10.1.0.1".parse().unwrap()));
    }
}
