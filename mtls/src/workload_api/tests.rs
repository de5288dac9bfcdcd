//! The server and the client of the Workload API against each other, over a real socket, as a user meets them.

use std::os::unix::fs::PermissionsExt;

use hyper_util::rt::TokioIo;
use outrigger_model::Refusal;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};

use super::issuer::Leaf;
use super::proto::{X509BundlesResponse, X509svidResponse};
use super::*;
use crate::peers::{OWN, ca, domain, identity, leaf, wait};
use crate::{Credentials, CredentialsWatch, WorkloadApi, parse_anchors};

const VM: &str = "spiffe://root.linkerd.cluster.local/external-workload";
const WEB: &str = "spiffe://root.linkerd.cluster.local/ns/mixed-env/sa/web";
const WEB_DNS: &str = "web.mixed-env.serviceaccount.identity.linkerd.cluster.local";

/// An agent of ours, with its files in a folder of its own.
struct Agent {
    folder: TempDir,
    config: Config,
    running: Option<Running>,
}

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Agent {
    fn new(ttl: u64, entries: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        let config = Config {
            socket: at("run/agent.sock"),
            entries: at("entries.yaml"),
            trust_domain: domain(OWN),
            state_dir: at("state"),
            ttl: Duration::from_secs(ttl),
            group: None,
        };
        let agent = Self { folder, config, running: None };
        agent.write(entries);
        agent
    }

    async fn started(ttl: u64, entries: &str) -> Self {
        let mut agent = Self::new(ttl, entries);
        agent.start().await;
        agent
    }

    async fn start(&mut self) {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(self.config.clone(), async {
            let _ = stopped.await;
        }));
        eventually(async || UnixStream::connect(&self.config.socket).await.is_ok()).await;
        self.running = Some(Running { stop, task });
    }

    async fn stop(&mut self) {
        let Running { stop, task } = self.running.take().unwrap();
        stop.send(()).unwrap();
        timeout(Duration::from_secs(5), task).await.expect("it stops though streams are open").unwrap().unwrap();
    }

    /// Replaces the entries at once, as an editor does.
    fn write(&self, entries: &str) {
        let new = self.folder.path().join("entries.new");
        fs::write(&new, entries).unwrap();
        fs::rename(new, &self.config.entries).unwrap();
    }

    fn follow(&self, expected: Option<&str>) -> CredentialsWatch {
        WorkloadApi { socket: self.config.socket.clone(), expected_id: expected.map(identity), anchors_pem: None }
            .follow()
    }

    async fn ask<T: prost::Message + Default + 'static>(&self, call: &str, header: bool) -> Result<T, Status> {
        let socket = self.config.socket.clone();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://agent").connect_with_connector(connector).await.unwrap();
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.unwrap();
        let mut request = Request::new(());
        if header {
            request.metadata_mut().insert("workload.spiffe.io", "true".parse().unwrap());
        }
        let path = format!("/SpiffeWorkloadAPI/{call}").parse().unwrap();
        let codec = tonic_prost::ProstCodec::<(), T>::default();
        let mut messages = client.server_streaming(request, path, codec).await?.into_inner();
        Ok(messages.message().await?.expect("a message"))
    }
}

/// Entries of our own uid.
fn ours(entries: &[(&str, &str)]) -> String {
    let uid = nix::unistd::getuid();
    let entry = |(id, dns): &(&str, &str)| format!("- {{uid: {uid}, spiffeId: '{id}', dnsNames: [{dns}]}}\n");
    format!("entries:\n{}", entries.iter().map(entry).collect::<String>())
}

async fn eventually(mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not come true within ten seconds");
}

#[tokio::test]
async fn a_workload_gets_the_svid_of_its_uid() {
    let agent = Agent::started(60, &ours(&[(WEB, WEB_DNS)])).await;
    let creds = wait(&mut agent.follow(Some(WEB)), |_| true).await;
    assert_eq!(creds.id().as_str(), WEB);
    assert!(creds.names().is(&identity(WEB_DNS)));
    let now = SystemTime::now();
    assert!(creds.not_before() < now - Duration::from_secs(20), "back-dated for slow clocks");
    assert!(creds.not_after() > now && creds.not_after() <= now + Duration::from_secs(60));
}

