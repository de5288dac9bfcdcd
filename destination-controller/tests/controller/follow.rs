//! What a stream gets after its first message: differences, the newest ones, and nothing twice (B.5).

use crate::world::*;
use linkerd2_proxy_api::destination as pb;
use outrigger_cluster::{Key, Kind};
use outrigger_destination::index::{Shared, Topic};
use outrigger_destination::{Filter, Subject};
use pb::update::Update as Sent;
use std::time::SystemTime;

fn get(index: &Shared, filter: Filter) -> Reader {
    Reader::new(index, get_topic("legacy-app", 80, filter))
}

impl Reader {
    /// `+address`, `-address`, or whether the Service exists though it has no endpoints.
    fn updates(&mut self) -> Vec<String> {
        let addr =
            |addr: &linkerd2_proxy_api::net::TcpAddress| std::net::SocketAddr::try_from(*addr).unwrap().to_string();
        let told = self.read::<pb::Update>().into_iter().flat_map(|update| match update.update.unwrap() {
            Sent::Add(set) => set.addrs.iter().map(|a| format!("+{}", addr(&a.addr.unwrap()))).collect(),
            Sent::Remove(set) => set.addrs.iter().map(|a| format!("-{}", addr(a))).collect(),
            Sent::NoEndpoints(none) => vec![format!("exists={}", none.exists)],
        });
        told.collect()
    }
}

#[test]
fn b_5_a_change_is_told_as_a_difference() {
    let index = index(&[SERVICES, VM]);
    let mut reader = get(&index, Filter::default());
    assert_eq!(reader.updates(), ["+10.0.0.9:80"]);
    apply(&index, &upserts(&pod(1)));
    assert_eq!(reader.updates(), ["+10.1.0.1:80"]);
    apply(&index, &delete(Kind::ExternalWorkload, "external-workload"));
    assert_eq!(reader.updates(), ["-10.0.0.9:80"]);
    apply(&index, &delete(Kind::Pod, "legacy-app-d4446455b-1"));
    assert_eq!(reader.updates(), ["exists=true"]);
    apply(&index, &delete(Kind::Service, "legacy-app"));
    assert_eq!(reader.updates(), ["exists=false"]);
    apply(&index, &upserts(&[SERVICES, VM].join("\n---\n")));
    assert_eq!(reader.updates(), ["+10.0.0.9:80"]);
}

#[test]
fn b_2_what_changes_at_an_address_is_sent_again_for_that_address_alone() {
    let index = index(&[SERVICES, VM, &pod(1)]);
    let mut reader = get(&index, Filter::default());
    reader.updates();
    let opaque = "
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: opaque, namespace: mixed-env}
spec: {podSelector: {matchLabels: {app: legacy-app}}, port: http, proxyProtocol: opaque}
";
    apply(&index, &upserts(opaque));
    assert_eq!(reader.updates(), ["+10.1.0.1:80"]);
    apply(&index, &delete(Kind::Server, "opaque"));
    assert_eq!(reader.updates(), ["+10.1.0.1:80"]);
    apply(&index, &upserts(&VM.replace("external-workload.cluster.local", "other.cluster.local")));
    assert_eq!(reader.updates(), ["+10.0.0.9:80"]);
}

#[test]
fn b_5_what_makes_no_difference_is_not_sent() {
    let index = index(&[SERVICES, VM]);
    let mut reader = get(&index, Filter::default());
    reader.updates();
    apply(&index, &upserts(VM));
    apply(&index, &upserts(&VM.replace("workload_name: external-workload", "unrelated: label")));
    apply(&index, &upserts(&pod(1).replace("status: 'True'", "status: 'False'")));
    apply(&index, &upserts(&pod(2).replace("app: legacy-app", "app: other")));
    assert_eq!(reader.updates(), [""; 0]);
}

#[test]
fn b_5_a_slow_reader_gets_one_difference_over_all_that_it_missed() {
    let index = index(&[SERVICES, VM]);
    let mut reader = get(&index, Filter::default());
    reader.updates();
    for n in 1..=200 {
        apply(&index, &upserts(&pod(n)));
        if n > 2 {
            apply(&index, &delete(Kind::Pod, &format!("legacy-app-d4446455b-{n}")));
        }
    }
    apply(&index, &delete(Kind::ExternalWorkload, "external-workload"));
    assert_eq!(reader.updates(), ["+10.1.0.1:80", "+10.1.0.2:80", "-10.0.0.9:80"]);
}

#[test]
fn b_5_streams_with_the_same_question_share_one_answer_and_its_bytes() {
    let index = index(&[SERVICES, VM]);
    let node = |n: &str| Filter { node: Some(n.into()), ..Filter::default() };
    let readers = ["a", "b", "c"].map(|n| get(&index, node(n)));
    let zoned = get(&index, Filter { zone: Some("west".into()), ..Filter::default() });
    assert_eq!(index.lock().topics(), 2, "the node makes no difference here, the zone does");
    let bytes = readers.map(|mut reader| reader.messages()[0].as_ptr());
    assert!(bytes.iter().all(|first| *first == bytes[0]), "encoded once");
    drop(zoned);
    assert_eq!(index.lock().topics(), 0, "nobody follows, nothing is kept");
}

