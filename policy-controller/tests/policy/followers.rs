//! Whatever changes in whatever order: who follows a destination hears what one who asks now is told.

use crate::support::*;
use outrigger_cluster::{Change, Key, Kind};
use outrigger_model::OutboundPolicy;
use outrigger_policy::{Destination, Index, Metrics, Subject};
use proptest::prelude::*;
use std::sync::Arc;
use tokio::sync::watch;

/// Two addresses inside the cluster's networks, and two outside.
const ADDRESSES: [&str; 4] = ["10.0.0.1", "10.0.0.2", "192.0.2.1", "192.0.2.2"];
const NAMES: [&str; 2] = ["a", "b"];

fn service() -> impl Strategy<Value = Vec<Change>> {
    let kind = prop_oneof![
        prop::sample::select(&ADDRESSES[..]).prop_map(|ip| format!("clusterIP: {ip}")),
        Just("clusterIP: None".to_owned()),
        Just("type: ExternalName, externalName: example.com".to_owned()),
    ];
    let annotation = prop_oneof![Just(""), Just("config.linkerd.io/opaque-ports: '80'")];
    (prop::sample::select(&NAMES[..]), kind, 80u16..82, annotation).prop_map(|(name, kind, port, annotation)| {
        changes(&format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: ns, annotations: \
             {{{annotation}}}}}\nspec: {{{kind}, ports: [{{port: {port}}}]}}\n"
        ))
    })
}

fn workload() -> impl Strategy<Value = Vec<Change>> {
    let phase = prop::sample::select(&["Running", "Succeeded"][..]);
    let pod = (prop::sample::select(&ADDRESSES[..]), phase).prop_map(|(ip, phase)| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p, namespace: ns}}\nspec: {{containers: [{{name: \
             c}}]}}\nstatus: {{phase: {phase}, podIP: {ip}, podIPs: [{{ip: {ip}}}]}}\n"
        )
    });
    let vm = prop::sample::select(&ADDRESSES[..]).prop_map(|ip| {
        format!(
            "---\napiVersion: workload.linkerd.io/v1beta1\nkind: ExternalWorkload\nmetadata: {{name: v, namespace: \
             ns}}\nspec: {{meshTLS: {{identity: 'spiffe://td/v', serverName: v.local}}, workloadIPs: [{{ip: {ip}}}]}}\n"
        )
    });
    prop_oneof![pod, vm].prop_map(|yaml| changes(&yaml))
}

fn namespace() -> impl Strategy<Value = Vec<Change>> {
    prop::sample::select(&["", "config.linkerd.io/opaque-ports: '81'"][..]).prop_map(|annotation| {
        let meta = format!("{{name: ns, annotations: {{{annotation}}}}}");
        changes(&format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {meta}\n"))
    })
}

fn batch() -> impl Strategy<Value = Vec<Change>> {
    let objects = [(Kind::Service, "a"), (Kind::Service, "b"), (Kind::Pod, "p"), (Kind::ExternalWorkload, "v")];
    let gone = prop::sample::select(objects.to_vec())
        .prop_map(|(kind, name)| vec![Change::Delete(kind, Key::new("ns", name))]);
    let one = prop_oneof![4 => service(), 2 => workload(), 1 => namespace(), 2 => gone];
    prop::collection::vec(one, 1..3).prop_map(|changes| changes.concat())
}

fn destinations() -> Vec<Destination> {
    let addresses = ADDRESSES.iter().map(|ip| Subject::Address(ip.parse().unwrap()));
    let names = NAMES.iter().map(|name| Subject::Service(Key::new("ns", name)));
    let ports = |subject: Subject| [80, 81].map(|port| Destination { subject: subject.clone(), port });
    addresses.chain(names).flat_map(ports).collect()
}

type Follower = Option<watch::Receiver<Arc<OutboundPolicy>>>;

/// A follower hears the newest policy; one whose stream has ended, or was refused, asks again.
fn follow(index: &Index, destination: &Destination, follower: &mut Follower) -> Option<OutboundPolicy> {
    let open = follower.take().filter(|receiver| receiver.has_changed().is_ok());
    *follower = open.or_else(|| index.watch_outbound(destination).ok());
    follower.as_ref().map(|receiver| (**receiver.borrow()).clone())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn c_3_followers_hear_what_newcomers_are_told(batches in prop::collection::vec(batch(), 1..12)) {
        let index = Index::new(config(), Metrics::default());
        let destinations = destinations();
        let mut followers = vec![None; destinations.len()];
        for (at, batch) in batches.iter().enumerate() {
            index.apply(batch);
            let anew = Index::new(config(), Metrics::default());
            anew.apply(&batches[..=at].concat());
            for (destination, follower) in destinations.iter().zip(&mut followers) {
                let told = anew.outbound_policy(destination);
                prop_assert_eq!(&index.outbound_policy(destination), &told, "{:?}", destination);
                prop_assert_eq!(follow(&index, destination, follower), told.ok(), "{:?}", destination);
            }
        }
    }
}
