//! Zones, nodes, HTTP/2 parameters, and other clusters' gateways (B.2).

use crate::world::*;
use outrigger_cluster::Kind;
use outrigger_destination::Filter;
use outrigger_destination::index::Shared;
use outrigger_destination::mesh::Mesh;
use outrigger_model::{Endpoint, Http2KeepAlive, Http2Params, ProtocolHint, TlsIdentity};
use std::sync::Arc;
use std::time::Duration;

fn node(n: u8, zone: &str) -> String {
    let labels = format!("{{topology.kubernetes.io/zone: {zone}}}");
    format!("apiVersion: v1\nkind: Node\nmetadata: {{name: node-{n}, labels: {labels}}}")
}

fn near(zone: &str) -> Filter {
    Filter { zone: Some(zone.into()), ..Filter::default() }
}

fn localities(index: &Shared, zone: &str) -> Vec<String> {
    let found = endpoints_with(index, "legacy-app", 80, near(zone));
    found.iter().flat_map(labels).filter(|label| label.starts_with("zone")).collect()
}

#[test]
fn b_2_a_pods_zone_is_its_nodes_unless_a_label_or_the_slice_says_otherwise() {
    let index = index(&[SERVICES, &pod(1), &node(1, "west"), &node(2, "east")]);
    assert_eq!(localities(&index, "west"), ["zone=west", "zone_locality=local"]);
    assert_eq!(localities(&index, "east"), ["zone=west", "zone_locality=remote"]);
    let labelled = pod(1).replace("location: cluster,", "location: cluster, topology.kubernetes.io/zone: east,");
    apply(&index, &upserts(&labelled));
    assert_eq!(localities(&index, "east"), ["zone=east", "zone_locality=local"]);
}

#[test]
fn b_2_endpoints_of_the_clients_zone_weigh_ten_times_as_much_where_the_flag_says_so() {
    let weights = |mesh: Mesh, zone: &str| {
        let world = [SERVICES, &pod(1), &pod(2), &node(1, "west"), &node(2, "east")];
        let found = endpoints_with(&index_with(mesh, &world), "legacy-app", 80, near(zone));
        found.iter().map(|endpoint| endpoint.weight).collect::<Vec<_>>()
    };
    let flagged = || Mesh { zone_weights: true, ..mesh() };
    assert_eq!(weights(mesh(), "west"), [10_000, 10_000]);
    assert_eq!(weights(flagged(), "west"), [100_000, 10_000]);
    assert_eq!(weights(flagged(), "south"), [10_000, 10_000]);
}

#[test]
fn b_2_http2_parameters_are_those_of_the_flag_for_meshed_endpoints() {
    let (interval, timeout) = (Duration::from_secs(10), Duration::from_secs(3));
    let keep_alive = Some(Http2KeepAlive { interval, timeout, while_idle: true });
    let params = Some(Arc::new(Http2Params { keep_alive, ..Http2Params::default() }));
    let plain = pod(2).replace("linkerd.io/control-plane-ns: linkerd, ", "");
    let world = [SERVICES, VM, &pod(1), &plain];
    let of = |mesh| -> Vec<_> {
        endpoints(&index_with(mesh, &world), "legacy-app", 80).into_iter().map(|endpoint| endpoint.http2).collect()
    };
    assert_eq!(of(mesh()), [None, None, None]);
    assert_eq!(of(Mesh { http2: params.clone(), ..mesh() }), [params.clone(), params, None]);
}

/// As a mirror of another cluster writes it.
const GATEWAY: &str = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: legacy-app-east
  namespace: mixed-env
  labels: {kubernetes.io/service-name: legacy-app, mirror.linkerd.io/cluster-name: east}
  annotations:
    mirror.linkerd.io/remote-gateway-identity: linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local
    mirror.linkerd.io/remote-svc-fq-name: web.shop.svc.cluster.local
addressType: IPv4
ports: [{name: one, port: 4143}]
endpoints: [{addresses: [203.0.113.1]}]
";

#[test]
fn b_2_another_clusters_gateway_is_described_in_full() {
    let http2 = Some(Arc::new(Http2Params { adaptive_window: true, ..Http2Params::default() }));
    let with = |mesh, slice: &str| endpoints(&index_with(mesh, &[SERVICES, slice]), "legacy-app", 80);
    let found = with(Mesh { http2: http2.clone(), ..mesh() }, GATEWAY);
    let name = "linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local";
    let expected = Endpoint {
        tls: Some(TlsIdentity { id: name.parse().unwrap(), server_name: Some(name.parse().unwrap()) }),
        hint: ProtocolHint::Http2,
        authority_override: Some("web.shop.svc.cluster.local:80".into()),
        http2,
        labels: Arc::clone(&found[0].labels),
        ..Endpoint::unmeshed("203.0.113.1:4143".parse().unwrap())
    };
    assert_eq!(found, [expected]);
    let labels = labels(&found[0]);
    let expected = ["namespace=mixed-env", "service=legacy-app", "target_cluster=east", "target_service=web"];
    assert_eq!(labels[..4], expected);
    assert_eq!(labels[4..], ["target_service_namespace=shop", "zone_locality=unknown"]);

    let plain = with(Mesh { h2_upgrade: false, ..mesh() }, GATEWAY);
    assert_eq!((plain[0].hint, plain[0].tls.is_some()), (ProtocolHint::Unknown, true));
}

#[test]
fn b_2_a_gateway_whose_identity_or_service_cannot_be_told_is_left_out_and_never_unmeshed() {
    for (what, with) in [("linkerd-gateway.", "spiffe://east/"), ("web.shop", "web shop")] {
        let slice = GATEWAY.replace(what, with);
        assert_ne!(slice, GATEWAY);
        assert_eq!(endpoints(&index(&[SERVICES, &slice]), "legacy-app", 80), [], "{with}");
    }
}

#[test]
fn b_2_opaque_ports_of_a_namespace_hold_for_what_has_no_list_of_its_own() {
    let namespace = |list: &str| {
        let annotations = format!("{{config.linkerd.io/opaque-ports: '{list}'}}");
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: mixed-env, annotations: {annotations}}}")
    };
    let own = pod(2).replace("spec:", "  annotations: {config.linkerd.io/opaque-ports: '81'}\nspec:");
    let world = index(&[SERVICES, VM, &pod(1), &own, &namespace("http,25")]);
    let hints = || endpoints(&world, "legacy-app", 80).iter().map(|endpoint| endpoint.hint).collect::<Vec<_>>();
    let (opaque, http2) = (ProtocolHint::Opaque, ProtocolHint::Http2);
    assert_eq!(hints(), [opaque, opaque, http2]);
    assert!(!profile_at(&world, "10.96.1.1:80").unwrap().opaque_protocol, "no port of the Service is named http");
    assert!(profile_at(&world, "10.1.0.1:80").unwrap().opaque_protocol);
    apply(&world, &upserts(&namespace("one")));
    assert!(profile_at(&world, "10.96.1.1:80").unwrap().opaque_protocol);
    assert_eq!(hints(), [http2, http2, http2]);
    let elsewhere = namespace("80").replace("mixed-env", "elsewhere");
    assert!(!profile_at(&index(&[SERVICES, &elsewhere]), "10.96.1.1:80").unwrap().opaque_protocol);
    apply(&world, &[outrigger_cluster::Change::Delete(Kind::Namespace, outrigger_cluster::Key::cluster("mixed-env"))]);
    assert!(!profile_at(&world, "10.96.1.1:80").unwrap().opaque_protocol);
}
