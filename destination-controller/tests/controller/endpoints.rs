//! What `Get` says first (B.2).

use crate::world::*;
use outrigger_cluster::Kind;
use outrigger_destination::Filter;
use outrigger_model::{Endpoint, Meta, ProtocolHint, TlsIdentity};
use std::sync::Arc;

fn in_zone(zone: &str) -> Filter {
    Filter { zone: Some(zone.into()), ..Filter::default() }
}

fn on_node(node: &str) -> Filter {
    Filter { node: Some(node.into()), ..Filter::default() }
}

/// Splices `with` into a manifest in place of `what`, which must be there.
fn edit(manifest: &str, what: &str, with: &str) -> String {
    assert!(manifest.contains(what), "{what} is not in {manifest}");
    manifest.replace(what, with)
}

#[test]
fn l_012_a_service_selects_pods_and_external_workloads_alike() {
    let index = index(&[SERVICES, VM, &pod(1)]);
    assert_eq!(addresses(&endpoints(&index, "legacy-app", 80)), ["10.0.0.9:80", "10.1.0.1:80"]);
    assert_eq!(addresses(&endpoints(&index, "legacy-app-cluster", 80)), ["10.1.0.1:80"]);
}

#[test]
fn b_2_a_pod_is_described_in_full() {
    let index = index(&[SERVICES, &pod(1)]);
    let found = &endpoints(&index, "legacy-app", 80)[0];
    let name = "legacy.mixed-env.serviceaccount.identity.linkerd.cluster.local";
    let expected = Endpoint {
        tls: Some(TlsIdentity { id: name.parse().unwrap(), server_name: Some(name.parse().unwrap()) }),
        hint: ProtocolHint::Http2,
        inbound_port: Some(4143),
        labels: Arc::clone(&found.labels),
        resource: Some(Meta::object("core", "Pod", "mixed-env", "legacy-app-d4446455b-1")),
        ..Endpoint::unmeshed("10.1.0.1:80".parse().unwrap())
    };
    assert_eq!(*found, expected);
    assert_eq!(
        labels(found),
        [
            "control_plane_ns=linkerd",
            "deployment=legacy-app",
            "namespace=mixed-env",
            "pod=legacy-app-d4446455b-1",
            "pod_template_hash=d4446455b",
            "service=legacy-app",
            "serviceaccount=legacy",
            "zone_locality=unknown",
        ]
    );
}

#[test]
fn b_2_an_external_workload_is_described_in_full() {
    let vm = edit(VM, "app: legacy-app,", "app: legacy-app, topology.kubernetes.io/zone: west,");
    let index = index(&[SERVICES, &vm]);
    let found = &endpoints_with(&index, "legacy-app", 80, in_zone("west"))[0];
    let expected = Endpoint {
        tls: Some(TlsIdentity {
            id: "spiffe://root.linkerd.cluster.local/external-workload".parse().unwrap(),
            server_name: Some("external-workload.cluster.local".parse().unwrap()),
        }),
        hint: ProtocolHint::Http2,
        inbound_port: Some(4143),
        labels: Arc::clone(&found.labels),
        resource: Some(Meta::object("workload.linkerd.io", "ExternalWorkload", "mixed-env", "external-workload")),
        ..Endpoint::unmeshed("10.0.0.9:80".parse().unwrap())
    };
    assert_eq!(*found, expected);
    assert_eq!(
        labels(found),
        [
            "external_workload=external-workload",
            "namespace=mixed-env",
            "service=legacy-app",
            "zone=west",
            "zone_locality=local",
        ]
    );
    let far = &endpoints_with(&index, "legacy-app", 80, in_zone("east"))[0];
    assert!(labels(far).contains(&"zone_locality=remote".to_owned()));
}

#[test]
fn b_2_an_external_workload_with_a_dns_identity_is_sent_as_one() {
    let vm = edit(VM, "'spiffe://root.linkerd.cluster.local/external-workload'", "vm.example.org");
    let updates = get_with(&index(&[SERVICES, &vm]), "legacy-app", 80, Filter::default()).unwrap();
    let Some(linkerd2_proxy_api::destination::update::Update::Add(set)) = updates[0].update.clone() else { panic!() };
    use linkerd2_proxy_api::destination::tls_identity::{DnsLikeIdentity, Strategy};
    let dns = Strategy::DnsLikeIdentity(DnsLikeIdentity { name: "vm.example.org".into() });
    assert_eq!(set.addrs[0].tls_identity.clone().unwrap().strategy, Some(dns));
}

