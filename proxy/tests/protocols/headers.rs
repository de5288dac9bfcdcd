//! The headers that proxies tell each other and applications tell their proxy (A.1.9), from our outbound proxy's side.

use super::peer::{Session, StockInbound, header};
use crate::support::*;
use outrigger_model::Refusal;
use outrigger_mtls::{Accepted, Alpn};
use std::io::ErrorKind;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PORT: u16 = 8080;
const GET: &str = "GET / HTTP/1.1\r\nhost: test\r\n\r\n";

/// The server's identity, at the address of the machine where the test listens.
fn there() -> SocketAddr {
    (CONTROL, PORT).into()
}

/// Whom the profile names for an address that is no service's.
fn forwarded(mesh: &Mesh) {
    let endpoint = meshed_at(&SERVER, there());
    mesh.destination.profile(there(), Answer::Say(endpoint_profile(endpoint.clone())));
    mesh.policy.outbound.set(there(), Answer::Say(egress_fallback(endpoint)));
}

/// Reads a request's head, and the transport header before it if there is one.
async fn request(accepted: &mut Accepted<TcpStream>) -> String {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") || seen.ends_with(b"transport.l5d.io/v1\r\n\r\n") {
        seen.push(accepted.stream.read_u8().await.unwrap());
    }
    String::from_utf8_lossy(&seen).into_owned()
}

async fn answer(accepted: &mut Accepted<TcpStream>, text: &str) {
    accepted.stream.write_all(text.as_bytes()).await.unwrap();
}

const TEAR_DOWN: &str = "HTTP/1.1 504 Gateway Timeout\r\ncontent-length: 0\r\nl5d-proxy-error: no endpoint\r\n\
                         l5d-proxy-connection: close\r\n\r\n";

#[test]
fn a_1_9_a_peers_tear_down_ends_the_connection_to_one_address_and_not_to_a_service() {
    let mesh = Mesh::start();
    let service = mesh.service("web", &[meshed_at(&SERVER, there())]);
    forwarded(&mesh);
    run(async {
        let inbound = StockInbound::listen(&mesh, 4143);
        for (target, ends_then) in [(service.addr, false), (there(), true)] {
            let mut client = mesh.client.http(target);
            client.send(GET).unwrap();
            let (_, mut accepted) = inbound.accept(Alpn::TransportHeader).await;
            request(&mut accepted).await;
            answer(&mut accepted, TEAR_DOWN).await;
            let reply = client.receive().unwrap();
            assert_eq!((reply.status, reply.header("l5d-proxy-connection")), (504, None));
            assert_eq!(reply.header("connection"), ends_then.then_some("close"), "{target}: {}", reply.head);
            if ends_then {
                let ended = client.receive().unwrap_err().kind();
                assert!(!matches!(ended, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{ended:?}");
            } else {
                client.send(GET).unwrap();
                request(&mut accepted).await;
                answer(&mut accepted, "HTTP/1.1 204 No Content\r\n\r\n").await;
                assert_eq!(client.receive().unwrap().status, 204);
            }
        }
        mesh.client.wait_for_event("remote.proxy_error");
    });
}

#[test]
fn a_1_9_a_peers_tear_down_ends_an_http2_connection_to_one_address_too() {
    let mesh = Mesh::start();
    forwarded(&mesh);
    run(async {
        let inbound = StockInbound::listen(&mesh, 4143);
        let mut client = http2(asynchronous(mesh.client.connect(there()).unwrap())).await;
        let asked = http::Request::get("http://web/").body(whole("")).unwrap();
        let response = tokio::spawn(client.send_request(asked));
        let (_, mut accepted) = inbound.accept(Alpn::TransportHeader).await;
        let mut first = vec![0; header(PORT, Session::Http2).len()];
        accepted.stream.read_exact(&mut first).await.unwrap();
        let mut server = h2::server::handshake(accepted.stream).await.unwrap();
        let serving = async {
            let (_, mut respond) = server.accept().await.unwrap().unwrap();
            let gone = http::Response::builder().status(504).header("l5d-proxy-connection", "close");
            respond.send_response(gone.body(()).unwrap(), true).unwrap();
            std::future::poll_fn(|cx| server.poll_closed(cx)).await
        };
        let asking = async {
            let response = response.await.unwrap().unwrap();
            assert_eq!(response.status(), 504);
            assert!(!response.headers().contains_key("l5d-proxy-connection"));
            while client.ready().await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = asking => {}
            ended = serving => panic!("the peer's connection ends first: {ended:?}"),
        }
    });
}

#[test]
fn a_1_9_a_request_that_requires_an_identity_goes_to_no_other() {
    let mesh = Mesh::start();
    let app = mesh.server.serve(PORT, http);
    let plain = App::start(&mesh.control, PORT, http);
    let meshed = mesh.service("web", &[meshed(&SERVER, PORT)]);
    let unmeshed = mesh.service("plain", &[unmeshed(there())]);
    let ask = |service: &Service, id: &str, path: &str| {
        let mut client = mesh.client.http(service.addr);
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: test\r\nl5d-require-id: {id}\r\n\r\n")).unwrap();
        client.receive().unwrap()
    };
    assert_eq!(ask(&meshed, SERVER.id, "/right").status, 200);
    for (service, id) in [(&meshed, OTHER.id), (&meshed, "nobody"), (&unmeshed, SERVER.id)] {
        let reply = ask(service, id, "/wrong");
        assert_eq!((reply.status, reply.header("connection")), (502, Some("close")), "{id}");
        assert!(reply.header("l5d-proxy-error").unwrap().contains("l5d-require-id"));
    }
    mesh.client.wait_for_refusal(Refusal::RequiredIdentityMissing);
    assert!(app.received().contains("/right") && !app.received().contains("l5d-require-id"));
    assert!(!app.received().contains("/wrong") && !plain.received().contains("/wrong"));
}

#[test]
fn a_1_9_informational_headers_may_be_switched_off() {
    let mesh = Plan::default().env(&CLIENT, "OUTBOUND_DISABLE_INFORMATIONAL_HEADERS", "true").start();
    let service = mesh.service("web", &[meshed(&SERVER, PORT)]);
    let mut client = mesh.client.http(service.addr);
    client.send(&format!("GET / HTTP/1.1\r\nhost: test\r\nl5d-require-id: {}\r\n\r\n", OTHER.id)).unwrap();
    let reply = client.receive().unwrap();
    assert!(reply.status == 502 && !reply.head.contains("l5d-"), "{}", reply.head);
}

#[test]
fn a_1_9_only_meshed_endpoints_are_told_the_services_name() {
    let mesh = Mesh::start();
    let plain = App::start(&mesh.control, PORT, http);
    let service = mesh.service("plain", &[unmeshed(there())]);
    let mut client = mesh.client.http(service.addr);
    client
        .send("GET / HTTP/1.1\r\nhost: test\r\nl5d-dst-canonical: forged:1\r\nl5d-client-id: forged\r\n\r\n")
        .unwrap();
    assert_eq!(client.receive().unwrap().status, 200);
    assert_eq!(plain.received(), GET);
}
