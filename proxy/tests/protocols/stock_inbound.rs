//! Our outbound proxy before a stock inbound one, byte for byte.

use super::peer::{Hello, Session, StockInbound, header};
use crate::support::*;
use linkerd2_proxy_api::destination::WeightedAddr;
use outrigger_model::Refusal;
use outrigger_mtls::Alpn;
use std::io::{Read, Write};
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

const PORT: u16 = 8080;
/// What [`Http::get`] sends for `/`.
const GET: &str = "GET / HTTP/1.1\r\nhost: test\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/// How HTTP/2 begins (RFC 9113 §3.4).
const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The server's identity, at the address of the machine where the test listens.
fn there() -> SocketAddr {
    (CONTROL, PORT).into()
}

fn transparently() -> WeightedAddr {
    WeightedAddr { addr: Some(there().into()), ..transparent(&SERVER, PORT) }
}

fn expected(alpn: &[&str]) -> Hello {
    let alpn = alpn.iter().map(ToString::to_string).collect();
    Hello { server_name: SERVER.server_name.to_owned(), alpn }
}

/// [`GET`] as it goes on: the peer is told which service was meant (A.1.9).
fn get_on(service: &Service) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nhost: test\r\nl5d-dst-canonical: {}\r\n\r\n", service.authority).into_bytes()
}