#[test]
fn b_2_only_pods_of_our_own_mesh_have_an_identity() {
    for label in ["linkerd.io/control-plane-ns: other, ", ""] {
        let pod = edit(&pod(1), "linkerd.io/control-plane-ns: linkerd, ", label);
        let found = &endpoints(&index(&[SERVICES, &pod]), "legacy-app", 80)[0];
        assert_eq!((&found.tls, found.hint, found.inbound_port), (&None, ProtocolHint::Unknown, None));
    }
}

#[test]
fn b_2_a_skipped_inbound_port_is_reached_without_the_proxy() {
    let skip = "  annotations: {config.linkerd.io/skip-inbound-ports: '79-80'}\nspec:";
    for workload in [pod(1), VM.to_owned()] {
        let found = &endpoints(&index(&[SERVICES, &edit(&workload, "spec:", skip)]), "legacy-app", 80)[0];
        assert_eq!((&found.tls, found.hint, found.inbound_port), (&None, ProtocolHint::Unknown, None));
    }
}

#[test]
fn b_2_opaque_ports_come_from_the_annotation_the_default_list_or_a_server() {
    let hint = |yaml: &[&str]| endpoints(&index(yaml), "legacy-app", 80)[0].hint;
    let annotated = |list: &str| {
        edit(&pod(1), "spec:", &format!("  annotations: {{config.linkerd.io/opaque-ports: '{list}'}}\nspec:"))
    };
    assert_eq!(hint(&[SERVICES, &annotated("80")]), ProtocolHint::Opaque);
    assert_eq!(hint(&[SERVICES, &annotated("70-90")]), ProtocolHint::Opaque);
    assert_eq!(hint(&[SERVICES, &annotated("http")]), ProtocolHint::Opaque);
    assert_eq!(hint(&[SERVICES, &annotated("8080")]), ProtocolHint::Http2);
    // The default list holds until an annotation replaces it.
    let mysql = edit(SERVICES, "port: 80,", "port: 80, targetPort: 3306,");
    assert_eq!(hint(&[&mysql, &pod(1)]), ProtocolHint::Opaque);
    assert_eq!(hint(&[&mysql, &annotated("25")]), ProtocolHint::Http2);

    let server = |name: &str, spec: &str| {
        let head = "apiVersion: policy.linkerd.io/v1beta3\nkind: Server\nmetadata:";
        format!("{head} {{name: {name}, namespace: mixed-env}}\nspec: {{{spec}, proxyProtocol: opaque}}")
    };
    let pods = "podSelector: {matchLabels: {app: legacy-app}}";
    let external = "externalWorkloadSelector: {matchLabels: {app: legacy-app}}";
    let by_number = server("a", &format!("{pods}, port: 80"));
    assert_eq!(hint(&[SERVICES, &pod(1), &by_number]), ProtocolHint::Opaque);
    let by_name = server("a", &format!("{pods}, port: http"));
    assert_eq!(hint(&[SERVICES, &pod(1), &by_name]), ProtocolHint::Opaque);
    assert_eq!(hint(&[SERVICES, VM, &server("a", &format!("{external}, port: http"))]), ProtocolHint::Opaque);
    for other in [
        server("a", &format!("{pods}, port: 81")),
        server("a", &format!("{external}, port: 80")),
        edit(&by_number, "mixed-env", "elsewhere"),
        edit(&by_number, "legacy-app", "other-app"),
        edit(&by_number, "opaque", "HTTP/1"),
    ] {
        assert_eq!(hint(&[SERVICES, &pod(1), &other]), ProtocolHint::Http2, "{other}");
    }
}