#[tokio::test]
async fn a_late_agent_is_waited_for() {
    let mut agent = Agent::new(60, &ours(&[(WEB, "")]));
    let mut watch = agent.follow(None);
    assert!(timeout(Duration::from_millis(500), watch.changed()).await.is_err());
    assert!(watch.borrow().is_none());
    agent.start().await;
    assert_eq!(wait(&mut watch, |_| true).await.id().as_str(), WEB);
}

#[tokio::test]
async fn a_restarted_agent_is_found_again() {
    let mut agent = Agent::started(60, &ours(&[(WEB, "")])).await;
    let mut watch = agent.follow(None);
    let first = wait(&mut watch, |_| true).await;
    let _silent = UnixStream::connect(&agent.config.socket).await.unwrap();
    agent.stop().await;
    assert!(!agent.config.socket.exists());
    assert_eq!(watch.borrow().as_ref().map(|creds| creds.revision()), Some(first.revision()), "what is held is kept");
    agent.start().await;
    let second = wait(&mut watch, |creds| creds.revision() > first.revision()).await;
    assert_eq!(second.id(), first.id());
}

#[tokio::test]
async fn a_uid_without_entry_gets_nothing_until_it_has_one() {
    let agent =
        Agent::started(60, "entries: [{uid: 4000000000, spiffeId: 'spiffe://root.linkerd.cluster.local/x'}]").await;
    let mut watch = agent.follow(None);
    let denied = agent.ask::<X509svidResponse>("FetchX509SVID", true).await.unwrap_err();
    assert_eq!((denied.code(), denied.message()), (Code::PermissionDenied, "no identity issued"));
    assert!(watch.borrow().is_none());
    agent.write(&ours(&[(WEB, "")]));
    assert_eq!(wait(&mut watch, |_| true).await.id().as_str(), WEB);
}

#[tokio::test]
async fn changed_entries_reach_open_streams() {
    let agent = Agent::started(3600, &ours(&[(WEB, "")])).await;
    let mut watch = agent.follow(Some(WEB));
    let first = wait(&mut watch, |_| true).await;
    assert!(!first.names().is(&identity(WEB_DNS)));

    agent.write(&ours(&[(WEB, WEB_DNS)]));
    wait(&mut watch, |creds| creds.names().is(&identity(WEB_DNS))).await;

    agent.write("entries: []");
    eventually(async || agent.ask::<X509svidResponse>("FetchX509SVID", true).await.is_err()).await;
    assert!(watch.borrow().is_some(), "a withdrawn entry leaves the SVID until it ends");
}

#[tokio::test(start_paused = true)]
async fn files_that_cannot_be_used_leave_what_they_said_last() {
    let agent = Agent::new(60, &ours(&[(WEB, "")]));
    let ca = Ca::load_or_create(&agent.config.state_dir, &domain(OWN)).unwrap();
    let first = State { entries: load_entries(&agent.config).unwrap(), ca: Arc::new(ca) };
    let (sender, mut state) = watch::channel(Arc::new(first));
    let config = agent.config.clone();
    let seen = fingerprint(&config);
    tokio::spawn(async move { follow(&config, seen, &sender).await });
    let mut changed = async || timeout(Duration::from_secs(3), state.changed()).await.is_ok();

    for bad in ["entries: [{uid: nobody}]", "entries: [", "entries: []\nmore: 1", ""] {
        agent.write(bad);
        assert!(!changed().await, "{bad:?}");
    }
    agent.write("entries: []");
    assert!(changed().await);
    fs::remove_file(agent.config.state_dir.join("ca.key")).unwrap();
    fs::remove_file(agent.config.state_dir.join("ca.crt")).unwrap();
    assert!(!changed().await);
    assert!(!agent.config.state_dir.join("ca.crt").exists(), "no new authority appears under a running server");
}

