use super::*;
use crate::control::Control;
use crate::directory::Defaults;
use crate::http::tests::{run, worker_with};
use crate::port::Policy;
use crate::worker::Worker;
use outrigger_model::{DefaultPolicy, InboundPolicy, InboundProtocol, InboundRoute, Meta, PathMatch, RouteMatch};
use outrigger_model::{DnsName, RouteRule};
use outrigger_mtls::workload_api::issuer::{Ca, Leaf};
use outrigger_mtls::{Alpn, Credentials};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tracing_subscriber::{EnvFilter, Registry, reload};

const TARGET: &str = "10.0.0.1:4191";
const PEER: &str = "10.0.0.2:40000";
const LOCAL: &str = "127.0.0.1:40000";

fn route(name: &str, matches: Vec<RouteMatch>, who: DefaultPolicy) -> InboundRoute {
    InboundRoute {
        meta: Meta::default_named(name),
        hosts: vec![],
        authorizations: who.authorizations(&[], false),
        rules: vec![RouteRule { matches, filters: vec![] }],
    }
}

/// What a controller says of an admin port: probes are everybody's, the rest is as the default policy says.
fn policy(default: DefaultPolicy) -> Policy {
    let live = RouteMatch { path: Some(PathMatch::Exact("/live".into())), ..RouteMatch::default() };
    let probe = route("probe", vec![live], DefaultPolicy::AllUnauthenticated);
    let rest = route("default", vec![], DefaultPolicy::Deny);
    let protocol = InboundProtocol::Detect { timeout: Duration::from_secs(10), routes: [probe, rest].into() };
    let authorizations = default.authorizations(&[], false);
    let meta = Meta::default_named(default.as_str());
    Policy::compile(InboundPolicy { meta, protocol, authorizations, rate_limit: None }).unwrap()
}

/// An admin server, and what tells it to shut down.
fn server(
    default: DefaultPolicy,
    variables: &[(&str, &str)],
    svid: Option<Arc<Credentials>>,
) -> (Rc<AdminServer>, Arc<Notify>) {
    let worker: Rc<Worker> = worker_with(variables, watch::channel(svid).1);
    let filter: (reload::Layer<EnvFilter, Registry>, _) = reload::Layer::new(EnvFilter::new("warn"));
    // The handle reaches its filter for as long as the layer lives.
    let (layer, handle) = filter;
    std::mem::forget(layer);
    let shutdown = Arc::new(Notify::new());
    let actions = actions(&worker.config, Log::of(handle), Arc::clone(&shutdown));
    let admin = Admin::new(|| Ok(()), Arc::default()).with_actions(actions);
    let defaults = Defaults { detect: Some(Arc::new(policy(default))), opaque: None };
    let directory = Directory::new(worker, Control::new().0, defaults);
    (AdminServer::new(admin, directory), shutdown)
}

/// A client's end of a connection that the server takes to come from `client`.
async fn connect(server: &Rc<AdminServer>, client: &str) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (theirs, _) = listener.accept().await.unwrap();
    let (server, client) = (Rc::clone(server), client.parse().unwrap());
    tokio::task::spawn_local(async move { server.connection(theirs, client, TARGET.parse().unwrap()).await });
    ours
}

/// Status and body.
async fn exchange(mut io: impl AsyncRead + AsyncWrite + Unpin, request: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let text = format!("{request} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    io.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = io.read_to_string(&mut answer).await;
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return (0, answer) };
    (head[9..12].parse().unwrap(), body.to_owned())
}

async fn ask(server: &Rc<AdminServer>, client: &str, request: &str) -> u16 {
    exchange(connect(server, client).await, request, "").await.0
}

#[test]
fn a_5_others_are_served_as_the_ports_policy_says() {
    run(async {
        let (closed, _) = server(DefaultPolicy::Deny, &[], None);
        assert_eq!(ask(&closed, PEER, "GET /live").await, 200, "a probe has a route of its own");
        for request in ["GET /metrics", "GET /ready", "GET /nothing", "PUT /proxy-log-level"] {
            assert_eq!(ask(&closed, PEER, request).await, 403, "{request}");
        }
        let (open, _) = server(DefaultPolicy::AllUnauthenticated, &[], None);
        assert_eq!(ask(&open, PEER, "GET /metrics").await, 200);
        for request in ["GET /proxy-log-level", "GET /env.json", "PUT /proxy-log-level"] {
            assert_eq!(ask(&open, PEER, request).await, 403, "{request}");
        }
        assert_eq!(ask(&open, PEER, "POST /shutdown").await, 404, "there is none unless it is enabled");
    });
}

