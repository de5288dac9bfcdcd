//! A small gRPC service behind `incoming`, asked through `channel` and by clients that misbehave.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

use super::*;
use crate::peers::{OWN, ca, credentials, leaf, raw_client};
use crate::workload_api::issuer::Ca;
use crate::{Credentials, CredentialsWatch};

const DESTINATION: &str = "spiffe://root.linkerd.cluster.local/ns/linkerd/sa/linkerd-destination";
const DESTINATION_DNS: &str = "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local";
const VM: &str = "spiffe://root.linkerd.cluster.local/external-workload";

/// Answers each call with the caller's identity, and counts.
#[derive(Clone, Default)]
struct WhoAmI {
    calls: Arc<AtomicUsize>,
}

impl NamedService for WhoAmI {
    const NAME: &'static str = "test.WhoAmI";
}

impl tower::Service<http::Request<Body>> for WhoAmI {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = futures::future::BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let calls = self.calls.clone();
        Box::pin(async move {
            let answer = tower::service_fn(move |request: Request<()>| {
                calls.fetch_add(1, Ordering::Relaxed);
                std::future::ready(match request.extensions().get() {
                    Some(Caller::Loopback) => Ok(Response::new("loopback".to_owned())),
                    Some(Caller::Peer(peer)) => Ok(Response::new(peer.identity().to_string())),
                    None => Err(Status::internal("no caller")),
                })
            });
            Ok(tonic::server::Grpc::new(ProstCodec::<String, ()>::default()).unary(answer, request).await)
        })
    }
}

struct Controller {
    addr: SocketAddr,
    calls: Arc<AtomicUsize>,
    creds: watch::Sender<Option<Arc<Credentials>>>,
}

impl Controller {
    async fn start(creds: Option<Credentials>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, receiver) = watch::channel(creds.map(Arc::new));
        let service = WhoAmI::default();
        let calls = service.calls.clone();
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming(listener, receiver)));
        Self { addr, calls, creds: sender }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    fn at(&self, name: Option<&str>) -> ControlAddr {
        ControlAddr { host: "localhost.".into(), port: self.addr.port(), name: name.map(|name| name.parse().unwrap()) }
    }
}

fn held(creds: Credentials) -> CredentialsWatch {
    watch::channel(Some(Arc::new(creds))).1
}

fn destination(ca: &Ca) -> Credentials {
    credentials(ca, DESTINATION, &[DESTINATION_DNS])
}

async fn ask(channel: &Channel) -> Result<String, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = http::uri::PathAndQuery::from_static("/test.WhoAmI/Ask");
    let asked = client.unary(Request::new(()), path, ProstCodec::<(), String>::default());
    Ok(timeout(Duration::from_secs(8), asked).await.expect("an answer in time")?.into_inner())
}

#[tokio::test]
async fn a_peer_is_known_by_its_certificate() {
    let ca = ca(OWN);
    let controller = Controller::start(Some(destination(&ca))).await;
    let channel = channel(controller.at(Some(DESTINATION_DNS)), held(credentials(&ca, VM, &[])));
    assert_eq!(ask(&channel).await.unwrap(), VM);
}

#[tokio::test]
async fn plaintext_is_for_loopback_and_needs_no_svid() {
    let controller = Controller::start(None).await;
    let none = watch::channel(None).1;
    assert_eq!(ask(&channel(controller.at(None), none.clone())).await.unwrap(), "loopback");

    // Without a name to expect, nothing is sent to any other host.
    let far = ControlAddr { host: "192.0.2.1".into(), port: controller.addr.port(), name: None };
    assert!(client::reach(&far).await.unwrap_err().to_string().contains("not on loopback"));
    assert_eq!(ask(&channel(far, none)).await.unwrap_err().code(), Code::Unavailable);
}

#[test]
fn plaintext_needs_both_ends_on_loopback() {
    let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
    for (local, client, allowed) in [
        ("127.0.0.1:8086", "127.0.0.1:5000", true),
        ("[::1]:8086", "[::1]:5000", true),
        ("[::ffff:127.0.0.1]:8086", "[::ffff:127.0.0.1]:5000", true),
        ("127.0.0.1:8086", "10.0.0.1:5000", false),
        ("10.0.0.1:8086", "127.0.0.1:5000", false),
        ("10.0.0.1:8086", "10.0.0.1:5000", false),
        ("[::ffff:10.0.0.1]:8086", "[::1]:5000", false),
    ] {
        assert_eq!(server::on_loopback(addr(local), addr(client)), allowed, "{client} to {local}");
    }
}