#[tokio::test]
async fn svids_rotate_before_they_expire() {
    let agent = Agent::started(4, &ours(&[(WEB, "")])).await;
    let mut watch = agent.follow(None);
    let mut held = wait(&mut watch, |_| true).await;
    for _ in 0..2 {
        let next = wait(&mut watch, |creds| creds.revision() > held.revision()).await;
        assert!(!held.expired(SystemTime::now()), "the next one comes while the last one is good");
        assert!(next.not_after() > held.not_after());
        assert_ne!(next.not_after(), held.not_after());
        held = next;
    }
}

#[tokio::test]
async fn the_expected_svid_is_chosen_by_id_or_dns_name() {
    let agent = Agent::started(60, &ours(&[(VM, ""), (WEB, WEB_DNS)])).await;
    assert_eq!(wait(&mut agent.follow(None), |_| true).await.id().as_str(), VM, "the first is the default");
    assert_eq!(wait(&mut agent.follow(Some(WEB)), |_| true).await.id().as_str(), WEB);
    assert_eq!(wait(&mut agent.follow(Some(WEB_DNS)), |_| true).await.id().as_str(), WEB);
    let mut other = agent.follow(Some("spiffe://root.linkerd.cluster.local/other"));
    assert!(timeout(Duration::from_millis(500), other.changed()).await.is_err(), "another's SVID is not ours");
}

#[tokio::test]
async fn t_04_configured_anchors_join_our_own_domain_only() {
    let agent = Agent::started(60, &ours(&[(WEB, "")])).await;
    let linkerd = ca(OWN);
    let anchors = format!("# Linkerd's own issuer\n{}", linkerd.bundle_pem());
    let api = WorkloadApi { socket: "unix:".into(), expected_id: None, anchors_pem: Some(anchors) };
    let socket = format!("unix:{}", agent.config.socket.display()).into();
    let creds = wait(&mut WorkloadApi { socket, ..api }.follow(), |_| true).await;
    let judged = |names: Leaf| {
        let leaf = linkerd.issue(&names).unwrap().chain.remove(0);
        creds.roots().verify(&leaf.into(), &[], webpki::KeyUsage::client_auth(), rustls::pki_types::UnixTime::now())
    };
    assert!(judged(leaf(&[], &[WEB_DNS])).unwrap().is(&identity(WEB_DNS)));
    assert!(judged(leaf(&[VM], &[])).unwrap().is(&identity(VM)));
    assert!(matches!(judged(leaf(&["spiffe://other.example/x"], &[])), Err(crate::verify::Rejected::UnknownDomain(_))));
}

#[tokio::test]
async fn a_request_without_the_security_header_is_refused() {
    let agent = Agent::started(60, &ours(&[(WEB, "")])).await;
    for call in ["FetchX509SVID", "FetchX509Bundles"] {
        let refused = agent.ask::<X509svidResponse>(call, false).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    for call in ["FetchJWTSVID", "FetchJWTBundles", "ValidateJWTSVID"] {
        assert_eq!(agent.ask::<()>(call, true).await.unwrap_err().code(), Code::Unimplemented);
    }
    let bundles: X509BundlesResponse = agent.ask("FetchX509Bundles", true).await.unwrap();
    let pem = fs::read_to_string(agent.config.state_dir.join("ca.crt")).unwrap();
    assert_eq!(bundles.bundles[&format!("spiffe://{OWN}")], parse_anchors(&pem).unwrap().concat());
}

#[tokio::test]
async fn the_socket_is_for_owner_and_group() {
    let agent = Agent::started(60, &ours(&[(WEB, "")])).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&agent.config.socket), 0o660);
    assert_eq!(mode(agent.config.socket.parent().unwrap()), 0o750);
    assert_eq!(mode(&agent.config.state_dir.join("ca.key")), 0o600);
    assert_eq!(mode(&agent.config.state_dir.join("ca.crt")), 0o644);
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let mut agent = Agent::new(60, &ours(&[(WEB, "")]));
    fs::create_dir(agent.config.socket.parent().unwrap()).unwrap();
    drop(UnixListener::bind(&agent.config.socket).unwrap());
    assert!(agent.config.socket.exists());
    agent.start().await;

    let second = serve(agent.config.clone(), std::future::pending()).await.unwrap_err();
    assert!(matches!(second, ServeError::Socket(SocketError::Live(_))), "{second}");
    wait(&mut agent.follow(None), |_| true).await;

    let other = Agent::new(60, "entries: []");
    fs::create_dir(other.config.socket.parent().unwrap()).unwrap();
    fs::write(&other.config.socket, "precious").unwrap();
    let refused = serve(other.config.clone(), std::future::pending()).await.unwrap_err();
    assert!(refused.to_string().contains("no socket"), "{refused}");
    assert_eq!(fs::read_to_string(&other.config.socket).unwrap(), "precious");
}

