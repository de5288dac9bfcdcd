//! The inbound HTTP path in process, over real sockets: a scripted client on one side, a scripted application on the
//! other.

use crate::admission::{Arrival, Tls};
use crate::config::Config;
use crate::control::Control;
use crate::directory::{Defaults, Directory};
use crate::inbound::{requests, requests_http2};
use crate::link::Link;
use crate::metrics::Metrics;
use crate::port::{Policy, Port, PortState};
use crate::refused::Refused;
use crate::worker::Worker;
use outrigger_model::{DefaultPolicy, InboundPolicy, InboundProtocol, InboundRoute, Meta, Peer, RouteRule};
use outrigger_mtls::CredentialsWatch;
use prometheus_client::registry::Registry;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, LocalSet};

mod answers;

pub(crate) fn policy(default: DefaultPolicy) -> PortState {
    let route = InboundRoute {
        meta: Meta::default_named("default"),
        hosts: vec![],
        authorizations: Arc::default(),
        rules: vec![RouteRule::default()],
    };
    let policy = InboundPolicy {
        meta: Meta::default_named(default.as_str()),
        protocol: InboundProtocol::Http1 { routes: [route].into() },
        authorizations: default.authorizations(&[], false),
        rate_limit: None,
    };
    PortState::Known(Arc::new(Policy::compile(policy).unwrap()))
}

/// A proxy between a client and an application that the test plays itself.
pub(crate) struct Rig {
    registry: Registry,
    directory: Rc<Directory>,
    pub(crate) application: Application,
    pub(crate) policies: watch::Sender<PortState>,
    pub(crate) peer: Option<Peer>,
}

/// Where the application listens.
#[derive(Clone)]
pub(crate) struct Application {
    listener: Rc<RefCell<Option<Rc<TcpListener>>>>,
    addr: SocketAddr,
    accepted: Rc<Cell<usize>>,
}

impl Application {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        Self { listener: Rc::new(RefCell::new(Some(Rc::new(listener)))), addr, accepted: Rc::default() }
    }

    pub(crate) async fn accept(&self) -> std::io::Result<(TcpStream, SocketAddr)> {
        let listener = self.listener.borrow().clone().expect("the application listens");
        let accepted = listener.accept().await;
        self.accepted.set(self.accepted.get() + 1);
        accepted
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.get()
    }

    /// Listens no more.
    pub(crate) fn close(&self) {
        self.listener.take();
    }
}

/// A worker with these variables beside the guide's, and no SVID.
pub(crate) fn worker(variables: &[(&str, &str)]) -> Rc<Worker> {
    worker_with(variables, watch::channel(None).1)
}

/// The same with these credentials.
pub(crate) fn worker_with(variables: &[(&str, &str)], credentials: CredentialsWatch) -> Rc<Worker> {
    counting(variables, credentials, &mut Registry::default())
}

