//! Version skew: what this controller has sent, and what proxies have asked it, recorded and still understood.

use crate::world::*;
use linkerd2_proxy_api::destination::{DestinationProfile, GetDestination, Update};
use outrigger_api::destination::{DestinationUpdate, profile_from_proto, update_from_proto};
use outrigger_cluster::{Change, Key, Kind};
use outrigger_destination::Filter;
use outrigger_destination::authorize::{Client, admit};
use outrigger_destination::index::{Shared, Topic};
use outrigger_destination::name::{Authority, Host};
use outrigger_model::{Endpoint, Labels, Meta, Peer, Profile, ProtocolHint, RetryBudget, TlsIdentity};
use outrigger_mtls::grpc::Caller;
use outrigger_testkit::recorded;
use prost::Message;
use std::path::Path;
use std::sync::Arc;

fn messages<M: Message + Default>(file: &str, what: &str, now: impl FnOnce() -> Vec<Vec<u8>>) -> Vec<M> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(file);
    recorded(&file, what, now).unwrap().iter().map(|bytes| M::decode(&bytes[..]).unwrap()).collect()
}

/// All that a stream gets while the world changes, step by step.
fn stream(index: &Shared, topic: Topic, steps: &[Vec<Change>]) -> Vec<Vec<u8>> {
    let mut reader = Reader::new(index, topic);
    let mut sent = reader.messages().to_vec();
    for step in steps {
        apply(index, step);
        sent.extend_from_slice(&reader.messages());
    }
    sent.iter().map(|message| message.to_vec()).collect()
}

