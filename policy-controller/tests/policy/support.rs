//! Worlds and expectations.

use ipnet::IpNet;
use outrigger_cluster::{Change, IdentityNames, World};
use outrigger_model::{
    Authentication, Authorization, DefaultPolicy, IdentityMatch, InboundPolicy, InboundProtocol, InboundRoute, Meta,
    NetworkMatch, PathMatch, RouteMatch, RouteRule, WorkloadRef,
};
use outrigger_policy::{Config, Index, Metrics};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const GROUP: &str = "policy.linkerd.io";

/// A pod with a proxy and a port named http, without probes.
pub(crate) const WEB: &str = r#"
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: ns, labels: {app: web, linkerd.io/control-plane-ns: linkerd}}
spec:
  serviceAccountName: web
  containers:
  - name: web
    ports: [{name: http, containerPort: 80}, {name: dns, containerPort: 53, protocol: UDP}]
"#;

/// A Server of that pod's port, and nothing that admits anybody.
pub(crate) const SERVER: &str = r#"
---
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: srv, namespace: ns}
spec: {podSelector: {matchLabels: {app: web}}, port: http, proxyProtocol: HTTP/1}
"#;

pub(crate) fn config() -> Config {
    Config {
        names: IdentityNames {
            control_plane_namespace: "linkerd".into(),
            identity_domain: "cluster.local".into(),
            trust_domain: "root.linkerd.cluster.local".parse().unwrap(),
        },
        cluster_domain: "cluster.local".into(),
        cluster_networks: vec![net("10.0.0.0/8")],
        default_policy: DefaultPolicy::AllUnauthenticated,
        opaque_ports: "3306".parse().unwrap(),
        probe_networks: vec![net("0.0.0.0/0")],
    }
}

/// The changes that bring every object of the YAML into the world.
pub(crate) fn changes(yaml: &str) -> Vec<Change> {
    let manifest = outrigger_cluster::parse::manifest(Path::new("test.yaml"), yaml);
    assert!(manifest.errors.is_empty(), "{:#?}", manifest.errors);
    manifest.objects.into_iter().map(|(object, _)| Change::Upsert(object)).collect()
}

pub(crate) fn world(yaml: &[&str]) -> World {
    let mut world = World::default();
    changes(&yaml.join("\n---\n")).iter().for_each(|change| world.apply(change));
    world
}

pub(crate) fn index(yaml: &[&str]) -> Index {
    let index = Index::new(config(), Metrics::default());
    index.apply(&changes(&yaml.join("\n---\n")));
    index
}

pub(crate) fn web() -> WorkloadRef {
    WorkloadRef::pod("ns", "web")
}

/// The policy of the pod `ns/web`.
pub(crate) fn policy(yaml: &[&str], port: u16) -> InboundPolicy {
    policy_of(yaml, &web(), port)
}

pub(crate) fn policy_of(yaml: &[&str], workload: &WorkloadRef, port: u16) -> InboundPolicy {
    outrigger_policy::policy(&world(yaml), &config(), workload, port).unwrap()
}

pub(crate) fn net(cidr: &str) -> IpNet {
    cidr.parse().unwrap()
}

pub(crate) fn nets(cidrs: &[&str]) -> Arc<[NetworkMatch]> {
    cidrs.iter().map(|cidr| NetworkMatch::all_of(net(cidr))).collect()
}

pub(crate) fn everywhere() -> Arc<[NetworkMatch]> {
    nets(&["0.0.0.0/0", "::/0"])
}

pub(crate) fn by_policy(name: &str, networks: Arc<[NetworkMatch]>, authentication: Authentication) -> Authorization {
    Authorization { meta: Meta::object(GROUP, "authorizationpolicy", "ns", name), networks, authentication }
}

pub(crate) fn ids(matches: &[IdentityMatch]) -> Authentication {
    Authentication::TlsAuthenticated(matches.into())
}

pub(crate) fn exact(name: &str) -> IdentityMatch {
    IdentityMatch::Exact(name.into())
}

/// The route that matches every request, with nobody of its own.
pub(crate) fn default_route() -> InboundRoute {
    let everything = RouteMatch { path: Some(PathMatch::Prefix("/".into())), ..RouteMatch::default() };
    InboundRoute {
        meta: Meta::default_named("default"),
        hosts: vec![],
        authorizations: Arc::default(),
        rules: vec![RouteRule { matches: vec![everything], filters: vec![] }],
    }
}

pub(crate) fn detect(routes: impl Into<Arc<[InboundRoute]>>) -> InboundProtocol {
    InboundProtocol::Detect { timeout: Duration::from_secs(10), routes: routes.into() }
}

pub(crate) fn routes_of(policy: &InboundPolicy) -> &[InboundRoute] {
    match &policy.protocol {
        InboundProtocol::Detect { routes, .. }
        | InboundProtocol::Http1 { routes }
        | InboundProtocol::Http2 { routes }
        | InboundProtocol::Grpc { routes } => routes,
        InboundProtocol::Opaque | InboundProtocol::Tls => &[],
    }
}

/// Whether one of the index's problems is this event of an object whose name ends so, and its text.
pub(crate) fn problem(index: &Index, event: &str, object: &str) -> Option<String> {
    let mut found = index.problems().into_iter().filter(|p| p.what.event() == event && p.object.ends_with(object));
    found.next().map(|problem| problem.what.to_string())
}
