//! From the application into the mesh.

use super::{Queue, Side, Windows};
use crate::env::Environment;
use std::net::SocketAddr;
use std::time::Duration;

/// The outbound direction.
#[derive(Debug, Clone)]
pub struct Outbound {
    /// One or two addresses, usually on loopback.
    pub listen: Vec<SocketAddr>,
    pub side: Side,
    /// Requests that wait for a ready endpoint of one service.
    pub requests: Queue,
    /// Opaque connections that do.
    pub connections: Queue,
    /// How long an unused destination is remembered.
    pub idle: Duration,
    /// Whether the application is told why its request failed.
    pub informs: bool,
    /// Of HTTP/2 connections to upstreams.
    pub http2_windows: Windows,
}

impl Outbound {
    pub(super) fn read(env: &mut Environment<'_>) -> Self {
        let one = env.value("OUTBOUND_LISTEN_ADDR");
        let ingress: bool = env.value("INGRESS_MODE");
        Self {
            listen: env.optional("OUTBOUND_LISTEN_ADDRS").unwrap_or_else(|| vec![one]),
            side: Side::read(env, "OUTBOUND"),
            requests: Queue::read(env, "OUTBOUND_HTTP"),
            connections: Queue::read(env, "OUTBOUND_TCP"),
            idle: env.value("OUTBOUND_DISCOVERY_IDLE_TIMEOUT"),
            informs: !env.optional("OUTBOUND_DISABLE_INFORMATIONAL_HEADERS").unwrap_or(ingress),
            http2_windows: Windows::read(env, "HTTP2"),
        }
    }
}