fn labels(pairs: &[(&str, &str)]) -> Arc<Labels> {
    Arc::new(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
}

fn vm() -> Endpoint {
    let id = "spiffe://root.linkerd.cluster.local/external-workload".parse().unwrap();
    Endpoint {
        tls: Some(TlsIdentity { id, server_name: Some("external-workload.cluster.local".parse().unwrap()) }),
        hint: ProtocolHint::Http2,
        inbound_port: Some(4143),
        labels: labels(&[
            ("external_workload", "external-workload"),
            ("namespace", "mixed-env"),
            ("service", "legacy-app"),
            ("zone_locality", "unknown"),
        ]),
        resource: Some(Meta::object("workload.linkerd.io", "ExternalWorkload", "mixed-env", "external-workload")),
        ..Endpoint::unmeshed("10.0.0.9:80".parse().unwrap())
    }
}

fn cluster_pod() -> Endpoint {
    let name = "legacy.mixed-env.serviceaccount.identity.linkerd.cluster.local";
    Endpoint {
        tls: Some(TlsIdentity { id: name.parse().unwrap(), server_name: Some(name.parse().unwrap()) }),
        labels: labels(&[
            ("control_plane_ns", "linkerd"),
            ("deployment", "legacy-app"),
            ("namespace", "mixed-env"),
            ("pod", "legacy-app-d4446455b-1"),
            ("pod_template_hash", "d4446455b"),
            ("service", "legacy-app"),
            ("serviceaccount", "legacy"),
            ("zone_locality", "unknown"),
        ]),
        resource: Some(Meta::object("core", "Pod", "mixed-env", "legacy-app-d4446455b-1")),
        addr: "10.1.0.1:80".parse().unwrap(),
        ..vm()
    }
}

#[test]
fn b_2_a_recorded_stream_of_endpoints_is_still_understood() {
    let now = || {
        let steps = [
            upserts(&pod(1)),
            delete(Kind::ExternalWorkload, "external-workload"),
            delete(Kind::Pod, "legacy-app-d4446455b-1"),
            delete(Kind::Service, "legacy-app"),
        ];
        stream(&index(&[SERVICES, VM]), get_topic("legacy-app", 80, Filter::default()), &steps)
    };
    let what = "Destination.Get of legacy-app.mixed-env.svc.cluster.local:80: the guide's VM, then a pod too, then the pod\n\
                alone, then nothing, then no Service";
    let updates = messages::<Update>("get.hex", what, now);
    let add = |endpoint| DestinationUpdate::Add { endpoints: vec![endpoint], refused: Vec::new() };
    let expected = [
        add(vm()),
        add(cluster_pod()),
        DestinationUpdate::Remove(vec![vm().addr]),
        DestinationUpdate::NoEndpoints { exists: true },
        DestinationUpdate::NoEndpoints { exists: false },
    ];
    assert_eq!(updates.into_iter().map(|update| update_from_proto(update).unwrap()).collect::<Vec<_>>(), expected);
}

#[test]
fn b_4_recorded_profiles_are_still_understood() {
    let now = || {
        let address = |addr: &str| Topic::Address { addr: addr.parse().unwrap(), client: None };
        let index = index(&[SERVICES]);
        let mut sent = stream(&index, address("10.96.1.1:80"), &[]);
        sent.extend(stream(&index, address("10.0.0.9:80"), &[upserts(VM)]));
        sent
    };
    let what =
        "Destination.GetProfile of 10.96.1.1:80, a Service's, and of 10.0.0.9:80, before and after the guide's VM";
    let profiles = messages::<DestinationProfile>("get-profile.hex", what, now);
    let nothing = Profile { retry_budget: Some(RetryBudget::DEFAULT), ..Profile::default() };
    let service = Profile {
        service: Some("legacy-app.mixed-env.svc.cluster.local".into()),
        parent: Some(Meta::object("core", "Service", "mixed-env", "legacy-app").at_port(80)),
        ..nothing.clone()
    };
    let own = [("external_workload", "external-workload"), ("namespace", "mixed-env"), ("zone_locality", "unknown")];
    let meshed = Endpoint { labels: labels(&own), ..vm() };
    let endpoint = |endpoint| Profile { endpoint: Some(endpoint), ..nothing.clone() };
    let expected = [service, endpoint(Endpoint::unmeshed(vm().addr)), endpoint(meshed)];
    assert_eq!(profiles.into_iter().map(|profile| profile_from_proto(profile).unwrap()).collect::<Vec<_>>(), expected);
}

/// As a proxy's environment block says it, and as Linkerd's injector writes it.
const TOKENS: [&str; 2] = [
    r#"{"ns":"mixed-env", "nodeName":"my-vm", "external_workload":"external-workload"}"#,
    "{\"ns\":\"mixed-env\",\"nodeName\":\"node-1\",\"pod\":\"legacy-app-d4446455b-1\"}\n",
];

#[test]
fn b_3_recorded_questions_are_still_understood() {
    let question = |path: &str, token: &str| {
        let (path, context_token) = (path.to_owned(), token.to_owned());
        GetDestination { path, context_token, ..GetDestination::default() }.encode_to_vec()
    };
    let now = || {
        vec![
            question("10.96.1.1:80", TOKENS[0]),
            question("legacy-app.mixed-env.svc.cluster.local:80", TOKENS[1]),
            question("[fd00::9]:8080", ""),
        ]
    };
    let what = "GetDestination: of a VM for an address, of a pod for a name, of a proxy without a token";
    let questions = messages::<GetDestination>("questions.hex", what, now);
    let index = index(&[SERVICES, VM, &pod(1)]);
    let index = index.lock();
    let domain = &mesh().names.trust_domain;
    let ids = ["external-workload", "ns/mixed-env/sa/legacy", "external-workload"]
        .map(|path| format!("spiffe://{domain}/{path}"));
    let understood: Vec<_> = questions
        .iter()
        .zip(&ids)
        .map(|(question, id)| {
            let caller = Caller::Peer(Peer::from_sans(domain, &[id.as_str()], &[]).unwrap());
            let admitted = admit(Some(&caller), &question.context_token, index.world(), &mesh().names);
            (Authority::parse(&question.path, "cluster.local").unwrap(), admitted.unwrap().0)
        })
        .collect();
    let client = |node: &str| Client { namespace: Some("mixed-env".into()), node: Some(node.into()), zone: None };
    let ip = |ip: &str, port| Authority { host: Host::Ip(ip.parse().unwrap()), port };
    let service = Host::Service { service: Key::new("mixed-env", "legacy-app"), instance: None };
    let expected = [
        (ip("10.96.1.1", 80), client("my-vm")),
        (Authority { host: service, port: 80 }, client("node-1")),
        (ip("fd00::9", 8080), Client::default()),
    ];
    assert_eq!(understood, expected);
}