async fn read(stream: &mut (impl AsyncRead + Unpin), length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

#[test]
fn a_1_7_http1_stays_http1_behind_a_header_that_says_so() {
    let mesh = Mesh::start();
    let service = mesh.service("web", &[meshed_at(&SERVER, there())]);
    run(async {
        let inbound = StockInbound::listen(&mesh, 4143);
        let mut client = mesh.client.http(service.addr);
        client.send(GET).unwrap();
        let (hello, mut accepted) = inbound.accept(Alpn::TransportHeader).await;
        assert_eq!(hello, expected(&["transport.l5d.io/v1"]));
        assert_eq!(accepted.peer.unwrap().identity().as_str(), CLIENT.id);
        let first = [header(PORT, Session::Http1), get_on(&service)].concat();
        assert_eq!(read(&mut accepted.stream, first.len()).await, first);
        accepted.stream.write_all(OK.as_bytes()).await.unwrap();
        assert_eq!(client.receive().unwrap().body, "ok");

        // The next one uses the same connection: no second handshake, no second header.
        client.send(GET).unwrap();
        let again = get_on(&service);
        assert_eq!(read(&mut accepted.stream, again.len()).await, again);
        accepted.stream.write_all(OK.as_bytes()).await.unwrap();
        assert_eq!(client.receive().unwrap().body, "ok");
    });
}

#[test]
fn a_1_7_http2_goes_with_prior_knowledge_behind_a_header_that_says_so() {
    let mesh = Mesh::start();
    let service = mesh.service("web", &[meshed_at(&SERVER, there())]);
    run(async {
        let inbound = StockInbound::listen(&mesh, 4143);
        let mut client = http2(asynchronous(mesh.client.connect(service.addr).unwrap())).await;
        let request = http::Request::get("http://web/").body(whole("")).unwrap();
        let response = tokio::spawn(client.send_request(request));
        let (hello, mut accepted) = inbound.accept(Alpn::TransportHeader).await;
        assert_eq!(hello, expected(&["transport.l5d.io/v1"]));
        let first = [header(PORT, Session::Http2), PREFACE.into()].concat();
        assert_eq!(read(&mut accepted.stream, first.len()).await, first);
        response.abort();
    });
}

#[test]
fn a_1_7_bytes_go_behind_a_header_without_a_session() {
    let mesh = Mesh::start();
    let opaque = mesh.opaque_service("db", &[opaquely(meshed_at(&SERVER, there()))]);
    // What is detected to be no HTTP has no session either.
    let detected = mesh.service("web", &[meshed_at(&SERVER, there())]);
    run(async {
        let inbound = StockInbound::listen(&mesh, 4143);
        for service in [opaque, detected] {
            let mut client = mesh.client.connect(service.addr).unwrap();
            client.write_all(b"\0bytes").unwrap();
            let (hello, mut accepted) = inbound.accept(Alpn::TransportHeader).await;
            assert_eq!(hello, expected(&["transport.l5d.io/v1"]));
            let first = [header(PORT, Session::None), b"\0bytes".to_vec()].concat();
            assert_eq!(read(&mut accepted.stream, first.len()).await, first);
            accepted.stream.write_all(b"back").await.unwrap();
            let mut back = [0; 4];
            client.read_exact(&mut back).unwrap();
            assert_eq!(&back, b"back");
        }
    });
}

#[test]
fn a_1_7_an_opaque_endpoint_of_an_http_service_is_told_no_session() {
    let mesh = Mesh::start();
    let service = mesh.service("web", &[opaquely(meshed_at(&SERVER, there()))]);
    run(async {
        let inbound = StockInbound::listen(&mesh, 4143);
        let mut client = mesh.client.http(service.addr);
        client.send(GET).unwrap();
        let (_, mut accepted) = inbound.accept(Alpn::TransportHeader).await;
        let first = [header(PORT, Session::None), get_on(&service)].concat();
        assert_eq!(read(&mut accepted.stream, first.len()).await, first);
    });
}

#[test]
fn a_1_7_in_transparent_mode_there_is_neither_alpn_nor_header() {
    let mesh = Mesh::start();
    let service = mesh.service("web", &[transparently()]);
    run(async {
        let inbound = StockInbound::listen(&mesh, PORT);
        let mut client = mesh.client.http(service.addr);
        client.send(GET).unwrap();
        let (hello, mut accepted) = inbound.accept(Alpn::None).await;
        assert_eq!(hello, expected(&[]));
        let first = get_on(&service);
        assert_eq!(read(&mut accepted.stream, first.len()).await, first);
        accepted.stream.write_all(OK.as_bytes()).await.unwrap();
        assert_eq!(client.receive().unwrap().body, "ok");

        let mut client = http2(asynchronous(mesh.client.connect(service.addr).unwrap())).await;
        let request = http::Request::get("http://web/").body(whole("")).unwrap();
        let response = tokio::spawn(client.send_request(request));
        let (hello, mut accepted) = inbound.accept(Alpn::None).await;
        assert_eq!(hello, expected(&[]));
        assert_eq!(read(&mut accepted.stream, PREFACE.len()).await, PREFACE.as_bytes());
        response.abort();
    });
}

#[test]
fn a_1_4_a_peer_that_does_not_negotiate_the_header_gets_no_byte() {
    // Linkerd would send the bytes without a header. A proxy's own port would take them for one.
    let mesh = Plan::default().env(&CLIENT, "OUTBOUND_HTTP_FAILFAST_TIMEOUT", "500ms").start();
    let service = mesh.service("web", &[meshed_at(&SERVER, there())]);
    run(async {
        let inbound = StockInbound::listen(&mesh, 4143);
        let mut client = mesh.client.http(service.addr);
        client.send(GET).unwrap();
        let (hello, mut accepted) = inbound.accept(Alpn::None).await;
        assert_eq!(hello, expected(&["transport.l5d.io/v1"]));
        let mut seen = Vec::new();
        let _ = accepted.stream.read_to_end(&mut seen).await;
        assert_eq!(seen, b"");
        mesh.client.wait_for_refusal(Refusal::TransportHeaderNotNegotiated);
        drop((inbound, accepted));
        assert!(client.receive().unwrap().status >= 500);
    });
}

#[test]
fn a_1_9_what_a_stock_peer_says_to_a_proxy_alone_does_not_reach_the_application() {
    let mesh = Mesh::start();
    let service = mesh.service("web", &[meshed_at(&SERVER, there())]);
    run(async {
        let inbound = StockInbound::listen(&mesh, 4143);
        let mut client = mesh.client.http(service.addr);
        client.send(GET).unwrap();
        let (_, mut accepted) = inbound.accept(Alpn::TransportHeader).await;
        read(&mut accepted.stream, header(PORT, Session::Http1).len() + get_on(&service).len()).await;
        let answer = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nl5d-proxy-error: logical: no endpoint\r\n\
                      l5d-orig-proto: HTTP/1.1\r\n\r\n";
        accepted.stream.write_all(answer.as_bytes()).await.unwrap();
        let reply = client.receive().unwrap();
        assert_eq!(reply.status, 502);
        assert!(!reply.head.contains("l5d-"), "{}", reply.head);
    });
}
