//! Whatever happens to the world: a stream ends up where a newcomer to the same world begins.

use crate::world::*;
use futures::FutureExt;
use linkerd2_proxy_api::destination as pb;
use outrigger_api::destination::{DestinationUpdate, update_from_proto};
use outrigger_cluster::{Change, Key};
use outrigger_destination::Filter;
use outrigger_destination::index::{Index, Shared, Subscription, Topic};
use outrigger_destination::snapshot::{Answer, Snapshot};
use outrigger_model::Endpoint;
use parking_lot::Mutex;
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

/// Forms that the objects of one small world may take. Two forms of an object share its name.
fn forms() -> Vec<String> {
    let local = SERVICES.replace("spec:", "spec:\n  internalTrafficPolicy: Local");
    let headless = SERVICES.replace("clusterIP: 10.96.1.1", "clusterIP: None");
    let other_port = SERVICES.replace("port: 80,", "port: 81, targetPort: http,");
    let wider = SERVICES.replace(", location: cluster", "").replace("10.96.1.2", "10.96.1.1");
    let external_name = "
apiVersion: v1
kind: Service
metadata: {name: legacy-app, namespace: mixed-env}
spec: {type: ExternalName, externalName: example.org}
";
    let slice = |service: &str, n: u8| {
        format!(
            "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: slice, namespace: mixed-env, labels: {{kubernetes.io/service-name: {service}}}}}
addressType: IPv4
ports: [{{name: one, port: 80}}]
endpoints: [{{addresses: [10.1.0.{n}], nodeName: node-{n}, hints: {{forZones: [{{name: west}}]}}, targetRef: {{kind: Pod, namespace: mixed-env, name: legacy-app-d4446455b-{n}}}}}]
"
        )
    };
    let server = |selector: &str, protocol: &str| {
        let head =
            "apiVersion: policy.linkerd.io/v1beta3\nkind: Server\nmetadata: {name: server, namespace: mixed-env}";
        format!(
            "{head}\nspec: {{{selector}: {{matchLabels: {{app: legacy-app}}}}, port: http, proxyProtocol: {protocol}}}"
        )
    };
    let mut forms =
        vec![SERVICES.to_owned(), local, headless, other_port, wider, external_name.to_owned(), VM.to_owned()];
    forms.push(VM.replace("app: legacy-app", "app: other"));
    forms.push(VM.replace("10.0.0.9", "10.1.0.1"));
    forms.push(VM.replace("status: 'True'", "status: 'False'"));
    for n in [1, 2] {
        forms.extend([
            pod(n),
            pod(n).replace("location: cluster", "location: vm"),
            pod(n).replace("10.1.0.", "10.1.1."),
        ]);
        forms.push(pod(n).replace("status: 'True'", "status: 'False'"));
        forms.push(pod(n).replace("spec:\n", "spec:\n  hostname: web\n  subdomain: legacy-app\n"));
        forms.push(pod(n).replace("phase: Running", "phase: Failed"));
        forms.extend([slice("legacy-app", n), slice("legacy-app-cluster", n)]);
    }
    let profile = |namespace: &str, name: &str, ports: &str| {
        let head = "apiVersion: linkerd.io/v1alpha2\nkind: ServiceProfile";
        let meta = format!("{{name: {name}.mixed-env.svc.cluster.local, namespace: {namespace}}}");
        format!("{head}\nmetadata: {meta}\nspec: {{opaquePorts: [{ports}]}}")
    };
    forms.extend([profile("shop", "legacy-app", "'80'"), profile("mixed-env", "legacy-app", "'80'")]);
    forms.extend([profile("mixed-env", "legacy-app", ""), profile("shop", "legacy-app-cluster", "'80'")]);
    let namespace = |list: &str| {
        let annotations = format!("{{config.linkerd.io/opaque-ports: '{list}'}}");
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: mixed-env, annotations: {annotations}}}")
    };
    let node = |zone: &str| {
        let labels = format!("{{topology.kubernetes.io/zone: {zone}}}");
        format!("apiVersion: v1\nkind: Node\nmetadata: {{name: node-2, labels: {labels}}}")
    };
    forms.extend([namespace("80"), namespace("81"), node("west"), node("east")]);
    forms.extend([
        server("podSelector", "opaque"),
        server("externalWorkloadSelector", "opaque"),
        server("podSelector", "HTTP/1"),
    ]);
    forms
}

