//! The controller over real connections.

use crate::world::*;
use linkerd2_proxy_api::destination::destination_client::DestinationClient;
use linkerd2_proxy_api::destination::{GetDestination, Update, update::Update as Sent};
use outrigger_api::destination::{DestinationUpdate, update_from_proto};
use outrigger_cluster::Kind;
use outrigger_destination::index::Shared;
use outrigger_destination::metrics::Metrics;
use outrigger_destination::serve::Destination;
use outrigger_model::{DnsName, SpiffeId, TrustDomain};
use outrigger_mtls::grpc::{ControlAddr, channel, incoming};
use outrigger_mtls::workload_api::issuer::{Ca, Leaf};
use outrigger_mtls::{Credentials, CredentialsWatch};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Streaming};

const LONG: Duration = Duration::from_secs(20);
const LEGACY: &str = "legacy-app.mixed-env.svc.cluster.local:80";
const CONTROLLER: &str = "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local";
const VM_TOKEN: &str = r#"{"ns":"mixed-env","external_workload":"external-workload"}"#;

struct Running {
    addr: SocketAddr,
    drain: watch::Sender<bool>,
    server: tokio::task::JoinHandle<Result<(), tonic::transport::Error>>,
}

async fn serve(index: &Shared, credentials: CredentialsWatch) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (drain, draining) = watch::channel(false);
    let service = Destination::new(Arc::clone(index), Arc::new(mesh()), Metrics::default(), draining.clone());
    let mut ended = draining;
    let drained = async move { _ = ended.wait_for(|drain| *drain).await };
    let server = Server::builder().add_service(service);
    let server = tokio::spawn(server.serve_with_incoming_shutdown(incoming(listener, credentials), drained));
    Running { addr, drain, server }
}

async fn plaintext(index: &Shared) -> Running {
    serve(index, watch::channel(None).1).await
}

fn client(addr: SocketAddr) -> DestinationClient<Channel> {
    DestinationClient::new(Endpoint::from_shared(format!("http://{addr}")).unwrap().connect_lazy())
}

fn question(path: &str, token: &str) -> GetDestination {
    GetDestination { scheme: String::new(), path: path.to_owned(), context_token: token.to_owned() }
}

async fn next<T: 'static>(stream: &mut Streaming<T>) -> Option<T> {
    timeout(LONG, stream.message()).await.expect("a message in time").unwrap()
}