fn counting(variables: &[(&str, &str)], credentials: CredentialsWatch, registry: &mut Registry) -> Rc<Worker> {
    let mut env = crate::config::tests::guide();
    env.extend(variables.iter().map(|(name, value)| (format!("LINKERD2_PROXY_{name}"), (*value).to_owned())));
    let config = Config::from_env(&env).unwrap();
    Worker::new(Arc::new(config), credentials, Metrics::new(registry))
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    /// With these variables beside the guide's.
    pub(crate) async fn with(variables: &[(&str, &str)]) -> Self {
        let (control, _asked) = Control::new();
        let mut registry = Registry::default();
        let worker = counting(variables, watch::channel(None).1, &mut registry);
        Self {
            registry,
            directory: Directory::new(worker, control, Defaults::default()),
            application: Application::new().await,
            policies: watch::channel(policy(DefaultPolicy::AllUnauthenticated)).0,
            peer: None,
        }
    }

    /// A client's connection, and the proxy's work on it.
    async fn connect(&self) -> (TcpStream, JoinHandle<Result<(), Refused>>) {
        let (client, accepted, arrival) = self.arrive().await;
        let directory = Rc::clone(&self.directory);
        let serving =
            tokio::task::spawn_local(async move { requests(&directory, Link::plain(accepted), arrival).await });
        (client, serving)
    }

    /// The same for a client that speaks HTTP/2.
    pub(crate) async fn connect_http2(&self) -> (TcpStream, JoinHandle<Result<(), Refused>>) {
        let (client, accepted, arrival) = self.arrive().await;
        let directory = Rc::clone(&self.directory);
        let serving = async move { requests_http2(&directory, Link::plain(accepted), arrival).await };
        (client, tokio::task::spawn_local(serving))
    }

    async fn arrive(&self) -> (TcpStream, TcpStream, Arrival) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, from) = listener.accept().await.unwrap();
        let arrival = Arrival {
            from,
            tls: self.peer.clone().map_or(Tls::None, Tls::Authenticated),
            to: self.application.addr,
            port: Port::new(self.policies.subscribe(), None),
        };
        (client, accepted, arrival)
    }

    /// As the admin server shows them.
    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    /// The proxy's next connection to the application.
    async fn accept(&self) -> TcpStream {
        self.application.accept().await.unwrap().0
    }

    /// Whether the proxy has opened no (further) connection to the application.
    async fn untouched(&self) -> bool {
        tokio::time::timeout(Duration::from_millis(50), self.application.accept()).await.is_err()
    }
}

/// Reads until `end` has been seen.
async fn read_to(stream: &mut TcpStream, end: &str) -> String {
    let mut seen = Vec::new();
    while !seen.ends_with(end.as_bytes()) {
        let byte = stream.read_u8().await.unwrap_or_else(|e| panic!("{e} after {:?}", String::from_utf8_lossy(&seen)));
        seen.push(byte);
    }
    String::from_utf8(seen).unwrap()
}

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).unwrap()
}