fn topics() -> Vec<Topic> {
    let filter = |instance: Option<&str>, node: Option<&str>, zone: Option<&str>| Filter {
        instance: instance.map(Into::into),
        node: node.map(Into::into),
        zone: zone.map(Into::into),
    };
    let key = || Key::new("mixed-env", "legacy-app");
    let mut topics = vec![
        get_topic("legacy-app", 80, filter(None, None, None)),
        get_topic("legacy-app", 81, filter(None, Some("node-1"), None)),
        get_topic("legacy-app", 80, filter(None, Some("node-2"), Some("west"))),
        get_topic("legacy-app", 80, filter(Some("web"), None, None)),
        get_topic("legacy-app-cluster", 80, filter(None, None, None)),
        Topic::Service { service: key(), port: 80, client: None },
        Topic::Service { service: key(), port: 80, client: Some("shop".into()) },
        Topic::Instance { service: key(), instance: "web".into(), port: 80 },
    ];
    let addresses = ["10.96.1.1:80", "10.96.1.2:80", "10.1.0.1:80", "10.1.0.2:80", "10.1.1.1:80", "10.0.0.9:80"];
    let at = |addr: &str, client: Option<&str>| Topic::Address {
        addr: addr.parse().unwrap(),
        client: client.map(Into::into),
    };
    topics.extend(addresses.map(|addr| at(addr, None)));
    topics.extend([at(addresses[0], Some("shop")), at(addresses[1], Some("shop"))]);
    topics
}

/// A proxy that reads now and then, and what it knows.
struct Proxy {
    topic: Topic,
    subscription: Subscription,
    last: Option<Arc<Snapshot>>,
    endpoints: BTreeMap<SocketAddr, Endpoint>,
    profile: Option<pb::DestinationProfile>,
}

impl Proxy {
    fn new(index: &Shared, topic: Topic) -> Self {
        let subscription = Subscription::new(Arc::clone(index), topic.clone());
        Self { topic, subscription, last: None, endpoints: BTreeMap::new(), profile: None }
    }

    /// Reads all there is; a stream that ends with an error is opened anew, as proxies do.
    fn read(&mut self, index: &Shared) {
        loop {
            let newest = self.subscription.newest();
            match newest.since(self.last.as_deref()) {
                Err(_) => return *self = Self::new(index, self.topic.clone()),
                Ok(messages) => messages.iter().for_each(|message| self.learn(message)),
            }
            self.last = Some(newest);
            if self.subscription.changed().now_or_never().is_none() {
                return;
            }
        }
    }

    fn learn(&mut self, message: &[u8]) {
        if !matches!(self.topic, Topic::Endpoints { .. }) {
            self.profile = Some(pb::DestinationProfile::decode(message).unwrap());
            return;
        }
        match update_from_proto(pb::Update::decode(message).unwrap()).unwrap() {
            DestinationUpdate::Add { endpoints, .. } => {
                self.endpoints.extend(endpoints.into_iter().map(|e| (e.addr, e)))
            }
            DestinationUpdate::Remove(addrs) => addrs.iter().for_each(|addr| _ = self.endpoints.remove(addr)),
            DestinationUpdate::NoEndpoints { .. } => self.endpoints.clear(),
        }
    }
}

/// A step: an object takes a form or goes away, and some of the proxies read.
fn step() -> impl Strategy<Value = (String, bool, u32)> {
    (select(forms()), prop::bool::weighted(0.3), any::<u32>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn b_5_a_stream_ends_up_where_a_newcomer_begins(steps in prop::collection::vec(step(), 1..40)) {
        let index = index(&[SERVICES, VM]);
        let mut proxies: Vec<_> = topics().into_iter().map(|topic| Proxy::new(&index, topic)).collect();
        let mut history = upserts(&[SERVICES, VM].join("\n---\n"));
        for (form, gone, readers) in steps {
            let mut changes = upserts(&form);
            if gone {
                changes = changes.into_iter().map(|change| match change {
                    Change::Upsert(object) => Change::Delete(object.kind(), object.key().clone()),
                    delete => delete,
                }).collect();
            }
            apply(&index, &changes);
            history.extend(changes);
            let reading = proxies.iter_mut().enumerate().filter(|(n, _)| readers >> n & 1 == 1);
            reading.for_each(|(_, proxy)| proxy.read(&index));
        }

        // The same world, read in one go.
        let mut fresh = Index::new(Arc::new(mesh()));
        fresh.apply(&history, SystemTime::now());
        let fresh = Arc::new(Mutex::new(fresh));
        for proxy in &mut proxies {
            proxy.read(&index);
            let mut newcomer = Proxy::new(&fresh, proxy.topic.clone());
            let answer = newcomer.subscription.newest().answer().clone();
            newcomer.read(&fresh);
            prop_assert_eq!(&proxy.endpoints, &newcomer.endpoints, "{:?}", proxy.topic);
            if !matches!(answer, Answer::Denied(_)) {
                prop_assert_eq!(&proxy.profile, &newcomer.profile, "{:?}", proxy.topic);
            }
        }
        drop(proxies);
        prop_assert_eq!(index.lock().topics(), 0);
    }
}
