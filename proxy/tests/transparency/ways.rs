//! The ways from a client to an application.

use crate::support::*;
use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};

/// A mesh in which every way can be gone.
pub(super) struct Ways {
    pub mesh: Mesh,
    ports: AtomicU16,
}

/// How many proxies are on the way, and over what.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Way {
    One,
    Pair,
    OneV6,
    PairV6,
}

/// An application and one way to it.
pub(super) struct Path<'a> {
    pub way: Way,
    pub app: App,
    pub port: u16,
    pub target: SocketAddr,
    ways: &'a Ways,
}

impl Way {
    pub(super) const ALL: [Self; 4] = [Self::One, Self::Pair, Self::OneV6, Self::PairV6];

    pub(super) fn is_pair(self) -> bool {
        matches!(self, Self::Pair | Self::PairV6)
    }
}

impl Ways {
    pub(super) fn start() -> Self {
        Self::of(Plan::default())
    }

    pub(super) fn of(plan: Plan) -> Self {
        Self { mesh: plan.dual_stack().start(), ports: AtomicU16::new(8100) }
    }

    /// Does the same on every way, each time with an application of its own.
    pub(super) fn each(
        &self,
        serve: impl Fn(&mut Connection) -> io::Result<()> + Send + Sync + Clone + 'static,
        test: impl Fn(&Path<'_>),
    ) {
        for way in Way::ALL {
            test(&self.path(way, serve.clone()));
        }
    }

    /// An application that speaks HTTP, at the end of a way.
    pub(super) fn path(
        &self,
        way: Way,
        serve: impl Fn(&mut Connection) -> io::Result<()> + Send + Sync + 'static,
    ) -> Path<'_> {
        let port = self.next_port();
        let app = self.mesh.server.serve(port, serve);
        Path { way, app, port, target: self.target(way, port, false), ways: self }
    }

    /// An application whose bytes are nobody's business, at the end of a way.
    pub(super) fn opaque_path(
        &self,
        way: Way,
        serve: impl Fn(&mut Connection) -> io::Result<()> + Send + Sync + 'static,
    ) -> Path<'_> {
        let port = self.next_port();
        self.mesh.policy.set(port, server("bytes", opaque(vec![everyone()])));
        let app = self.mesh.server.serve(port, serve);
        Path { way, app, port, target: self.target(way, port, true), ways: self }
    }

    pub(super) fn next_port(&self) -> u16 {
        self.ports.fetch_add(1, Ordering::Relaxed)
    }

    /// Where a client on the way connects to for a port of the server's.
    pub(super) fn target(&self, way: Way, port: u16, opaque: bool) -> SocketAddr {
        let addr = if matches!(way, Way::One | Way::Pair) { SERVER.addr(port) } else { SERVER.addr_v6(port) };
        if !way.is_pair() {
            return addr;
        }
        let endpoint = meshed_at(&SERVER, addr);
        let endpoint = if opaque { opaquely(endpoint) } else { endpoint };
        let name = format!("web-{port}");
        match (way, opaque) {
            (Way::PairV6, _) => self.mesh.service_v6(&name, opaque, &[endpoint]).addr,
            (_, true) => self.mesh.opaque_service(&name, &[endpoint]).addr,
            (_, false) => self.mesh.service(&name, &[endpoint]).addr,
        }
    }

    /// Connects as a client on the way does.
    pub(super) fn connect(&self, way: Way, target: SocketAddr) -> TcpStream {
        let host = if way.is_pair() { &self.mesh.client.host } else { &self.mesh.control };
        connect_from(host, target).unwrap()
    }
}

impl Path<'_> {
    pub(super) fn connect(&self) -> TcpStream {
        self.ways.connect(self.way, self.target)
    }

    /// A request as the application sees it: over mutual TLS it learns who asks.
    pub(super) fn with_client_id(&self, request: &str) -> String {
        if !self.way.is_pair() {
            return request.to_owned();
        }
        let id = CLIENT.id;
        request.replacen("\r\n\r\n", &format!("\r\nl5d-client-id: {id}\r\n\r\n"), 1)
    }
}

/// What comes until `length` bytes are there or the connection ends.
pub(super) fn receive(stream: &mut TcpStream, length: usize) -> String {
    let mut bytes = Vec::new();
    let outcome = stream.take(length as u64).read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(outcome.is_ok(), "{} after {text:?}", outcome.unwrap_err());
    text
}

/// What comes after the client has said that it will send no more.
pub(super) fn rest(stream: &mut TcpStream) -> String {
    let _ = stream.shutdown(Shutdown::Write);
    receive(stream, usize::MAX)
}
