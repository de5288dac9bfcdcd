//! The gRPC service over real sockets: who may ask, and what a watcher hears.

use crate::controller::*;
use crate::support::*;
use linkerd2_proxy_api::inbound::inbound_server_policies_client::InboundServerPoliciesClient;
use linkerd2_proxy_api::inbound::{PortSpec, Server};
use outrigger_api::inbound::policy_from_proto;
use outrigger_cluster::{Change, Key, Kind};
use outrigger_model::{InboundPolicy, InboundProtocol, Meta, WorkloadRef};
use outrigger_mtls::workload_api::issuer::Ca;
use std::time::Duration;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

fn port_of(workload: &WorkloadRef, port: u32) -> PortSpec {
    PortSpec { workload: workload.to_json(), port }
}

async fn code(client: &mut InboundServerPoliciesClient<Channel>, spec: PortSpec) -> Code {
    let watched = client.watch_port(spec.clone()).await.err().map_or(Code::Ok, |status| status.code());
    let got = client.get_port(spec).await.err().map_or(Code::Ok, |status| status.code());
    assert_eq!(watched, got, "both calls answer alike");
    got
}

async fn next(stream: &mut Streaming<Server>) -> Option<Result<InboundPolicy, Status>> {
    let message = timeout(Duration::from_secs(10), stream.message()).await.expect("a message in time");
    message.transpose().map(|message| message.map(|server| policy_from_proto(server).unwrap()))
}

async fn name(stream: &mut Streaming<Server>) -> String {
    next(stream).await.unwrap().unwrap().meta.name.to_string()
}

async fn watching(controller: &Controller, workload: &WorkloadRef) -> Streaming<Server> {
    InboundServerPoliciesClient::new(controller.neighbour())
        .watch_port(port_of(workload, 80))
        .await
        .unwrap()
        .into_inner()
}

#[tokio::test]
async fn a_3_2_a_neighbour_may_ask_about_every_workload() {
    let controller = Controller::plaintext(&[WEB, VM]).await;
    let mut client = InboundServerPoliciesClient::new(controller.neighbour());
    assert_eq!(code(&mut client, port_of(&web(), 80)).await, Code::Ok);
    assert_eq!(code(&mut client, port_of(&WorkloadRef::external("ns", "vm"), 80)).await, Code::Ok);
    assert_eq!(code(&mut client, PortSpec { workload: "ns:web".into(), port: 80 }).await, Code::Ok, "the older form");
    assert_eq!(code(&mut client, port_of(&WorkloadRef::pod("ns", "nobody"), 80)).await, Code::NotFound);
    for (workload, port) in [("{\"ns\":\"ns\",\"job\":\"j\"}", 80), ("", 80), ("ns:web", 0), ("ns:web", 65536)] {
        let spec = PortSpec { workload: workload.into(), port };
        assert_eq!(code(&mut client, spec).await, Code::InvalidArgument, "{workload} {port}");
    }
}

#[tokio::test]
async fn c_2_a_peer_asks_for_its_own_workload_only() {
    let ca = Ca::new(&"root.linkerd.cluster.local".parse().unwrap()).unwrap();
    let own = credentials(&ca, "spiffe://root.linkerd.cluster.local/controller", &[CONTROLLER]);
    let controller = Controller::start(&[WEB, VM], own).await;
    let (pod, vm) = (port_of(&web(), 80), port_of(&WorkloadRef::external("ns", "vm"), 80));

    let mut as_vm = InboundServerPoliciesClient::new(controller.peer(credentials(
        &ca,
        "spiffe://root.linkerd.cluster.local/vm",
        &[],
    )));
    assert_eq!(code(&mut as_vm, vm.clone()).await, Code::Ok);
    assert_eq!(code(&mut as_vm, pod.clone()).await, Code::PermissionDenied);
    assert_eq!(code(&mut as_vm, port_of(&WorkloadRef::pod("ns", "nobody"), 80)).await, Code::NotFound);

    let mut as_pod = InboundServerPoliciesClient::new(controller.peer(credentials(
        &ca,
        "spiffe://root.linkerd.cluster.local/ns/ns/sa/web",
        &[],
    )));
    assert_eq!(code(&mut as_pod, pod.clone()).await, Code::Ok);
    assert_eq!(code(&mut as_pod, vm).await, Code::PermissionDenied);

    let linkerd_name = "web.ns.serviceaccount.identity.linkerd.cluster.local";
    let mut by_dns = InboundServerPoliciesClient::new(controller.peer(credentials(
        &ca,
        "spiffe://root.linkerd.cluster.local/x",
        &[linkerd_name],
    )));
    assert_eq!(code(&mut by_dns, pod.clone()).await, Code::Ok);

    let mut neighbour_account = InboundServerPoliciesClient::new(controller.peer(credentials(
        &ca,
        "spiffe://root.linkerd.cluster.local/ns/other/sa/web",
        &[],
    )));
    assert_eq!(code(&mut neighbour_account, pod).await, Code::PermissionDenied);
}