#[test]
fn b_5_a_change_touches_what_it_can_change_and_nothing_else() {
    let world = index(&[SERVICES, VM, &pod(1)]);
    let touched = |yaml: &str| {
        let touched = world.lock().apply(&upserts(yaml), SystemTime::now());
        touched
            .into_iter()
            .map(|subject| match subject {
                Subject::Service(key) => key.to_string(),
                Subject::Address(ip) => ip.to_string(),
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(touched(VM), ["mixed-env/legacy-app", "10.0.0.9"]);
    assert_eq!(touched(&pod(1)), ["mixed-env/legacy-app", "mixed-env/legacy-app-cluster", "10.1.0.1"]);
    assert_eq!(
        touched(&VM.replace("app: legacy-app", "app: new").replace("10.0.0.9", "10.0.0.8")),
        ["mixed-env/legacy-app", "10.0.0.8", "10.0.0.9"],
        "what it was and what it is"
    );
    assert_eq!(touched("apiVersion: v1\nkind: Namespace\nmetadata: {name: mixed-env}"), [""; 0]);
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: node-1, labels: {topology.kubernetes.io/zone: west}}";
    let of_the_pod = ["mixed-env/legacy-app", "mixed-env/legacy-app-cluster", "10.1.0.1"];
    assert_eq!(touched(node), of_the_pod, "a Node's zone is its pods'");
    assert_eq!(touched(&node.replace("west}", "west, unrelated: label}")), [""; 0]);
    let annotations = "{config.linkerd.io/opaque-ports: '80'}";
    let namespace =
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: mixed-env, annotations: {annotations}}}");
    let all =
        ["mixed-env/legacy-app", "mixed-env/legacy-app-cluster", "10.0.0.8", "10.1.0.1", "10.96.1.1", "10.96.1.2"];
    assert_eq!(touched(&namespace), all, "its list of ports is everybody's");
    let profile = "apiVersion: linkerd.io/v1alpha2\nkind: ServiceProfile\n\
                   metadata: {name: legacy-app.mixed-env.svc.cluster.local, namespace: shop}\nspec: {}";
    assert_eq!(touched(profile), ["mixed-env/legacy-app", "10.96.1.1"]);
    let slice = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s, namespace: mixed-env, labels: {kubernetes.io/service-name: other}}
addressType: IPv4
ports: [{name: one, port: 80}]
endpoints: [{addresses: [10.1.0.1], targetRef: {kind: Pod, namespace: mixed-env, name: legacy-app-d4446455b-1}}]
";
    assert_eq!(touched(slice), ["mixed-env/other"]);
    assert!(touched(&pod(1)).contains(&"mixed-env/other".to_owned()), "through the slice");
}

#[tokio::test]
async fn b_2_a_service_that_becomes_local_asks_again_with_the_clients_node() {
    let index = index(&[SERVICES, &pod(1), &pod(2)]);
    let node = Filter { node: Some("node-2".into()), ..Filter::default() };
    let mut reader = get(&index, node);
    assert_eq!(reader.updates(), ["+10.1.0.1:80", "+10.1.0.2:80"]);
    apply(&index, &upserts(&SERVICES.replace("spec:", "spec:\n  internalTrafficPolicy: Local")));
    reader.subscription.changed().await;
    assert_eq!(reader.updates(), ["-10.1.0.1:80"]);
    apply(&index, &upserts(SERVICES));
    reader.subscription.changed().await;
    assert_eq!(reader.updates(), ["+10.1.0.1:80"]);
    drop(reader);
    assert_eq!(index.lock().topics(), 0);
}

#[test]
fn b_4_a_profile_follows_the_world() {
    let index = index(&[SERVICES]);
    let mut reader = Reader::new(&index, Topic::Address { addr: "10.0.0.9:80".parse().unwrap(), client: None });
    let mut tls = || {
        reader
            .read()
            .into_iter()
            .map(|p: pb::DestinationProfile| p.endpoint.unwrap().tls_identity.is_some())
            .collect::<Vec<_>>()
    };
    assert_eq!(tls(), [false]);
    apply(&index, &upserts(VM));
    assert_eq!(tls(), [true]);
    apply(&index, &upserts(VM));
    assert_eq!(tls(), [false; 0]);

    let topic = Topic::Service { service: Key::new("mixed-env", "legacy-app"), port: 80, client: None };
    let mut reader = Reader::new(&index, topic);
    let mut opaque =
        || reader.read().into_iter().map(|p: pb::DestinationProfile| p.opaque_protocol).collect::<Vec<_>>();
    assert_eq!(opaque(), [false]);
    let annotations = "namespace: mixed-env, annotations: {config.linkerd.io/opaque-ports: '80'}}";
    apply(&index, &upserts(&SERVICES.replace("namespace: mixed-env}", annotations)));
    assert_eq!(opaque(), [true]);
}
