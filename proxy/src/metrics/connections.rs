//! Connections, accepted and made, and the bytes that the two sides of each exchange.

use super::Direction;
use super::kept::{Labels, Metric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use std::net::SocketAddr;
use std::sync::Arc;

/// What is counted of connections with the same ends.
#[derive(Default)]
pub(crate) struct Connections {
    opened: Counter,
    open: Gauge,
    closed: Counter,
    pub read: Counter,
    pub written: Counter,
}

pub(super) const CONNECTIONS: &[Metric<Connections>] = &[
    Metric { name: "tcp_open", help: "Connections opened", of: |group| &group.opened },
    Metric { name: "tcp_open_connections", help: "Connections open now", of: |group| &group.open },
    Metric { name: "tcp_close", help: "Connections closed", of: |group| &group.closed },
    Metric { name: "tcp_read_bytes", help: "Bytes read from the peer, without TLS", of: |group| &group.read },
    Metric { name: "tcp_write_bytes", help: "Bytes written to the peer, without TLS", of: |group| &group.written },
];

/// The other end of a connection, as labels say it.
pub(crate) enum Security<'a> {
    /// Mutual TLS; with whom.
    Mutual(&'a str),
    /// TLS that we ended, without a client certificate.
    Anonymous,
    /// TLS that we did not end. Its server name is the client's to make up, and so no label.
    Passed,
    /// Plaintext, and why.
    Plain(&'static str),
}

impl Security<'_> {
    /// `id` names the label of the other end's identity: `client_id` or `server_id`.
    pub(super) fn labels(&self, id: &'static str) -> Labels {
        match self {
            Self::Mutual(name) => vec![("tls", "true".into()), (id, (*name).to_owned())],
            Self::Anonymous => vec![("tls", "true".into())],
            Self::Passed => vec![("tls", "opaque".into())],
            Self::Plain(why) => vec![("tls", "no_identity".into()), ("no_tls_reason", (*why).to_owned())],
        }
    }
}

/// Labels of an address.
pub(super) fn target(addr: SocketAddr) -> Labels {
    vec![
        ("target_addr", addr.to_string()),
        ("target_ip", addr.ip().to_string()),
        ("target_port", addr.port().to_string()),
    ]
}

/// A client's connection (`peer="src"`); `target` is where it was going.
pub(super) fn source(direction: Direction, to: SocketAddr, security: &Security<'_>) -> Labels {
    labels(direction, "src", to, security.labels("client_id"))
}

/// A connection that the proxy makes (`peer="dst"`).
pub(super) fn destination(direction: Direction, to: SocketAddr, security: &Security<'_>) -> Labels {
    labels(direction, "dst", to, security.labels("server_id"))
}

fn labels(direction: Direction, peer: &'static str, to: SocketAddr, security: Labels) -> Labels {
    let mut labels = vec![("direction", direction.as_str().to_owned()), ("peer", peer.to_owned())];
    labels.extend(target(to));
    labels.extend(security);
    labels
}

/// One open connection's count; it is closed when this is dropped.
pub(crate) struct Meter(Arc<Connections>);

impl Meter {
    pub(crate) fn new(connections: Arc<Connections>) -> Self {
        connections.opened.inc();
        connections.open.inc();
        Self(connections)
    }

    pub(crate) fn read(&self, bytes: usize) {
        self.0.read.inc_by(bytes as u64);
    }

    pub(crate) fn written(&self, bytes: usize) {
        self.0.written.inc_by(bytes as u64);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.0.open.dec();
        self.0.closed.inc();
    }
}