#[tokio::test]
async fn c_2_a_watcher_hears_each_change_and_nothing_else() {
    let controller = Controller::plaintext(&[WEB]).await;
    let mut stream = watching(&controller, &web()).await;
    assert_eq!(next(&mut stream).await.unwrap().unwrap().meta, Meta::default_named("all-unauthenticated"));

    controller.apply(SERVER);
    let denied = next(&mut stream).await.unwrap().unwrap();
    assert_eq!((&*denied.meta.name, denied.authorizations.len()), ("srv", 0));

    let beside = controller.index.watch(&web(), 80).unwrap();
    for same in [
        SERVER.to_owned(),
        SERVER.replace("namespace: ns", "namespace: other"),
        SERVER.replace("name: srv", "name: zzz"),
        WEB.replace("serviceAccountName: web", "serviceAccountName: web\n  nodeName: n"),
    ] {
        controller.apply(&same);
        assert!(!beside.has_changed().unwrap(), "{same}");
    }
    controller.index.apply(&[Change::Delete(Kind::Server, Key::new("ns", "srv"))]);
    assert_eq!(name(&mut stream).await, "zzz");
}

#[tokio::test]
async fn c_2_an_authentication_of_another_namespace_reaches_its_users() {
    let policy = "---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: p, namespace: ns}
spec:
  targetRef: {group: policy.linkerd.io, kind: Server, name: srv}
  requiredAuthenticationRefs: [{group: policy.linkerd.io, kind: NetworkAuthentication, name: net, namespace: other}]
";
    let networks = "---
apiVersion: policy.linkerd.io/v1alpha1
kind: NetworkAuthentication
metadata: {name: net, namespace: other}
spec: {networks: [{cidr: 10.0.0.0/8}]}
";
    let controller = Controller::plaintext(&[WEB, SERVER, policy]).await;
    let mut stream = watching(&controller, &web()).await;
    assert_eq!(next(&mut stream).await.unwrap().unwrap().authorizations.len(), 0);
    controller.apply(networks);
    let admitted = next(&mut stream).await.unwrap().unwrap().authorizations;
    assert_eq!(admitted[0].networks, nets(&["10.0.0.0/8"]));
    controller.index.apply(&[Change::Delete(Kind::NetworkAuthentication, Key::new("other", "net"))]);
    assert_eq!(next(&mut stream).await.unwrap().unwrap().authorizations.len(), 0);
}

#[tokio::test]
async fn c_2_a_slow_watcher_gets_the_newest_policy() {
    let index = index(&[WEB]);
    let mut receiver = index.watch(&web(), 80).unwrap();
    for n in 0..100 {
        index.apply(&changes(&SERVER.replace("port: http", &format!("port: {}", 80 + n % 2))));
    }
    index.apply(&changes(&SERVER.replace("HTTP/1", "opaque")));
    assert_eq!(receiver.borrow_and_update().protocol, InboundProtocol::Opaque);
    assert!(!receiver.has_changed().unwrap(), "what lay between is gone");
}

#[tokio::test]
async fn c_1_the_stream_ends_with_its_workload() {
    let controller = Controller::plaintext(&[WEB]).await;
    let mut stream = watching(&controller, &web()).await;
    assert_eq!(name(&mut stream).await, "all-unauthenticated");
    controller.index.apply(&[Change::Delete(Kind::Pod, Key::new("ns", "web"))]);
    assert!(next(&mut stream).await.is_none(), "it ends, with OK");
    assert_eq!(
        code(&mut InboundServerPoliciesClient::new(controller.neighbour()), port_of(&web(), 80)).await,
        Code::NotFound
    );
}

#[tokio::test]
async fn c_2_the_stream_ends_when_another_identity_speaks_for_the_workload() {
    let controller = Controller::plaintext(&[VM]).await;
    let vm = WorkloadRef::external("ns", "vm");
    let mut stream = watching(&controller, &vm).await;
    assert_eq!(name(&mut stream).await, "all-unauthenticated");
    controller.apply(&VM.replace("cluster.local/vm", "cluster.local/vm-2"));
    assert!(next(&mut stream).await.is_none());
    assert_eq!(name(&mut watching(&controller, &vm).await).await, "all-unauthenticated");
}

#[tokio::test]
async fn c_2_a_drain_ends_every_stream_with_ok() {
    let controller = Controller::plaintext(&[WEB]).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = watching(&controller, &web()).await;
        assert_eq!(name(&mut stream).await, "all-unauthenticated");
        streams.push(stream);
    }
    controller.drain.send_replace(true);
    for stream in &mut streams {
        assert!(next(stream).await.is_none());
    }
    let served = timeout(Duration::from_secs(10), controller.served).await.expect("an end in time");
    assert!(served.unwrap().is_ok());
}
