//! The endpoints of a service, and the difference between two sets of them.

use crate::{DnsName, Identity, Labels, Meta};
use std::cmp::Ordering;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How a meshed endpoint proves itself: the name to ask for and the identity to expect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsIdentity {
    pub id: Identity,
    /// The SNI to send. A DNS identity is its own; a SPIFFE id without one cannot be reached, and is refused (A.1.7).
    pub server_name: Option<DnsName>,
}

/// What the endpoint's proxy is known to understand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProtocolHint {
    #[default]
    Unknown,
    /// The peer accepts HTTP/2, with HTTP/1 inside it.
    Http2,
    /// Never detect; bytes only.
    Opaque,
}

/// One address of a service. Two endpoints are the same one if their addresses are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub addr: SocketAddr,
    /// Relative share of traffic; Linkerd sends 10000 for "one".
    pub weight: u32,
    /// `None`: not meshed. An identity that cannot be used never becomes `None`.
    pub tls: Option<TlsIdentity>,
    pub hint: ProtocolHint,
    /// Where the peer's proxy takes connections with a transport header; `None`: the application's port.
    pub inbound_port: Option<u16>,
    /// `name:port` to put into the transport header instead of the port alone: the endpoint is a gateway.
    pub authority_override: Option<Arc<str>>,
    /// `None`: the proxy's own configuration.
    pub http2: Option<Arc<Http2Params>>,
    pub labels: Arc<Labels>,
    /// The Pod or ExternalWorkload.
    pub resource: Option<Meta>,
}

/// How HTTP/2 to an endpoint is spoken. What is `None` is as the proxy's own configuration has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Http2Params {
    /// In bytes.
    pub connection_window: Option<u32>,
    /// In bytes.
    pub stream_window: Option<u32>,
    /// Windows follow the connection's throughput, whatever they are set to.
    pub adaptive_window: bool,
    pub keep_alive: Option<Http2KeepAlive>,
    pub max_concurrent_reset_streams: Option<u32>,
    /// In bytes.
    pub max_frame_size: Option<u32>,
    /// In bytes.
    pub max_send_buffer: Option<u32>,
}

/// Pings of an HTTP/2 connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2KeepAlive {
    pub interval: Duration,
    /// Without an answer for so long the connection is dead.
    pub timeout: Duration,
    /// Also while there are no requests.
    pub while_idle: bool,
}

impl Endpoint {
    /// The weight that Linkerd's controller gives every endpoint.
    pub const WEIGHT: u32 = 10_000;

    /// An address of which nothing is known: no identity, no hint, no labels.
    pub fn unmeshed(addr: SocketAddr) -> Self {
        Self {
            addr,
            weight: Self::WEIGHT,
            tls: None,
            hint: ProtocolHint::Unknown,
            inbound_port: None,
            authority_override: None,
            http2: None,
            labels: Arc::default(),
            resource: None,
        }
    }
}

/// A service's endpoints, sorted by address, each address once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointSet(Arc<[Endpoint]>);

/// What turns one set into the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointChange {
    /// New, or changed in something other than the address.
    pub upserts: Vec<Endpoint>,
    pub removals: Vec<SocketAddr>,
}

impl EndpointChange {
    /// Whether both sets were the same.
    pub fn is_empty(&self) -> bool {
        self.upserts.is_empty() && self.removals.is_empty()
    }
}

impl EndpointSet {
    /// Sorts; of two endpoints with one address the later wins.
    pub fn new(mut endpoints: Vec<Endpoint>) -> Self {
        endpoints.reverse();
        endpoints.sort_by_key(|e| e.addr);
        endpoints.dedup_by_key(|e| e.addr);
        Self(endpoints.into())
    }

    /// In order of address.
    pub fn as_slice(&self) -> &[Endpoint] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// One linear merge of the two sorted sets, O(n + m).
    pub fn change_to(&self, next: &Self) -> EndpointChange {
        let mut change = EndpointChange::default();
        let (mut old, mut new) = (self.0.iter().peekable(), next.0.iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return change,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.addr.cmp(&b.addr),
            };
            let before = if order.is_le() { old.next() } else { None };
            let after = if order.is_ge() { new.next() } else { None };
            match (before, after) {
                (Some(gone), None) => change.removals.push(gone.addr),
                (before, Some(after)) if before != Some(after) => change.upserts.push(after.clone()),
                _ => {}
            }
        }
    }

    /// Applies a change; the inverse of [`EndpointSet::change_to`].
    pub fn apply(&self, change: &EndpointChange) -> Self {
        let kept = self.0.iter().filter(|e| !change.removals.contains(&e.addr)).cloned();
        Self::new(kept.chain(change.upserts.iter().cloned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ports: &[(u16, u32)]) -> EndpointSet {
        let endpoint = |&(port, weight)| Endpoint { weight, ..Endpoint::unmeshed(([10, 0, 0, 1], port).into()) };
        EndpointSet::new(ports.iter().map(endpoint).collect())
    }

    #[test]
    fn a_change_leads_from_one_set_to_the_other() {
        let cases: &[&[(u16, u32)]] = &[&[], &[(1, 1)], &[(1, 2)], &[(3, 1), (2, 1)], &[(1, 1), (2, 1), (4, 1)]];
        for a in cases {
            for b in cases {
                let (a, b) = (set(a), set(b));
                let change = a.change_to(&b);
                assert_eq!(a.apply(&change), b);
                assert_eq!(change.is_empty(), a == b);
            }
        }
    }

    #[test]
    fn the_later_of_two_endpoints_with_one_address_wins() {
        let both = set(&[(1, 1), (1, 2)]);
        assert_eq!((both.len(), both.as_slice()[0].weight), (1, 2));
    }
}