#[test]
fn b_2_the_proxys_own_port_is_named_as_the_transport_mode_says() {
    let transparent = || outrigger_destination::mesh::Mesh { transport_header: false, ..mesh() };
    let opaque = edit(VM, "spec:", "  annotations: {config.linkerd.io/opaque-ports: '80'}\nspec:");
    let port = |mesh, vm: &str| endpoints(&index_with(mesh, &[SERVICES, vm]), "legacy-app", 80)[0].inbound_port;
    assert_eq!(port(transparent(), VM), None);
    assert_eq!(port(transparent(), &opaque), Some(4143));
    assert_eq!(port(mesh(), &opaque), Some(4143));
    let named = edit(VM, "ports: [", "ports: [{port: 5143, name: linkerd-proxy}, ");
    assert_eq!(port(mesh(), &named), Some(5143));

    let env = "containers: [{name: linkerd-proxy, image: p, env: [{name: LINKERD2_PROXY_INBOUND_LISTEN_ADDR, value: '0.0.0.0:6143'}]}, ";
    let elsewhere = edit(&pod(1), "containers: [", env);
    assert_eq!(endpoints(&index(&[SERVICES, &elsewhere]), "legacy-app", 80)[0].inbound_port, Some(6143));
    for own in ["4191", "4190"] {
        let service = edit(SERVICES, "port: 80,", &format!("port: 80, targetPort: {own},"));
        let found = &endpoints(&index(&[&service, &pod(1)]), "legacy-app", 80)[0];
        assert!(found.tls.is_some() && found.inbound_port.is_none(), "{found:?}");
    }
}

#[test]
fn b_2_without_the_h2_upgrade_pods_are_not_said_to_take_it() {
    let plain = outrigger_destination::mesh::Mesh { h2_upgrade: false, ..mesh() };
    let found = endpoints(&index_with(plain, &[SERVICES, VM, &pod(1)]), "legacy-app", 80);
    assert_eq!(found.iter().map(|e| e.hint).collect::<Vec<_>>(), [ProtocolHint::Http2, ProtocolHint::Unknown]);
}

#[test]
fn b_2_what_does_not_exist_is_not_found_and_another_name_is_no_argument() {
    let external = "
apiVersion: v1
kind: Service
metadata: {name: elsewhere, namespace: mixed-env}
spec: {type: ExternalName, externalName: example.org, ports: [{port: 80}]}
";
    let index = index(&[SERVICES, external]);
    let refused = |service, port| get_with(&index, service, port, Filter::default()).unwrap_err();
    assert_eq!(refused("nobody", 80), "NotFound: there is no Service mixed-env/nobody");
    assert_eq!(refused("legacy-app", 81), "NotFound: Service mixed-env/legacy-app declares no TCP port 81");
    assert!(
        refused("elsewhere", 80).starts_with("InvalidArgument: Service mixed-env/elsewhere is of type ExternalName")
    );
    assert_eq!(endpoints(&index, "legacy-app", 80), [], "a Service without workloads exists");
}

#[test]
fn b_6_only_workloads_that_are_ready_and_live_are_endpoints() {
    let all = |pod: &str, vm: &str| addresses(&endpoints(&index(&[SERVICES, pod, vm]), "legacy-app", 80));
    let not_ready = "status: 'False'";
    assert_eq!(all(&edit(&pod(1), "status: 'True'", not_ready), VM), ["10.0.0.9:80"]);
    assert_eq!(all(&pod(1), &edit(VM, "status: 'True'", not_ready)), ["10.1.0.1:80"]);
    assert_eq!(all(&edit(&pod(1), "phase: Running", "phase: Failed"), VM), ["10.0.0.9:80"]);
    let dying = edit(&pod(1), "  labels:", "  deletionTimestamp: '2024-01-24T11:53:43Z'\n  labels:");
    assert_eq!(all(&dying, VM), ["10.0.0.9:80"]);
    let unaddressed = edit(&pod(1), "  podIP: 10.1.0.1\n  podIPs: [{ip: 10.1.0.1}]\n", "");
    assert_eq!(all(&unaddressed, VM), ["10.0.0.9:80"]);

    let published = edit(SERVICES, "spec:", "spec:\n  publishNotReadyAddresses: true");
    let unready = [edit(&pod(1), "status: 'True'", not_ready), edit(VM, "status: 'True'", not_ready)];
    let found = endpoints(&index(&[&published, &unready[0], &unready[1]]), "legacy-app", 80);
    assert_eq!(addresses(&found), ["10.0.0.9:80", "10.1.0.1:80"]);
    assert_eq!(endpoints(&index(&[&published, &dying]), "legacy-app", 80), []);
}