#[tokio::test]
async fn a_controller_of_another_name_is_not_asked() {
    let ca = ca(OWN);
    let controller = Controller::start(Some(destination(&ca))).await;
    let other = "linkerd-policy.linkerd.serviceaccount.identity.linkerd.cluster.local";
    let wrong = channel(controller.at(Some(other)), held(credentials(&ca, VM, &[])));
    assert_eq!(ask(&wrong).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(controller.calls(), 0);
}

#[tokio::test]
async fn without_an_svid_neither_end_talks() {
    let ca = ca(OWN);
    let controller = Controller::start(None).await;
    let name = Some(DESTINATION_DNS);
    let ours = channel(controller.at(name), held(credentials(&ca, VM, &[])));
    assert_eq!(ask(&ours).await.unwrap_err().code(), Code::Unavailable, "the controller has none");
    controller.creds.send_replace(Some(Arc::new(destination(&ca))));
    assert_eq!(ask(&ours).await.unwrap(), VM, "the channel connects again");

    let none = channel(controller.at(name), watch::channel(None).1);
    assert_eq!(ask(&none).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(controller.calls(), 1);
}

/// What a client of this configuration gets that speaks at once: the HTTP/2 preface and a ping.
async fn speak(addr: SocketAddr, config: rustls::ClientConfig) -> Vec<u8> {
    let tcp = TcpStream::connect(addr).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("destination").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let mut got = vec![0; 9];
    let read = timeout(Duration::from_secs(5), stream.read(&mut got)).await.expect("an answer or an end");
    got.truncate(read.unwrap_or(0));
    got
}

#[tokio::test]
async fn a_client_without_a_good_certificate_gets_no_byte() {
    let ca = ca(OWN);
    let controller = Controller::start(Some(destination(&ca))).await;
    assert_eq!(speak(controller.addr, raw_client(None)).await, b"");
    let stranger = crate::peers::ca(OWN).issue(&leaf(&[VM], &[])).unwrap();
    assert_eq!(speak(controller.addr, raw_client(Some(&stranger))).await, b"");
    let good = ca.issue(&leaf(&[VM], &[])).unwrap();
    assert_eq!(speak(controller.addr, raw_client(Some(&good))).await.len(), 9, "a good one gets HTTP/2 frames");
}

#[tokio::test]
async fn a_slow_handshake_holds_up_nobody_else() {
    let ca = ca(OWN);
    let controller = Controller::start(Some(destination(&ca))).await;
    let mut slow = Vec::new();
    for _ in 0..64 {
        let mut tcp = TcpStream::connect(controller.addr).await.unwrap();
        tcp.write_all(&[0x16, 3, 1]).await.unwrap();
        slow.push(tcp);
    }
    let quick = channel(controller.at(Some(DESTINATION_DNS)), held(credentials(&ca, VM, &[])));
    assert_eq!(ask(&quick).await.unwrap(), VM);
    drop(slow);
}

#[tokio::test]
async fn rotation_leaves_an_open_channel_and_serves_new_ones() {
    let (old, new) = (ca(OWN), ca(OWN));
    let controller = Controller::start(Some(destination(&old))).await;
    let name = Some(DESTINATION_DNS);
    let open = channel(controller.at(name), held(credentials(&old, VM, &[])));
    assert_eq!(ask(&open).await.unwrap(), VM);
    controller.creds.send_replace(Some(Arc::new(destination(&new))));
    assert_eq!(ask(&open).await.unwrap(), VM, "the open connection lives on");
    let stale = channel(controller.at(name), held(credentials(&old, VM, &[])));
    assert_eq!(ask(&stale).await.unwrap_err().code(), Code::Unavailable, "a removed authority is out at once");
    let fresh = channel(controller.at(name), held(credentials(&new, VM, &[])));
    assert_eq!(ask(&fresh).await.unwrap(), VM);
}

#[test]
fn control_addresses_parse() {
    let parsed = |text: &str| text.parse::<ControlAddr>().map(|addr| (addr.host, addr.port));
    let linkerd = "linkerd-dst-headless.linkerd.svc.cluster.local.";
    assert_eq!(parsed(&format!("{linkerd}:8086")).unwrap(), (linkerd.into(), 8086));
    assert_eq!(parsed("127.0.0.1:1").unwrap(), ("127.0.0.1".into(), 1));
    assert_eq!(parsed("[::1]:8086").unwrap(), ("::1".into(), 8086));
    assert_eq!("[::1]:8086".parse::<ControlAddr>().unwrap().to_string(), "[::1]:8086");
    for bad in ["", "host", "host:", ":80", "host:0", "host:65536", "::1:80", "ho st:80", "http://host:80", "[host]:80"]
    {
        let error = parsed(bad).unwrap_err().to_string();
        assert!(error.contains(&format!("{bad:?}")), "{error}");
    }
}
