//! `OutboundPolicies` over real sockets: who may ask, and what a watcher hears.

use crate::controller::*;
use crate::outbound::{SERVICE, at, undefined};
use crate::support::*;
use linkerd2_proxy_api::outbound::outbound_policies_client::OutboundPoliciesClient;
use linkerd2_proxy_api::outbound::{OutboundPolicy as Message, TrafficSpec};
use outrigger_api::outbound::{policy_from_proto, traffic_to_proto};
use outrigger_cluster::{Change, Key, Kind};
use outrigger_model::{OutboundPolicy, OutboundProtocol, Target, Traffic, WorkloadRef};
use outrigger_mtls::workload_api::issuer::Ca;
use std::time::Duration;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

type Client = OutboundPoliciesClient<Channel>;

fn from(source: &WorkloadRef, target: &str) -> TrafficSpec {
    let target = target.parse().map_or_else(|_| Target::Authority(target.into()), Target::Addr);
    traffic_to_proto(&Traffic { source: source.to_json().into(), target })
}

fn asked(target: &str) -> TrafficSpec {
    from(&web(), target)
}

async fn code(client: &mut Client, spec: TrafficSpec) -> Code {
    let watched = client.watch(spec.clone()).await.err().map_or(Code::Ok, |status| status.code());
    let got = client.get(spec).await.err().map_or(Code::Ok, |status| status.code());
    assert_eq!(watched, got, "both calls answer alike");
    got
}

async fn next(stream: &mut Streaming<Message>) -> Option<Result<OutboundPolicy, Status>> {
    let message = timeout(Duration::from_secs(10), stream.message()).await.expect("a message in time");
    message.transpose().map(|message| message.map(|policy| policy_from_proto(policy).unwrap()))
}

async fn policy(stream: &mut Streaming<Message>) -> OutboundPolicy {
    next(stream).await.unwrap().unwrap()
}

async fn watching(controller: &Controller, target: &str) -> Streaming<Message> {
    Client::new(controller.neighbour()).watch(asked(target)).await.unwrap().into_inner()
}

fn detects(policy: &OutboundPolicy) -> bool {
    matches!(policy.protocol, OutboundProtocol::Detect { .. })
}

#[tokio::test]
async fn c_3_what_is_no_service_is_not_found() {
    let controller = Controller::plaintext(&[WEB, SERVICE, VM]).await;
    let mut client = Client::new(controller.neighbour());
    for (target, expected) in [
        ("10.96.0.1:80", Code::Ok),
        ("[fd00::1]:80", Code::Ok),
        ("[::ffff:10.96.0.1]:80", Code::Ok),
        ("10.96.0.1:9999", Code::Ok),
        ("203.0.113.5:443", Code::Ok),
        ("10.1.2.3:80", Code::NotFound),
        ("web.ns.svc.cluster.local:80", Code::Ok),
        ("web.ns.svc.cluster.local", Code::Ok),
        ("nobody.ns.svc.cluster.local:80", Code::NotFound),
        ("example.com:443", Code::NotFound),
        ("web.ns.svc.cluster.local:0", Code::InvalidArgument),
        ("", Code::InvalidArgument),
    ] {
        assert_eq!(code(&mut client, asked(target)).await, expected, "{target}");
    }
    let nowhere = TrafficSpec { target: None, ..asked("10.96.0.1:80") };
    assert_eq!(code(&mut client, nowhere).await, Code::InvalidArgument);
    let nobody = TrafficSpec { source_workload: "web".into(), ..asked("10.96.0.1:80") };
    assert_eq!(code(&mut client, nobody).await, Code::InvalidArgument);
    let twin = SERVICE.replace("name: web,", "name: twin,");
    controller.apply(&twin);
    assert_eq!(code(&mut client, asked("10.96.0.1:80")).await, Code::FailedPrecondition);
}

#[tokio::test]
async fn c_3_a_peer_asks_as_its_own_workload_only() {
    let ca = Ca::new(&"root.linkerd.cluster.local".parse().unwrap()).unwrap();
    let own = credentials(&ca, "spiffe://root.linkerd.cluster.local/controller", &[CONTROLLER]);
    let controller = Controller::start(&[WEB, VM, SERVICE], own).await;
    let target = "10.96.0.1:80";
    let vm = WorkloadRef::external("ns", "vm");

    let mut as_vm = Client::new(controller.peer(credentials(&ca, "spiffe://root.linkerd.cluster.local/vm", &[])));
    assert_eq!(code(&mut as_vm, from(&vm, target)).await, Code::Ok);
    assert_eq!(code(&mut as_vm, from(&web(), target)).await, Code::PermissionDenied);
    let nobody = WorkloadRef::pod("ns", "nobody");
    assert_eq!(code(&mut as_vm, from(&nobody, target)).await, Code::PermissionDenied, "not: no such Service");

    let account = credentials(&ca, "spiffe://root.linkerd.cluster.local/ns/ns/sa/web", &[]);
    let mut as_pod = Client::new(controller.peer(account));
    assert_eq!(code(&mut as_pod, from(&web(), target)).await, Code::Ok);
    assert_eq!(code(&mut as_pod, from(&vm, target)).await, Code::PermissionDenied);
}

