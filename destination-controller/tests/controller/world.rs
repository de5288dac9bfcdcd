//! Worlds of the guide's objects, and what the controller says of them.

use bytes::Bytes;
use linkerd2_proxy_api::destination as pb;
use outrigger_api::destination::{DestinationUpdate, update_from_proto};
use outrigger_cluster::{Change, IdentityNames, Key, Kind, parse};
use outrigger_destination::Filter;
use outrigger_destination::index::{Index, Shared, Subscription, Topic};
use outrigger_destination::mesh::Mesh;
use outrigger_destination::snapshot::Snapshot;
use outrigger_model::Endpoint;
use parking_lot::Mutex;
use prost::Message;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// A namespace with the guide's Services.
pub(crate) const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: legacy-app, namespace: mixed-env}
spec:
  clusterIP: 10.96.1.1
  selector: {app: legacy-app}
  ports: [{port: 80, protocol: TCP, name: one}]
---
apiVersion: v1
kind: Service
metadata: {name: legacy-app-cluster, namespace: mixed-env}
spec:
  clusterIP: 10.96.1.2
  selector: {app: legacy-app, location: cluster}
  ports: [{port: 80, protocol: TCP, name: one}]
";

/// The guide's VM.
pub(crate) const VM: &str = "
apiVersion: workload.linkerd.io/v1beta1
kind: ExternalWorkload
metadata:
  name: external-workload
  namespace: mixed-env
  labels: {location: vm, app: legacy-app, workload_name: external-workload}
spec:
  meshTLS: {identity: 'spiffe://root.linkerd.cluster.local/external-workload', serverName: external-workload.cluster.local}
  workloadIPs: [{ip: 10.0.0.9}]
  ports: [{port: 80, name: http}]
status: {conditions: [{type: Ready, status: 'True', lastTransitionTime: '2024-01-24T11:53:43Z'}]}
";

/// A meshed pod of the guide's Deployment; `{}` is the last byte of its address and the end of its name.
pub(crate) fn pod(n: u8) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata:
  name: legacy-app-d4446455b-{n}
  namespace: mixed-env
  labels: {{app: legacy-app, location: cluster, linkerd.io/control-plane-ns: linkerd, pod-template-hash: d4446455b}}
  ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: legacy-app-d4446455b, uid: u, controller: true}}]
spec:
  serviceAccountName: legacy
  nodeName: node-{n}
  containers: [{{name: legacy-app, image: bb, ports: [{{name: http, containerPort: 80}}]}}]
status:
  phase: Running
  podIP: 10.1.0.{n}
  podIPs: [{{ip: 10.1.0.{n}}}]
  conditions: [{{type: Ready, status: 'True'}}]
"
    )
}

pub(crate) fn mesh() -> Mesh {
    Mesh {
        names: IdentityNames {
            control_plane_namespace: "linkerd".into(),
            identity_domain: "cluster.local".into(),
            trust_domain: "root.linkerd.cluster.local".parse().unwrap(),
        },
        cluster_domain: "cluster.local".into(),
        default_opaque_ports: "25,3306".parse().unwrap(),
        transport_header: true,
        h2_upgrade: true,
        zone_weights: false,
        http2: None,
        ipv6: true,
    }
}

/// The objects of manifests, new or changed.
pub(crate) fn upserts(yaml: &str) -> Vec<Change> {
    let manifest = parse::manifest(Path::new("test.yaml"), yaml);
    let errors: Vec<_> = manifest.errors.iter().map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{errors:?}");
    manifest.objects.into_iter().map(|(object, _)| Change::Upsert(object)).collect()
}

pub(crate) fn delete(kind: Kind, name: &str) -> Vec<Change> {
    vec![Change::Delete(kind, Key::new("mixed-env", name))]
}

pub(crate) fn index_with(mesh: Mesh, yaml: &[&str]) -> Shared {
    let mut index = Index::new(Arc::new(mesh));
    index.apply(&upserts(&yaml.join("\n---\n")), SystemTime::now());
    Arc::new(Mutex::new(index))
}

pub(crate) fn index(yaml: &[&str]) -> Shared {
    index_with(mesh(), yaml)
}

pub(crate) fn apply(index: &Shared, changes: &[Change]) {
    index.lock().apply(changes, SystemTime::now());
}

pub(crate) fn get_topic(service: &str, port: u16, filter: Filter) -> Topic {
    Topic::Endpoints { service: Key::new("mixed-env", service), port, filter }
}

/// The first messages of `Get`, or the code and the sentence of its refusal.
pub(crate) fn get_with(index: &Shared, service: &str, port: u16, filter: Filter) -> Result<Vec<pb::Update>, String> {
    let mut subscription = Subscription::new(Arc::clone(index), get_topic(service, port, filter));
    match subscription.newest().since(None) {
        Ok(messages) => Ok(messages.iter().map(|m| pb::Update::decode(m.clone()).unwrap()).collect()),
        Err(denial) => Err(format!("{:?}: {}", denial.code, denial.message)),
    }
}

/// The one message of `Get`, as a proxy reads it: labels of the set joined to those of the endpoints.
pub(crate) fn endpoints_with(index: &Shared, service: &str, port: u16, filter: Filter) -> Vec<Endpoint> {
    let updates = get_with(index, service, port, filter).unwrap();
    assert_eq!(updates.len(), 1);
    match update_from_proto(updates[0].clone()).unwrap() {
        DestinationUpdate::Add { endpoints, refused } => {
            assert!(refused.is_empty(), "{refused:?}");
            endpoints
        }
        DestinationUpdate::NoEndpoints { exists: true } => Vec::new(),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn endpoints(index: &Shared, service: &str, port: u16) -> Vec<Endpoint> {
    endpoints_with(index, service, port, Filter::default())
}

pub(crate) fn addresses(endpoints: &[Endpoint]) -> Vec<String> {
    endpoints.iter().map(|endpoint| endpoint.addr.to_string()).collect()
}

pub(crate) fn labels(endpoint: &Endpoint) -> Vec<String> {
    endpoint.labels.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// The profile of a topic, or the code and the sentence of its refusal.
pub(crate) fn profile_of(index: &Shared, topic: Topic) -> Result<pb::DestinationProfile, String> {
    let mut subscription = Subscription::new(Arc::clone(index), topic);
    match subscription.newest().since(None) {
        Ok(messages) => Ok(pb::DestinationProfile::decode(messages[0].clone()).unwrap()),
        Err(denial) => Err(format!("{:?}: {}", denial.code, denial.message)),
    }
}

pub(crate) fn profile_at(index: &Shared, addr: &str) -> Result<pb::DestinationProfile, String> {
    profile_of(index, Topic::Address { addr: addr.parse().unwrap(), client: None })
}

/// A stream without a network: reads when it is told to.
pub(crate) struct Reader {
    pub(crate) subscription: Subscription,
    last: Option<Arc<Snapshot>>,
}

impl Reader {
    pub(crate) fn new(index: &Shared, topic: Topic) -> Self {
        Self { subscription: Subscription::new(Arc::clone(index), topic), last: None }
    }

    /// What there is to send now.
    pub(crate) fn messages(&mut self) -> Arc<[Bytes]> {
        let newest = self.subscription.newest();
        let messages = newest.since(self.last.as_deref()).unwrap();
        self.last = Some(newest);
        messages
    }

    pub(crate) fn read<M: Message + Default>(&mut self) -> Vec<M> {
        self.messages().iter().map(|message| M::decode(message.clone()).unwrap()).collect()
    }
}