fn added(update: Option<Update>) -> Vec<SocketAddr> {
    match update_from_proto(update.unwrap()).unwrap() {
        DestinationUpdate::Add { endpoints, .. } => endpoints.iter().map(|endpoint| endpoint.addr).collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn b_2_a_proxy_follows_a_services_endpoints() {
    let index = index(&[SERVICES, VM]);
    let running = plaintext(&index).await;
    let mut stream = client(running.addr).get(question(LEGACY, "")).await.unwrap().into_inner();
    assert_eq!(added(next(&mut stream).await), ["10.0.0.9:80".parse().unwrap()]);
    apply(&index, &upserts(&pod(1)));
    assert_eq!(added(next(&mut stream).await), ["10.1.0.1:80".parse().unwrap()]);
    drop(stream);
    let gone = async {
        while index.lock().topics() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, gone).await.expect("a closed stream leaves nothing behind");
}

#[tokio::test]
async fn b_2_a_proxy_is_told_why_it_gets_no_answer() {
    let running = plaintext(&index(&[SERVICES])).await;
    let mut client = client(running.addr);
    for (path, code) in [
        ("nobody.mixed-env.svc.cluster.local:80", Code::NotFound),
        ("legacy-app.mixed-env.svc.cluster.local:81", Code::NotFound),
        ("10.96.1.1:80", Code::InvalidArgument),
        ("example.org:80", Code::InvalidArgument),
    ] {
        assert_eq!(client.get(question(path, "")).await.unwrap_err().code(), code, "{path}");
    }
    assert_eq!(client.get_profile(question("example.org:80", "")).await.unwrap_err().code(), Code::InvalidArgument);
    let mut stream = client.get_profile(question("10.96.1.1:80", "")).await.unwrap().into_inner();
    assert_eq!(next(&mut stream).await.unwrap().fully_qualified_name, "legacy-app.mixed-env.svc.cluster.local");
}

#[tokio::test]
async fn b_5_a_proxy_that_stops_reading_gets_few_messages_and_the_final_state() {
    let index = index(&[SERVICES, VM]);
    let running = plaintext(&index).await;
    // A window of a few messages: what does not fit must wait at the server, where it is coalesced.
    let endpoint = Endpoint::from_shared(format!("http://{}", running.addr)).unwrap();
    let endpoint = endpoint.initial_stream_window_size(1024).initial_connection_window_size(65_535);
    let mut client = DestinationClient::new(endpoint.connect_lazy());
    let mut stream = client.get(question(LEGACY, "")).await.unwrap().into_inner();
    let mut known: BTreeSet<SocketAddr> = added(next(&mut stream).await).into_iter().collect();

    for n in 0..1000u32 {
        let name = n % 200 + 1;
        let changes = if n / 200 % 2 == 0 {
            upserts(&pod(name as u8))
        } else {
            delete(Kind::Pod, &format!("legacy-app-d4446455b-{name}"))
        };
        apply(&index, &changes);
        // The server's task gets its chance to send each one.
        tokio::task::yield_now().await;
    }
    apply(&index, &delete(Kind::ExternalWorkload, "external-workload"));

    let expected: BTreeSet<SocketAddr> = (1..=200).map(|n| ([10, 1, 0, n], 80).into()).collect();
    let mut messages = 0;
    while known != expected {
        messages += 1;
        match update_from_proto(next(&mut stream).await.unwrap()).unwrap() {
            DestinationUpdate::Add { endpoints, .. } => known.extend(endpoints.iter().map(|e| e.addr)),
            DestinationUpdate::Remove(addrs) => addrs.iter().for_each(|addr| _ = known.remove(addr)),
            DestinationUpdate::NoEndpoints { .. } => known.clear(),
        }
    }
    assert!(messages < 30, "{messages} messages for 1001 changes");
}

#[tokio::test]
async fn b_1_a_drained_stream_ends_with_ok() {
    let index = index(&[SERVICES, VM]);
    let running = plaintext(&index).await;
    let mut stream = client(running.addr).get(question(LEGACY, "")).await.unwrap().into_inner();
    next(&mut stream).await.unwrap();
    running.drain.send_replace(true);
    assert_eq!(next(&mut stream).await, None, "the stream ends, without an error");
    timeout(LONG, running.server).await.expect("the server ends too").unwrap().unwrap();
}

fn credentials(ca: &Ca, id: &str, dns: &[&str]) -> CredentialsWatch {
    let id: SpiffeId = id.parse().unwrap();
    let dns: Vec<DnsName> = dns.iter().map(|name| name.parse().unwrap()).collect();
    let svid = ca.issue(&Leaf::svid(&id, &dns, Duration::from_secs(600))).unwrap();
    watch::channel(Some(Arc::new(Credentials::new(svid, &ca.bundles(), 1).unwrap()))).1
}

#[tokio::test]
async fn b_3_a_peer_that_claims_to_be_another_workload_is_refused_and_gets_no_message() {
    let domain: TrustDomain = "root.linkerd.cluster.local".parse().unwrap();
    let ca = Ca::new(&domain).unwrap();
    let own = credentials(&ca, "spiffe://root.linkerd.cluster.local/ns/linkerd/sa/linkerd-destination", &[CONTROLLER]);
    let index = index(&[SERVICES, VM, &pod(1)]);
    let running = serve(&index, own).await;
    let control =
        ControlAddr { host: "127.0.0.1".into(), port: running.addr.port(), name: Some(CONTROLLER.parse().unwrap()) };
    let ask = |id: &str, token: &str| {
        let mut client = DestinationClient::new(channel(control.clone(), credentials(&ca, id, &[])));
        let question = question(LEGACY, token);
        async move { timeout(LONG, client.get(question)).await.expect("an answer in time") }
    };
    let vm = "spiffe://root.linkerd.cluster.local/external-workload";
    let mut stream = ask(vm, VM_TOKEN).await.unwrap().into_inner();
    assert_eq!(added(next(&mut stream).await).len(), 2);

    let thief = "spiffe://root.linkerd.cluster.local/ns/mixed-env/sa/legacy";
    let refused = ask(thief, VM_TOKEN).await.expect_err("no stream, so no message");
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(refused.message(), format!("{thief} may not speak for externalworkload/external-workload.mixed-env"));
    let nobody = r#"{"ns":"mixed-env","external_workload":"nobody"}"#;
    assert_eq!(ask(vm, nobody).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(index.lock().topics(), 1, "nothing was computed for those who were refused");

    let elsewhere = Ca::new(&domain).unwrap();
    let mut stranger = DestinationClient::new(channel(control.clone(), credentials(&elsewhere, vm, &[])));
    assert_eq!(stranger.get(question(LEGACY, VM_TOKEN)).await.unwrap_err().code(), Code::Unavailable);
    assert!(ask(vm, "").await.is_ok(), "a peer that names no workload is answered");
}

#[tokio::test]
async fn b_2_endpoints_keep_their_order_of_messages_new_before_gone() {
    let index = index(&[SERVICES, VM]);
    let running = plaintext(&index).await;
    let mut stream = client(running.addr).get(question(LEGACY, "")).await.unwrap().into_inner();
    next(&mut stream).await.unwrap();
    let mut both = upserts(&pod(1));
    both.extend(delete(Kind::ExternalWorkload, "external-workload"));
    apply(&index, &both);
    assert!(matches!(next(&mut stream).await.unwrap().update, Some(Sent::Add(_))));
    assert!(matches!(next(&mut stream).await.unwrap().update, Some(Sent::Remove(_))));
}

#[tokio::test]
async fn b_3_a_stream_whose_caller_no_longer_proves_the_workload_ends_without_another_message() {
    let domain: TrustDomain = "root.linkerd.cluster.local".parse().unwrap();
    let ca = Ca::new(&domain).unwrap();
    let own = credentials(&ca, "spiffe://root.linkerd.cluster.local/ns/linkerd/sa/linkerd-destination", &[CONTROLLER]);
    let vm = "spiffe://root.linkerd.cluster.local/external-workload";
    let gone = delete(Kind::ExternalWorkload, "external-workload");
    for revoked in [upserts(&VM.replace("cluster.local/external-workload", "cluster.local/another")), gone] {
        let index = index(&[SERVICES, VM]);
        let running = serve(&index, own.clone()).await;
        let name = Some(CONTROLLER.parse().unwrap());
        let control = ControlAddr { host: "127.0.0.1".into(), port: running.addr.port(), name };
        let mut client = DestinationClient::new(channel(control, credentials(&ca, vm, &[])));
        let mut endpoints = client.get(question(LEGACY, VM_TOKEN)).await.unwrap().into_inner();
        next(&mut endpoints).await.unwrap();
        let mut profile = client.get_profile(question(LEGACY, VM_TOKEN)).await.unwrap().into_inner();
        next(&mut profile).await.unwrap();
        let mut anonymous = client.get(question(LEGACY, "")).await.unwrap().into_inner();
        next(&mut anonymous).await.unwrap();

        // What does not concern the identity ends nothing.
        apply(&index, &upserts(&VM.replace("location: vm", "location: elsewhere")));
        apply(&index, &upserts(&pod(1)));
        assert_eq!(added(next(&mut endpoints).await), ["10.1.0.1:80".parse().unwrap()]);
        next(&mut anonymous).await.unwrap();

        let mut changes = revoked;
        changes.extend(upserts(&pod(2)));
        apply(&index, &changes);
        for ended in [
            timeout(LONG, endpoints.message()).await.unwrap().unwrap_err(),
            timeout(LONG, profile.message()).await.unwrap().unwrap_err(),
        ] {
            assert_eq!(ended.code(), Code::PermissionDenied, "{ended}");
        }
        assert!(next(&mut anonymous).await.is_some(), "who claims nothing goes on");
        assert_eq!(client.get(question(LEGACY, VM_TOKEN)).await.unwrap_err().code(), Code::PermissionDenied);
    }
}