#[tokio::test]
async fn c_3_the_stream_of_a_peer_ends_when_it_is_not_that_workload_any_more() {
    let ca = Ca::new(&"root.linkerd.cluster.local".parse().unwrap()).unwrap();
    let own = credentials(&ca, "spiffe://root.linkerd.cluster.local/controller", &[CONTROLLER]);
    let controller = Controller::start(&[WEB, VM, SERVICE], own).await;
    let vm = WorkloadRef::external("ns", "vm");
    let mut client = Client::new(controller.peer(credentials(&ca, "spiffe://root.linkerd.cluster.local/vm", &[])));
    let mut stream = client.watch(from(&vm, "10.96.0.1:80")).await.unwrap().into_inner();
    assert!(detects(&policy(&mut stream).await));
    controller.apply(&VM.replace("metadata: {", "metadata: {labels: {a: b}, "));
    controller.apply(&SERVICE.replace("{name: plain, port: 80}", "{name: plain, port: 80, appProtocol: http}"));
    assert!(!detects(&policy(&mut stream).await), "it goes on as long as the identity is the same");
    controller.apply(&VM.replace("cluster.local/vm", "cluster.local/vm-2"));
    assert!(next(&mut stream).await.is_none(), "it ends, with OK");
    assert_eq!(code(&mut client, from(&vm, "10.96.0.1:80")).await, Code::PermissionDenied);
}

#[tokio::test]
async fn c_3_a_watcher_hears_each_change_and_nothing_else() {
    let controller = Controller::plaintext(&[WEB, SERVICE]).await;
    let mut stream = watching(&controller, "10.96.0.1:80").await;
    assert!(detects(&policy(&mut stream).await));

    let beside = controller.index.watch_outbound(&at("10.96.0.1:80")).unwrap();
    for same in [
        SERVICE.to_owned(),
        SERVICE.replace("name: web", "name: web-2").replace("10.96.0.1", "10.96.0.2").replace("fd00::1", "fd00::2"),
        SERVICE.replace("port: 86", "port: 87"),
        WEB.replace("serviceAccountName: web", "serviceAccountName: web\n  nodeName: n"),
        SERVER.to_owned(),
    ] {
        controller.apply(&same);
        assert!(!beside.has_changed().unwrap(), "{same}");
    }
    controller.apply(&SERVICE.replace("{name: plain, port: 80}", "{name: plain, port: 80, appProtocol: http}"));
    assert!(matches!(policy(&mut stream).await.protocol, OutboundProtocol::Http1(_)));
}

#[tokio::test]
async fn c_3_a_stream_of_an_undeclared_port_stays_open_and_hears_when_it_is_declared() {
    let controller = Controller::plaintext(&[WEB, SERVICE]).await;
    for target in ["10.96.0.1:9999", "web.ns.svc.cluster.local:9999"] {
        controller.apply(SERVICE);
        let mut stream = watching(&controller, target).await;
        assert!(undefined(&policy(&mut stream).await));
        controller.apply(&SERVICE.replace("port: 86", "port: 9999"));
        assert!(detects(&policy(&mut stream).await));
        controller.apply(SERVICE);
        assert!(undefined(&policy(&mut stream).await));
    }
}

#[tokio::test]
async fn c_3_the_stream_ends_with_its_service() {
    let controller = Controller::plaintext(&[WEB, SERVICE]).await;
    for target in ["10.96.0.1:80", "web.ns.svc.cluster.local:80"] {
        controller.apply(SERVICE);
        let mut stream = watching(&controller, target).await;
        assert!(detects(&policy(&mut stream).await));
        controller.index.apply(&[Change::Delete(Kind::Service, Key::new("ns", "web"))]);
        assert!(next(&mut stream).await.is_none(), "it ends, with OK");
        assert_eq!(code(&mut Client::new(controller.neighbour()), asked(target)).await, Code::NotFound);
    }
}

#[tokio::test]
async fn c_3_an_address_outside_that_becomes_somebodys_is_asked_for_anew() {
    let workload = VM.replace("vm.cluster.local}", "vm.cluster.local}, workloadIPs: [{ip: 203.0.113.5}]");
    let controller = Controller::plaintext(&[WEB]).await;
    let target = "203.0.113.5:443";
    let mut stream = watching(&controller, target).await;
    assert_eq!(&*policy(&mut stream).await.meta.name, "egress-fallback");
    controller.apply(&workload);
    assert!(next(&mut stream).await.is_none(), "plaintext to a member of the mesh must not go on");
    assert_eq!(code(&mut Client::new(controller.neighbour()), asked(target)).await, Code::NotFound);

    controller.index.apply(&[Change::Delete(Kind::ExternalWorkload, Key::new("ns", "vm"))]);
    let mut stream = watching(&controller, "203.0.113.5:80").await;
    assert_eq!(&*policy(&mut stream).await.meta.name, "egress-fallback");
    controller.apply(&SERVICE.replace("10.96.0.1", "203.0.113.5"));
    assert_eq!(&*policy(&mut stream).await.meta.name, "web", "a Service's policy replaces it");
}

#[tokio::test]
async fn c_3_a_slow_watcher_gets_the_newest_policy() {
    let index = index(&[SERVICE]);
    let mut receiver = index.watch_outbound(&at("10.96.0.1:80")).unwrap();
    for protocol in ["http", "kubernetes.io/h2c", "linkerd.io/opaque"].repeat(30) {
        let port = format!("{{name: plain, port: 80, appProtocol: {protocol}}}");
        index.apply(&changes(&SERVICE.replace("{name: plain, port: 80}", &port)));
    }
    assert!(matches!(receiver.borrow_and_update().protocol, OutboundProtocol::Opaque(_)));
    assert!(!receiver.has_changed().unwrap(), "what lay between is gone");
}

#[tokio::test]
async fn c_3_a_drain_ends_every_stream_with_ok() {
    let controller = Controller::plaintext(&[WEB, SERVICE]).await;
    let mut stream = watching(&controller, "10.96.0.1:80").await;
    assert!(detects(&policy(&mut stream).await));
    controller.drain.send_replace(true);
    assert!(next(&mut stream).await.is_none());
    let served = timeout(Duration::from_secs(10), controller.served).await.expect("an end in time");
    assert!(served.unwrap().is_ok());
}
