//! A proxy that is not ours, played by the test: exactly the bytes that the contract names, in TLS of our own making.

use crate::support::*;
use outrigger_mtls::{Accepted, Alpn, Connected, Credentials, Svid};
use std::net::{Ipv6Addr, SocketAddr};
use tokio::net::{TcpListener, TcpStream};

/// A client's side: the proxy of a pod that is not there.
pub(super) const STRANGER: &str = "spiffe://root.linkerd.cluster.local/ns/mixed-env/sa/stranger";

pub(super) fn credentials(mesh: &Mesh, svid: Svid) -> Credentials {
    Credentials::new(svid, &mesh.agent.ca().bundles(), 1).unwrap()
}

/// The session protocol's field of a transport header (A.1.4).
#[derive(Clone, Copy)]
pub(super) enum Session {
    None,
    Http1,
    Http2,
}

/// A transport header for a port below 16384, byte by byte.
pub(super) fn header(port: u16, session: Session) -> Vec<u8> {
    assert!((128..16_384).contains(&port), "the port takes two bytes");
    let mut message = vec![0x08, (port & 0x7f) as u8 | 0x80, (port >> 7) as u8];
    match session {
        Session::None => {}
        Session::Http1 => message.extend([0x1a, 2, 0x0a, 0]),
        Session::Http2 => message.extend([0x1a, 2, 0x12, 0]),
    }
    [b"transport.l5d.io/v1\r\n\r\n\0\0\0".as_slice(), &[message.len() as u8], &message].concat()
}

/// Connects to the server's proxy as a stock outbound proxy does.
pub(super) async fn connect(mesh: &Mesh, port: u16, alpn: Alpn) -> Connected<TcpStream> {
    let credentials = credentials(mesh, mesh.agent.ca().issue(&leaf(&[STRANGER])).unwrap());
    let stream = asynchronous(connect_from(&mesh.control, SERVER.addr(port)).unwrap());
    let (name, id) = (SERVER.server_name.parse().unwrap(), SERVER.id.parse().unwrap());
    outrigger_mtls::connect(&credentials, stream, &name, &id, alpn).await.unwrap()
}

/// An inbound proxy of the server's identity on the machine that has none.
pub(super) struct StockInbound {
    listener: TcpListener,
    credentials: Credentials,
}

/// What a client's hello says in the clear.
#[derive(Debug, PartialEq)]
pub(super) struct Hello {
    pub server_name: String,
    pub alpn: Vec<String>,
}

impl StockInbound {
    /// Listens; to be called within a runtime.
    pub(super) fn listen(mesh: &Mesh, port: u16) -> Self {
        let addr = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let listener = mesh.control.enter(|| std::net::TcpListener::bind(addr)).unwrap().unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let credentials = credentials(mesh, mesh.agent.ca().issue(&leaf(&[SERVER.id])).unwrap());
        Self { listener, credentials }
    }

    /// Takes the next connection; what its hello said, and the connection after the handshake.
    pub(super) async fn accept(&self, alpn: Alpn) -> (Hello, Accepted<TcpStream>) {
        let (stream, _) = self.listener.accept().await.unwrap();
        let hello = hello(&stream).await;
        let accepted = outrigger_mtls::accept(&self.credentials, stream, alpn).await.unwrap();
        (hello, accepted)
    }
}

/// Looks at the whole ClientHello without taking it (RFC 8446 §4.1.2).
async fn hello(stream: &TcpStream) -> Hello {
    let mut bytes = vec![0; 16 * 1024];
    let length = loop {
        stream.readable().await.unwrap();
        let n = stream.peek(&mut bytes).await.unwrap();
        let whole = 5 + usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
        if n >= 5 && n >= whole {
            break whole;
        }
        tokio::task::yield_now().await;
    };
    let mut rest = Reader(&bytes[5 + 4 + 2 + 32..length]);
    rest.vector(1);
    rest.vector(2);
    rest.vector(1);
    let mut extensions = Reader(rest.vector(2));
    let mut hello = Hello { server_name: String::new(), alpn: Vec::new() };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    while !extensions.0.is_empty() {
        let kind = extensions.number(2);
        let mut list = Reader(extensions.vector(2));
        match kind {
            // One host_name (RFC 6066 §3).
            0 => hello.server_name = text(Reader(&list.vector(2)[1..]).vector(2)),
            // RFC 7301 §3.1.
            16 => {
                let mut names = Reader(list.vector(2));
                while !names.0.is_empty() {
                    hello.alpn.push(text(names.vector(1)));
                }
            }
            _ => {}
        }
    }
    hello
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self, bytes: usize) -> usize {
        let (number, rest) = self.0.split_at(bytes);
        self.0 = rest;
        number.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    }

    /// What follows a length of so many bytes.
    fn vector(&mut self, length_bytes: usize) -> &'a [u8] {
        let length = self.number(length_bytes);
        let (vector, rest) = self.0.split_at(length);
        self.0 = rest;
        vector
    }
}
