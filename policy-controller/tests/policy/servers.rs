use crate::support::*;
use outrigger_cluster::{Key, World};
use outrigger_model::{InboundProtocol, Meta, WorkloadRef};
use outrigger_policy::{ServerStatus, server_status};

fn server(name: &str, created: &str, spec: &str) -> String {
    let created = if created.is_empty() { String::new() } else { format!(", creationTimestamp: \"{created}\"") };
    format!(
        "---
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {{name: {name}, namespace: ns{created}}}
spec: {{{spec}}}
"
    )
}

fn status(world: &World, name: &str) -> ServerStatus {
    server_status(world, &world.servers[&Key::new("ns", name)])
}

const BY_NAME: &str = "podSelector: {matchLabels: {app: web}}, port: http";
const BY_NUMBER: &str = "podSelector: {}, port: 80";

#[test]
fn c_1_a_server_makes_its_port_default_deny() {
    let before = policy(&[WEB], 80);
    assert_eq!(before.authorizations[0].meta, Meta::default_named("all-unauthenticated"));
    let after = policy(&[WEB, SERVER], 80);
    assert_eq!(after.meta, Meta::object(GROUP, "server", "ns", "srv"));
    assert_eq!(*after.authorizations, []);
    assert_eq!(after.protocol, InboundProtocol::Http1 { routes: [default_route()].into() });
    let other_port = policy(&[WEB, SERVER], 81);
    assert_eq!(other_port.authorizations, before.authorizations, "only that port");
}

#[test]
fn c_1_a_server_selects_by_name_or_number_within_its_namespace_and_kind() {
    let ruled = |spec: &str, port| policy(&[WEB, &server("srv", "", spec)], port).meta.name.to_string() == "srv";
    assert!(ruled(BY_NAME, 80) && ruled(BY_NUMBER, 80));
    assert!(ruled("podSelector: {}, port: 9999", 9999), "a number need not be declared");
    assert!(!ruled("podSelector: {}, port: dns", 53), "the port is UDP");
    assert!(!ruled("podSelector: {matchLabels: {app: other}}, port: 80", 80));
    assert!(!ruled("externalWorkloadSelector: {}, port: 80", 80), "a pod is no ExternalWorkload");
    let elsewhere = server("srv", "", BY_NUMBER).replace("namespace: ns", "namespace: other");
    assert!(policy(&[WEB, &elsewhere], 80).meta.is_default());
}

#[test]
fn c_1_every_container_port_of_the_name_is_selected() {
    let two = WEB.replace(
        "{name: http, containerPort: 80}",
        "{name: http, containerPort: 80}]\n  - name: b\n    ports: [{name: http, containerPort: 8080}",
    );
    let world = world(&[&two, SERVER]);
    let ports: Vec<_> = status(&world, "srv").selected.into_iter().map(|selected| selected.port).collect();
    assert_eq!(ports, [80, 8080]);
    for port in ports {
        assert_eq!(&*policy(&[&two, SERVER], port).meta.name, "srv");
    }
}

#[test]
fn c_1_of_two_servers_the_older_rules_then_the_first_by_name() {
    let rules = |servers: &[(&str, &str)]| {
        let mut yaml: Vec<_> = servers.iter().map(|(name, created)| server(name, created, BY_NUMBER)).collect();
        yaml.push(WEB.to_owned());
        policy(&yaml.iter().map(String::as_str).collect::<Vec<_>>(), 80).meta.name.to_string()
    };
    assert_eq!(rules(&[("a", ""), ("b", "")]), "a");
    assert_eq!(rules(&[("a", "2024-02-01T00:00:00Z"), ("b", "2024-01-01T00:00:00Z")]), "b");
    assert_eq!(rules(&[("b", "2024-01-01T00:00:00Z"), ("a", "2024-01-01T00:00:00Z")]), "a");
    assert_eq!(rules(&[("a", ""), ("b", "2024-01-01T00:00:00Z")]), "b", "no date is newest");
}

#[test]
fn c_1_a_shadowed_server_says_by_which() {
    let (a, b) = (server("a", "", BY_NUMBER), server("b", "", BY_NAME));
    let world = world(&[WEB, &a, &b]);
    let (a_status, b_status) = (status(&world, "a"), status(&world, "b"));
    assert_eq!((a_status.ruled(), b_status.ruled()), (1, 0));
    assert_eq!(b_status.selected[0].workload, web());
    assert_eq!(b_status.selected[0].shadowed_by.as_deref(), Some("a"));
    assert_eq!(b_status.to_string(), "rules 0 of the 1 ports that it selects; Server a goes before it");
    let index = index(&[WEB, &a, &b]);
    assert!(problem(&index, "server.shadowed", "ns/b").unwrap().contains("Server a"));
    assert_eq!(problem(&index, "server.shadowed", "ns/a"), None);
}

#[test]
fn c_1_each_protocol_is_told() {
    let told = |protocol: &str| {
        let spec = format!("podSelector: {{}}, port: 80, proxyProtocol: {protocol}");
        policy(&[WEB, &server("srv", "", &spec)], 80).protocol
    };
    assert_eq!(told("unknown"), detect([default_route()]));
    assert_eq!(told("HTTP/1"), InboundProtocol::Http1 { routes: [default_route()].into() });
    assert_eq!(told("HTTP/2"), InboundProtocol::Http2 { routes: [default_route()].into() });
    assert_eq!(told("gRPC"), InboundProtocol::Grpc { routes: [default_route()].into() });
    assert_eq!(told("opaque"), InboundProtocol::Opaque);
    assert_eq!(told("TLS"), InboundProtocol::Tls);
}

#[test]
fn c_1_pods_without_a_proxy_are_unknown_and_every_external_workload_is_known() {
    let bare = WEB.replace(", linkerd.io/control-plane-ns: linkerd", "");
    assert_eq!(outrigger_policy::policy(&world(&[&bare]), &config(), &web(), 80), None);
    assert_eq!(outrigger_policy::policy(&world(&[WEB]), &config(), &WorkloadRef::pod("ns", "other"), 80), None);
    assert_eq!(outrigger_policy::policy(&world(&[WEB]), &config(), &WorkloadRef::external("ns", "web"), 80), None);
    let vm = "apiVersion: workload.linkerd.io/v1beta1
kind: ExternalWorkload
metadata: {name: vm, namespace: ns}
spec: {meshTLS: {identity: 'spiffe://root.linkerd.cluster.local/vm', serverName: vm.cluster.local}}";
    assert!(outrigger_policy::policy(&world(&[vm]), &config(), &WorkloadRef::external("ns", "vm"), 80).is_some());
}

#[test]
fn c_1_a_server_that_selects_nothing_says_why() {
    let wrong_name = server("srv", "", "podSelector: {matchLabels: {app: web}}, port: web-http");
    let nobody = server("srv", "", "podSelector: {matchLabels: {app: nobody}}, port: 80");
    let said = |yaml: &str| problem(&index(&[WEB, yaml]), "server.selects_nothing", "Server ns/srv").unwrap();
    let text = said(&wrong_name);
    assert!(text.contains("\"web-http\"") && text.ends_with("their port names: http"), "{text}");
    assert!(said(&nobody).contains("no workload"));
    assert_eq!(status(&world(&[WEB, &wrong_name]), "srv").to_json()["selected"], serde_json::json!([]));
}