#[test]
fn b_6_target_ports_are_looked_up_in_each_workload() {
    let named = edit(SERVICES, "port: 80,", "port: 80, targetPort: http,");
    let on_8080 = edit(&pod(2), "containerPort: 80", "containerPort: 8080");
    let found = endpoints(&index(&[&named, VM, &pod(1), &on_8080]), "legacy-app", 80);
    assert_eq!(addresses(&found), ["10.0.0.9:80", "10.1.0.1:80", "10.1.0.2:8080"]);
    // A pod takes any number; an ExternalWorkload must document the port.
    let number = edit(SERVICES, "port: 80,", "port: 80, targetPort: 8080,");
    assert_eq!(addresses(&endpoints(&index(&[&number, VM, &pod(1)]), "legacy-app", 80)), ["10.1.0.1:8080"]);
    let udp = edit(VM, "port: 80, name: http", "port: 80, name: http, protocol: UDP");
    assert_eq!(endpoints(&index(&[SERVICES, &udp]), "legacy-app", 80), []);
    let unnamed = edit(&pod(1), "name: http,", "name: http-port,");
    assert_eq!(endpoints(&index(&[&named, &unnamed]), "legacy-app", 80), []);
}

#[test]
fn b_6_other_namespaces_and_empty_selectors_give_nothing() {
    let elsewhere = edit(&pod(1), "namespace: mixed-env", "namespace: other");
    assert_eq!(endpoints(&index(&[SERVICES, &elsewhere]), "legacy-app", 80), []);
    let by_hand = edit(SERVICES, "selector: {app: legacy-app}", "selector: {}");
    assert_eq!(endpoints(&index(&[&by_hand, &pod(1)]), "legacy-app", 80), []);
}

const SLICE: &str = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: legacy-app-x, namespace: mixed-env, labels: {kubernetes.io/service-name: legacy-app}}
addressType: IPv4
ports: [{name: one, port: 80, protocol: TCP}]
endpoints:
- addresses: [10.1.0.1]
  conditions: {ready: true}
  nodeName: node-1
  zone: west
  hints: {forZones: [{name: west}]}
  targetRef: {kind: Pod, namespace: mixed-env, name: legacy-app-d4446455b-1}
- addresses: [10.1.0.2]
  conditions: {ready: true}
  nodeName: node-2
  zone: east
  hints: {forZones: [{name: east}]}
  targetRef: {kind: Pod, namespace: mixed-env, name: legacy-app-d4446455b-2}
";

#[test]
fn b_2_written_slices_win_over_the_selector() {
    let index = index(&[SERVICES, SLICE, VM, &pod(1), &pod(2), &pod(3)]);
    assert_eq!(addresses(&endpoints(&index, "legacy-app", 80)), ["10.1.0.1:80", "10.1.0.2:80"]);
    assert_eq!(addresses(&endpoints(&index, "legacy-app-cluster", 80)).len(), 3);
    apply(&index, &delete(Kind::EndpointSlice, "legacy-app-x"));
    assert_eq!(addresses(&endpoints(&index, "legacy-app", 80)).len(), 4);
}

#[test]
fn b_2_a_slices_endpoint_of_an_unknown_pod_waits_for_the_pod() {
    let index = index(&[SERVICES, SLICE, &pod(1)]);
    assert_eq!(addresses(&endpoints(&index, "legacy-app", 80)), ["10.1.0.1:80"]);
    apply(&index, &upserts(&pod(2)));
    assert_eq!(addresses(&endpoints(&index, "legacy-app", 80)), ["10.1.0.1:80", "10.1.0.2:80"]);
}

#[test]
fn b_2_an_endpoint_without_workload_is_only_an_address() {
    let by_hand = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: by-hand, namespace: mixed-env, labels: {kubernetes.io/service-name: legacy-app}}