#[test]
fn a_5_this_host_needs_no_policy() {
    run(async {
        let (server, shutdown) = server(DefaultPolicy::Deny, &[("SHUTDOWN_ENDPOINT_ENABLED", "true")], None);
        assert_eq!(ask(&server, LOCAL, "GET /metrics").await, 200);
        assert_eq!(ask(&server, LOCAL, "GET /shutdown").await, 405);
        assert_eq!(ask(&server, LOCAL, "POST /shutdown").await, 200);
        shutdown.notified().await;

        let level = async |request: &str, body: &str| exchange(connect(&server, LOCAL).await, request, body).await;
        assert_eq!(level("GET /proxy-log-level", "").await, (200, "warn\n".into()));
        assert_eq!(level("PUT /proxy-log-level", "info,linkerd=debug").await.0, 200);
        let (_, changed) = level("GET /proxy-log-level", "").await;
        assert!(changed.contains("outrigger=debug") && changed.contains("info"), "{changed}");
        let (status, why) = level("PUT /proxy-log-level", "outrigger=loud").await;
        assert!(status == 400 && why.contains("target=level"), "{why}");
        assert_eq!(level("GET /proxy-log-level", "").await.1, changed, "a mistake changes nothing");
    });
}

#[test]
fn a_5_the_environment_is_shown_to_this_host_as_far_as_it_is_ours() {
    run(async {
        let (server, _) = server(DefaultPolicy::AllUnauthenticated, &[], None);
        let (status, all) = exchange(connect(&server, LOCAL).await, "GET /env.json", "").await;
        let all: BTreeMap<String, String> = serde_json::from_str(&all).unwrap();
        assert!(status == 200 && all.keys().all(|name| name.starts_with("LINKERD2_PROXY_")) && all.len() > 5);
        let query = "GET /env.json?LINKERD2_PROXY_IDENTITY_SERVER_NAME&PATH";
        let (_, one) = exchange(connect(&server, LOCAL).await, query, "").await;
        assert_eq!(one, "{\"LINKERD2_PROXY_IDENTITY_SERVER_NAME\":\"external-workload.cluster.local\"}");
    });
}

#[test]
fn a_5_what_our_own_address_sends_has_passed_the_policy_and_may_not_act() {
    run(async {
        let (server, _) = server(DefaultPolicy::Deny, &[], None);
        let own = "10.0.0.1:50000";
        assert_eq!(ask(&server, own, "GET /metrics").await, 200);
        assert_eq!(ask(&server, own, "PUT /proxy-log-level").await, 403);
    });
}

#[test]
fn a_5_a_meshed_client_is_known_by_its_certificate() {
    run(async {
        let ca = Ca::new(&"root.linkerd.cluster.local".parse().unwrap()).unwrap();
        let svid = |id: &str| {
            let leaf = Leaf::svid(&id.parse().unwrap(), &[], Duration::from_secs(600));
            Arc::new(Credentials::new(ca.issue(&leaf).unwrap(), &ca.bundles(), 1).unwrap())
        };
        let ours = "spiffe://root.linkerd.cluster.local/external-workload";
        let (server, _) = server(DefaultPolicy::AllAuthenticated, &[], Some(svid(ours)));
        let prometheus = svid("spiffe://root.linkerd.cluster.local/ns/viz/sa/prometheus");
        let name: DnsName = "external-workload.cluster.local".parse().unwrap();
        let stream = connect(&server, PEER).await;
        let secured = outrigger_mtls::connect(&prometheus, stream, &name, &ours.parse().unwrap(), Alpn::None).await;
        assert_eq!(exchange(secured.unwrap().stream, "GET /metrics", "").await.0, 200);
        assert_eq!(ask(&server, PEER, "GET /metrics").await, 403, "without a certificate");
        assert_eq!(ask(&server, PEER, "GET /live").await, 200);

        let other: DnsName = "other.example".parse().unwrap();
        let stream = connect(&server, PEER).await;
        let passed = outrigger_mtls::connect(&prometheus, stream, &other, &ours.parse().unwrap(), Alpn::None).await;
        assert!(passed.is_err(), "TLS for somebody else is not ended here");
    });
}

#[test]
fn a_5_silence_is_cut_off_after_a_second() {
    run(async {
        let (server, _) = server(DefaultPolicy::AllUnauthenticated, &[], None);
        let began = std::time::Instant::now();
        let mut silent = connect(&server, PEER).await;
        assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);
        assert!(began.elapsed() >= DETECT);
    });
}