/// Runs a test on one thread, with an end.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bounded = async { tokio::time::timeout(Duration::from_secs(20), test).await.expect("the test hangs") };
    LocalSet::new().block_on(&runtime, bounded)
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn requests_share_a_connection_to_the_application() {
    run(async {
        let rig = Rig::new().await;
        let (mut client, _) = rig.connect().await;
        send(&mut client, GET).await;
        let mut app = rig.accept().await;
        for _ in 0..3 {
            assert_eq!(read_to(&mut app, "\r\n\r\n").await, GET);
            send(&mut app, OK).await;
            assert_eq!(read_to(&mut client, "ok").await, OK);
            send(&mut client, GET).await;
        }
        let (mut other, _) = rig.connect().await;
        send(&mut other, GET).await;
        let mut second = rig.accept().await;
        read_to(&mut second, "\r\n\r\n").await;
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    run(async {
        let rig = Rig::new().await;
        let (mut client, _) = rig.connect().await;
        send(&mut client, "GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut app = rig.accept().await;
        for n in ["1", "2"] {
            let head = read_to(&mut app, "\r\n\r\n").await;
            assert!(head.starts_with(&format!("GET /{n} ")), "{head}");
            send(&mut app, &format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{n}")).await;
        }
        let both = read_to(&mut client, "\r\n\r\n2").await;
        assert!(both.find("\r\n\r\n1") < both.find("\r\n\r\n2"));
    });
}

#[test]
fn bodies_pass_unchanged_both_ways() {
    run(async {
        let rig = Rig::new().await;
        let (mut client, _) = rig.connect().await;
        let body = "x".repeat(300_000);
        let chunked = format!("{:x};ext=1\r\n{body}\r\n0\r\nx-trailer: t\r\n\r\n", body.len());
        let counted = format!("content-length: {}\r\n\r\n{body}", body.len());
        for (framing, end) in [(format!("Transfer-Encoding: chunked\r\n\r\n{chunked}"), "t\r\n\r\n"), (counted, "xxxx")]
        {
            let mut app_side = None;
            let request = format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}");
            let (mut reader, mut writer) = client.split();
            let sending = writer.write_all(request.as_bytes());
            let serving = async {
                let mut app = rig.accept().await;
                let mut seen = vec![0; request.len()];
                app.read_exact(&mut seen).await.unwrap();
                assert!(String::from_utf8(seen).unwrap().ends_with(end));
                let response = format!("HTTP/1.1 200 OK\r\n{framing}");
                app.write_all(response.as_bytes()).await.unwrap();
                app_side = Some(app);
                response
            };
            let receiving = async {
                let mut seen =
                    vec![0; request.len() - "POST / HTTP/1.1\r\nhost: a\r\n".len() + "HTTP/1.1 200 OK\r\n".len()];
                reader.read_exact(&mut seen).await.unwrap();
                String::from_utf8(seen).unwrap()
            };
            let (sent, response, received) = tokio::join!(sending, serving, receiving);
            sent.unwrap();
            assert_eq!(received, response);
            // The application closes: the next request needs another connection.
            drop(app_side);
        }
    });
}

#[test]
fn heads_without_bodies_leave_the_connection_usable() {
    run(async {
        let rig = Rig::new().await;
        let (mut client, _) = rig.connect().await;
        send(&mut client, "HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut app = rig.accept().await;
        read_to(&mut app, "\r\n\r\n").await;
        send(&mut app, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").await;
        assert!(read_to(&mut client, "\r\n\r\n").await.contains("content-length: 5"));
        for status in ["204 No Content", "304 Not Modified"] {
            send(&mut client, GET).await;
            read_to(&mut app, "\r\n\r\n").await;
            send(&mut app, &format!("HTTP/1.1 {status}\r\n\r\n")).await;
            assert!(read_to(&mut client, "\r\n\r\n").await.contains(status));
        }
    });
}

#[test]
fn a_response_that_ends_with_the_connection_ends_ours() {
    run(async {
        let rig = Rig::new().await;
        let (mut client, _) = rig.connect().await;
        send(&mut client, GET).await;
        let mut app = rig.accept().await;
        read_to(&mut app, "\r\n\r\n").await;
        send(&mut app, "HTTP/1.1 200 OK\r\n\r\nall of it").await;
        drop(app);
        let response = rest(&mut client).await;
        assert!(response.contains("connection: close") && response.ends_with("all of it"), "{response}");
    });
}

#[test]
fn http10_is_answered_in_its_own_terms() {
    run(async {
        let rig = Rig::new().await;
        let (mut client, _) = rig.connect().await;
        send(&mut client, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
        let mut app = rig.accept().await;
        assert!(read_to(&mut app, "\r\n\r\n").await.starts_with("GET / HTTP/1.0\r\n"));
        send(&mut app, OK).await;
        assert!(read_to(&mut client, "ok").await.contains("connection: keep-alive"));
        send(&mut client, "GET / HTTP/1.0\r\n\r\n").await;
        read_to(&mut app, "\r\n\r\n").await;
        send(&mut app, OK).await;
        assert!(rest(&mut client).await.contains("connection: close"));
    });
}

#[test]
fn a_client_may_wait_for_100_continue() {
    run(async {
        let rig = Rig::new().await;
        let (mut client, _) = rig.connect().await;
        send(&mut client, "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n").await;
        let mut app = rig.accept().await;
        assert!(read_to(&mut app, "\r\n\r\n").await.contains("expect: 100-continue"));
        send(&mut app, "HTTP/1.1 100 Continue\r\n\r\n").await;
        assert_eq!(read_to(&mut client, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        send(&mut client, "body").await;
        read_to(&mut app, "body").await;
        send(&mut app, OK).await;
        assert_eq!(read_to(&mut client, "ok").await, OK);
    });
}

#[test]
fn an_answer_may_come_before_the_request_has_ended() {
    run(async {
        let rig = Rig::new().await;
        let (mut client, _) = rig.connect().await;
        send(&mut client, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nbegin").await;
        let mut app = rig.accept().await;
        read_to(&mut app, "begin").await;
        send(&mut app, "HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n").await;
        drop(app);
        assert!(rest(&mut client).await.starts_with("HTTP/1.1 413 "));
    });
}

#[test]
fn an_upgraded_connection_carries_bytes() {
    run(async {
        let rig = Rig::new().await;
        let (mut client, _) = rig.connect().await;
        send(&mut client, "GET / HTTP/1.1\r\nhost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly").await;
        let mut app = rig.accept().await;
        assert!(read_to(&mut app, "\r\n\r\n").await.contains("upgrade: echo"));
        send(&mut app, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nhello").await;
        assert!(read_to(&mut client, "hello").await.contains("101"));
        assert_eq!(read_to(&mut app, "early").await, "early");
        send(&mut client, "GET \0 not http").await;
        assert_eq!(read_to(&mut app, "http").await, "GET \0 not http");
        drop(client);
        assert_eq!(rest(&mut app).await, "");
    });
}

#[test]
fn s_03_an_ambiguous_request_reaches_nobody() {
    run(async {
        let rig = Rig::new().await;
        for bad in [
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
            "GET / HTTP/1.1\nhost: a\n\n",
            "\0\0\0\0\r\n\r\n",
        ] {
            let (mut client, _) = rig.connect().await;
            send(&mut client, bad).await;
            let answer = rest(&mut client).await;
            assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("connection: close"), "{bad:?}: {answer}");
        }
        assert!(rig.untouched().await);
    });
}

#[test]
fn c_1_a_refused_request_reaches_nobody_and_policy_changes_apply_at_once() {
    run(async {
        let rig = Rig::new().await;
        let (mut client, _) = rig.connect().await;
        rig.policies.send_replace(policy(DefaultPolicy::Deny));
        for _ in 0..2 {
            send(&mut client, GET).await;
            assert_eq!(read_to(&mut client, "\r\n\r\n").await, "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
        }
        assert!(rig.untouched().await);
        rig.policies.send_replace(policy(DefaultPolicy::AllUnauthenticated));
        send(&mut client, GET).await;
        let mut app = rig.accept().await;
        read_to(&mut app, "\r\n\r\n").await;
        send(&mut app, OK).await;
        read_to(&mut client, "ok").await;
        rig.policies.send_replace(PortState::Invalid("half a policy".into()));
        send(&mut client, GET).await;
        assert!(rest(&mut client).await.starts_with("HTTP/1.1 500 "));
    });
}

#[test]
fn a_1_9_the_application_hears_of_the_client_only_from_us() {
    run(async {
        let mut rig = Rig::new().await;
        let forged = "GET / HTTP/1.1\r\nhost: a\r\nl5d-client-id: forged\r\n\r\n";
        let (mut client, _) = rig.connect().await;
        send(&mut client, forged).await;
        let mut app = rig.accept().await;
        assert_eq!(read_to(&mut app, "\r\n\r\n").await, GET);
        let domain = "td".parse().unwrap();
        rig.peer = Some(Peer::from_sans(&domain, &["spiffe://td/vm"], &[]).unwrap());
        let (mut client, _) = rig.connect().await;
        send(&mut client, forged).await;
        let mut app = rig.accept().await;
        assert!(read_to(&mut app, "\r\n\r\n").await.ends_with("\r\nl5d-client-id: spiffe://td/vm\r\n\r\n"));
        rig.policies.send_replace(policy(DefaultPolicy::Deny));
        let (mut client, _) = rig.connect().await;
        send(&mut client, GET).await;
        let answer = read_to(&mut client, "\r\n\r\n").await;
        assert!(answer.contains("l5d-proxy-error: no authorization"), "a meshed peer is told why: {answer}");
    });
}

#[test]
fn a_dead_pooled_connection_fails_no_repeatable_request() {
    run(async {
        let rig = Rig::new().await;
        let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx";
        for (request, repeated) in [(GET, true), (post, false)] {
            let (mut client, _) = rig.connect().await;
            send(&mut client, GET).await;
            let mut app = rig.accept().await;
            read_to(&mut app, "\r\n\r\n").await;
            send(&mut app, OK).await;
            read_to(&mut client, "ok").await;
            // The application takes the next request and dies over it.
            send(&mut client, request).await;
            read_to(&mut app, if repeated { "\r\n\r\n" } else { "x" }).await;
            drop(app);
            if repeated {
                let mut app = rig.accept().await;
                assert_eq!(read_to(&mut app, "\r\n\r\n").await, GET);
                send(&mut app, OK).await;
                assert_eq!(read_to(&mut client, "ok").await, OK);
            } else {
                assert!(rest(&mut client).await.starts_with("HTTP/1.1 502 "));
                assert!(rig.untouched().await, "a request that may have done something is not sent again");
            }
        }
    });
}

#[test]
fn an_application_that_does_not_listen_is_a_502() {
    run(async {
        let rig = Rig::new().await;
        let (mut client, _) = rig.connect().await;
        rig.application.close();
        send(&mut client, GET).await;
        assert!(rest(&mut client).await.starts_with("HTTP/1.1 502 "));
    });
}

#[test]
fn bad_responses_never_reach_the_client() {
    run(async {
        let rig = Rig::new().await;
        for bad in [
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
            "HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n",
            "SSH-2.0-OpenSSH\r\n\r\n",
        ] {
            let (mut client, _) = rig.connect().await;
            send(&mut client, GET).await;
            let mut app = rig.accept().await;
            read_to(&mut app, "\r\n\r\n").await;
            send(&mut app, bad).await;
            let answer = rest(&mut client).await;
            assert!(answer.starts_with("HTTP/1.1 502 "), "{bad:?}: {answer}");
        }
    });
}

#[test]
fn a_client_that_leaves_ends_its_request() {
    run(async {
        let rig = Rig::new().await;
        let (mut client, serving) = rig.connect().await;
        send(&mut client, GET).await;
        let mut app = rig.accept().await;
        read_to(&mut app, "\r\n\r\n").await;
        drop(client);
        assert_eq!(rest(&mut app).await, "", "the application's connection ends");
        assert!(serving.await.unwrap().is_ok());
    });
}

#[test]
fn t_53_a_drain_lets_idle_connections_finish() {
    run(async {
        let rig = Rig::new().await;
        let (mut client, serving) = rig.connect().await;
        tokio::task::yield_now().await;
        rig.directory.worker.drain.begin();
        send(&mut client, GET).await;
        let mut app = rig.accept().await;
        read_to(&mut app, "\r\n\r\n").await;
        send(&mut app, OK).await;
        assert!(rest(&mut client).await.contains("connection: close"), "served, and told to go");
        assert!(serving.await.unwrap().is_ok());
    });
}

#[tokio::test(start_paused = true)]
async fn s_04_a_head_that_dribbles_has_ten_seconds_in_all() {
    let local = LocalSet::new();
    let dribbling = async {
        let rig = Rig::new().await;
        let (mut client, _) = rig.connect().await;
        let began = tokio::time::Instant::now();
        let (mut reader, mut writer) = client.split();
        let dribble = async {
            while writer.write_all(b"G").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
        };
        let mut answer = [0; 12];
        tokio::select! {
            () = dribble => panic!("the answer comes first"),
            read = reader.read_exact(&mut answer) => { read.unwrap(); }
        }
        assert_eq!(&answer, b"HTTP/1.1 408");
        assert_eq!(began.elapsed().as_secs(), 10);
        assert!(rig.untouched().await);
    };
    local.run_until(dribbling).await;
}

#[test]
fn a_head_that_grows_without_end_is_cut_off() {
    run(async {
        let rig = Rig::new().await;
        let (mut client, _) = rig.connect().await;
        send(&mut client, "GET / HTTP/1.1\r\nhost: a\r\n").await;
        let (mut reader, mut writer) = client.split();
        let flood = async { while writer.write_all(&[b'a'; 4096]).await.is_ok() {} };
        let mut answer = [0; 12];
        let answered = reader.read_exact(&mut answer);
        tokio::select! {
            () = flood => panic!("the answer comes first"),
            read = answered => { read.unwrap(); }
        }
        assert_eq!(&answer, b"HTTP/1.1 431");
        assert!(rig.untouched().await);
    });
}