addressType: IPv4
ports: [{name: one, port: 8080}]
endpoints: [{addresses: [192.0.2.1]}, {addresses: [192.0.2.2], conditions: {ready: false}}]
";
    let found = endpoints(&index(&[SERVICES, by_hand]), "legacy-app", 80);
    assert_eq!(addresses(&found), ["192.0.2.1:8080"]);
    assert!(found[0].tls.is_none());
    assert_eq!(labels(&found[0]), ["namespace=mixed-env", "service=legacy-app", "zone_locality=unknown"]);
    // The slice's port has another name than the Service's.
    let other = edit(by_hand, "name: one", "name: two");
    assert_eq!(endpoints(&index(&[SERVICES, &other]), "legacy-app", 80), []);
}

#[test]
fn b_2_zone_hints_count_if_every_endpoint_has_them_and_somebody_remains() {
    let world = index(&[SERVICES, SLICE, &pod(1), &pod(2)]);
    let near = |zone: &str| addresses(&endpoints_with(&world, "legacy-app", 80, in_zone(zone)));
    assert_eq!(near("west"), ["10.1.0.1:80"]);
    assert_eq!(near("east"), ["10.1.0.2:80"]);
    assert_eq!(near("south").len(), 2);
    assert_eq!(addresses(&endpoints(&world, "legacy-app", 80)).len(), 2, "a client without zone");
    let partly = edit(SLICE, "  hints: {forZones: [{name: east}]}\n", "");
    let world = index(&[SERVICES, &partly, &pod(1), &pod(2)]);
    assert_eq!(endpoints_with(&world, "legacy-app", 80, in_zone("west")).len(), 2);
}

#[test]
fn b_2_a_local_service_keeps_to_the_clients_node() {
    let local = edit(SERVICES, "spec:", "spec:\n  internalTrafficPolicy: Local");
    let index = index(&[&local, VM, &pod(1), &pod(2)]);
    let on = |filter| addresses(&endpoints_with(&index, "legacy-app", 80, filter));
    assert_eq!(on(on_node("node-2")), ["10.1.0.2:80"]);
    assert!(on(on_node("my-vm")).is_empty());
    assert!(on(Filter::default()).is_empty(), "an unknown node is nobody's, the ExternalWorkload's neither");
}

#[test]
fn b_2_an_instance_of_a_headless_service_is_asked_for_by_hostname() {
    let headless = edit(SERVICES, "clusterIP: 10.96.1.1", "clusterIP: None");
    let named = edit(&pod(1), "spec:", "spec:\n  hostname: legacy-0\n  subdomain: legacy-app");
    let index = index(&[&headless, VM, &named, &pod(2)]);
    let of = |instance: &str| {
        let filter = Filter { instance: Some(instance.into()), ..Filter::default() };
        addresses(&endpoints_with(&index, "legacy-app", 80, filter))
    };
    assert_eq!(of("legacy-0"), ["10.1.0.1:80"]);
    assert_eq!(of("external-workload"), ["10.0.0.9:80"]);
    assert!(of("legacy-1").is_empty());
}

#[test]
fn b_2_ipv6_is_preferred_where_a_workload_has_both_families() {
    let dual = edit(VM, "[{ip: 10.0.0.9}]", "[{ip: 10.0.0.9}, {ip: 'fd00::9'}]");
    let services =
        edit(SERVICES, "clusterIP: 10.96.1.1", "clusterIP: 10.96.1.1\n  clusterIPs: [10.96.1.1, 'fd00:96::1']");
    let found = |mesh, services: &str| endpoints(&index_with(mesh, &[services, &dual, &pod(1)]), "legacy-app", 80);
    let v6 = found(mesh(), &services);
    assert_eq!(addresses(&v6), ["10.1.0.1:80", "[fd00::9]:80"]);
    assert!(v6.iter().all(|endpoint| endpoint.tls.is_some()));
    let v4_only = || outrigger_destination::mesh::Mesh { ipv6: false, ..mesh() };
    assert_eq!(addresses(&found(v4_only(), &services)), ["10.0.0.9:80", "10.1.0.1:80"]);
    // A Service of one family has endpoints of that family.
    assert_eq!(addresses(&found(mesh(), SERVICES)), ["10.0.0.9:80", "10.1.0.1:80"]);
}