#[tokio::test]
async fn bad_configuration_is_an_error_at_the_start() {
    let fails = async |agent: &Agent, said: &str| {
        let error = serve(agent.config.clone(), std::future::pending()).await.unwrap_err().to_string();
        assert!(error.contains(said), "{error:?} does not say {said:?}");
    };
    fails(&Agent::new(60, "entries: [{uid: 1, spiffeId: x}]"), "entries.yaml: entries[0].spiffeId").await;
    fails(&Agent::new(1, "entries: []"), "ttl").await;
    let agent = Agent::new(60, "entries: []");
    fs::remove_file(&agent.config.entries).unwrap();
    fails(&agent, "entries.yaml").await;
    let agent = Agent::new(60, "entries: []");
    Ca::load_or_create(&agent.config.state_dir, &domain(OWN)).unwrap();
    fs::remove_file(agent.config.state_dir.join("ca.key")).unwrap();
    fails(&agent, "ca.key does not").await;
    let other = Agent::new(60, "entries: []");
    Ca::load_or_create(&other.config.state_dir, &domain(OWN)).unwrap();
    fs::copy(other.config.state_dir.join("ca.key"), agent.config.state_dir.join("ca.key")).unwrap();
    fails(&agent, "none of its certificates is of the key").await;
}

#[tokio::test]
async fn the_authority_is_kept_and_can_be_rotated() {
    let mut agent = Agent::started(3600, &ours(&[(WEB, "")])).await;
    let mut watch = agent.follow(None);
    let before = wait(&mut watch, |_| true).await;
    let kept = Ca::load(&agent.config.state_dir, &domain(OWN)).unwrap();
    agent.stop().await;
    agent.start().await;
    let after = wait(&mut watch, |creds| creds.revision() > before.revision()).await;
    assert_eq!(Ca::load(&agent.config.state_dir, &domain(OWN)).unwrap().authorities(), kept.authorities());

    // The user's rotation: a new authority signs, the old one stays in the bundle for the SVIDs that are about.
    let new = agent.folder.path().join("new");
    Ca::load_or_create(&new, &domain(OWN)).unwrap();
    let old = fs::read_to_string(agent.config.state_dir.join("ca.crt")).unwrap();
    let both = old + &fs::read_to_string(new.join("ca.crt")).unwrap();
    fs::rename(new.join("ca.key"), agent.config.state_dir.join("ca.key")).unwrap();
    fs::write(agent.config.state_dir.join("ca.crt"), both).unwrap();
    let rotated = wait(&mut watch, |creds| creds.revision() > after.revision()).await;
    let met = async |client: &Credentials, server: &Credentials| {
        let (out, into) = crate::peers::tcp().await;
        let (name, expected) = (crate::peers::dns("web"), identity(WEB));
        let connect = crate::connect(client, out, &name, &expected, crate::Alpn::None);
        let (connected, _) = tokio::join!(connect, crate::accept(server, into, crate::Alpn::None));
        connected.map(drop).map_err(|error| error.refusal)
    };
    assert_eq!(met(&rotated, &after).await, Ok(()), "an SVID of the old authority is still believed");
    assert_eq!(met(&after, &rotated).await, Err(Refusal::ServerCertificateUntrusted), "the new authority signs");
}
