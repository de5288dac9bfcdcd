//! Who is admitted, and what of a context token counts (B.3).

use crate::world::*;
use outrigger_destination::authorize::{Client, admit};
use outrigger_model::Peer;
use outrigger_mtls::grpc::Caller;
use tonic::{Code, Status};

const VM_ID: &str = "spiffe://root.linkerd.cluster.local/external-workload";
const POD_ID: &str = "spiffe://root.linkerd.cluster.local/ns/mixed-env/sa/legacy";
const POD_NAME: &str = "legacy.mixed-env.serviceaccount.identity.linkerd.cluster.local";
const VM_TOKEN: &str = r#"{"ns":"mixed-env", "nodeName":"my-vm", "external_workload":"external-workload"}"#;
const POD_TOKEN: &str = r#"{"ns":"mixed-env", "nodeName":"a-lie", "pod":"legacy-app-d4446455b-1"}"#;

fn peer(uris: &[&str], dns: &[&str]) -> Caller {
    Caller::Peer(Peer::from_sans(&mesh().names.trust_domain, uris, dns).unwrap())
}

fn ask(caller: &Caller, token: &str) -> Result<Client, Status> {
    let vm = VM.replace("location: vm,", "location: vm, topology.kubernetes.io/zone: west,");
    let index = index(&[SERVICES, &vm, &pod(1)]);
    let index = index.lock();
    admit(Some(caller), token, index.world(), &mesh().names).map(|(client, _)| client)
}

fn client(node: Option<&str>, zone: Option<&str>) -> Client {
    Client { namespace: Some("mixed-env".into()), node: node.map(Into::into), zone: zone.map(Into::into) }
}

#[test]
fn b_3_a_workload_speaks_for_itself_with_any_of_its_names() {
    assert_eq!(ask(&peer(&[VM_ID], &[]), VM_TOKEN).unwrap(), client(Some("my-vm"), Some("west")));
    for caller in [peer(&[POD_ID], &[]), peer(&[], &[POD_NAME]), peer(&[POD_ID], &[POD_NAME])] {
        assert_eq!(
            ask(&caller, POD_TOKEN).unwrap(),
            client(Some("node-1"), None),
            "the pod's node is the cluster's word"
        );
    }
}

#[test]
fn b_3_a_pods_zone_is_its_nodes() {
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: node-1, labels: {topology.kubernetes.io/zone: west}}";
    let index = index(&[&pod(1), node]);
    let index = index.lock();
    let admitted = |caller, token| admit(Some(&caller), token, index.world(), &mesh().names).unwrap().0;
    assert_eq!(admitted(peer(&[POD_ID], &[]), POD_TOKEN), client(Some("node-1"), Some("west")));
    let told = Client { namespace: None, ..client(Some("node-1"), Some("west")) };
    assert_eq!(admitted(Caller::Loopback, r#"{"nodeName":"node-1"}"#), told);
}

#[test]
fn b_3_nobody_speaks_for_another() {
    for (caller, token) in [
        (peer(&[POD_ID], &[]), VM_TOKEN),
        (peer(&[VM_ID], &[]), POD_TOKEN),
        (peer(&["spiffe://other.domain/external-workload"], &[]), VM_TOKEN),
        (peer(&["spiffe://other.domain/x"], &[POD_NAME]), POD_TOKEN),
        (peer(&[VM_ID], &[]), r#"{"ns":"mixed-env","external_workload":"nobody"}"#),
        (peer(&[VM_ID], &[]), r#"{"ns":"other","external_workload":"external-workload"}"#),
        (peer(&[VM_ID], &[]), r#"{"ns":"mixed-env","pod":"external-workload"}"#),
        (peer(&[VM_ID], &[]), "{"),
    ] {
        assert_eq!(ask(&caller, token).unwrap_err().code(), Code::PermissionDenied, "{token}");
    }
    let nobody = admit(None, "", index(&[]).lock().world(), &mesh().names);
    assert_eq!(nobody.unwrap_err().code(), Code::Unauthenticated);
}

#[test]
fn b_3_a_peer_that_names_no_workload_gets_what_everybody_gets() {
    for token in ["", "ns:mixed-env", r#"{"ns":"mixed-env"}"#, r#"{"ns":"mixed-env","nodeName":"node-1"}"#] {
        assert_eq!(ask(&peer(&["spiffe://other.domain/x"], &[]), token).unwrap(), Client::default());
    }
}

#[test]
fn b_3_a_process_of_the_same_host_may_say_what_it_likes() {
    assert_eq!(ask(&Caller::Loopback, VM_TOKEN).unwrap(), client(Some("my-vm"), Some("west")));
    let anywhere = Client { namespace: None, ..client(Some("node-7"), None) };
    assert_eq!(ask(&Caller::Loopback, r#"{"nodeName":"node-7"}"#).unwrap(), anywhere);
    assert_eq!(ask(&Caller::Loopback, r#"{"ns":"mixed-env","pod":"nobody"}"#).unwrap(), client(None, None));
}
