//! What `OutboundPolicies.Watch` says (C.3).

use super::{default_named, every_path, seconds};
use linkerd2_proxy_api::destination::WeightedAddr;
use linkerd2_proxy_api::meta::{Metadata, Resource, metadata};
use linkerd2_proxy_api::opaque_route::Forbidden;
use linkerd2_proxy_api::outbound::backend::{BalanceP2c, EndpointDiscovery, Kind as Dispatch};
use linkerd2_proxy_api::outbound::backend::{balance_p2c, endpoint_discovery};
use linkerd2_proxy_api::outbound::proxy_protocol::{Detect, Http1, Http2, Kind, Opaque};
use linkerd2_proxy_api::outbound::{
    Backend, HttpRoute, OpaqueRoute, OutboundPolicy, ProxyProtocol, Queue, http_route, opaque_route,
};

/// The policy of a Service's port without routes: everything to the Service itself.
pub(crate) fn service_policy(authority: &str, opaque: bool) -> OutboundPolicy {
    let (name, port) = authority.rsplit_once(':').unwrap();
    let resource = Resource {
        group: "core".into(),
        kind: "Service".into(),
        name: name.split('.').next().unwrap().into(),
        namespace: name.split('.').nth(1).unwrap().into(),
        port: port.parse().unwrap(),
        ..Resource::default()
    };
    let metadata = Some(Metadata { kind: Some(metadata::Kind::Resource(resource)) });
    let get = endpoint_discovery::DestinationGet { path: authority.to_owned() };
    let discovery = Some(EndpointDiscovery { kind: Some(endpoint_discovery::Kind::Dst(get)) });
    let default_rtt = Some(prost_types::Duration { seconds: 0, nanos: 30_000_000 });
    let ewma = balance_p2c::PeakEwma { default_rtt, decay: seconds(10) };
    let balancer = BalanceP2c { discovery, load: Some(balance_p2c::Load::PeakEwma(ewma)) };
    let queue = Some(Queue { capacity: 100, failfast_timeout: seconds(3) });
    let backend = Backend { metadata: metadata.clone(), queue, kind: Some(Dispatch::Balancer(balancer)) };
    let kind = if opaque { Kind::Opaque(bytes_to(backend, "opaq")) } else { Kind::Detect(all_to(&backend, "http")) };
    OutboundPolicy { protocol: Some(ProxyProtocol { kind: Some(kind) }), metadata }
}

/// The policy of an address that is neither the cluster's nor any object's.
pub(crate) fn egress_fallback(endpoint: WeightedAddr) -> OutboundPolicy {
    let metadata = default_named("egress-fallback");
    let queue = Some(Queue { capacity: 100, failfast_timeout: seconds(3) });
    let backend = Backend { metadata: metadata.clone(), queue, kind: Some(Dispatch::Forward(endpoint)) };
    let kind = Some(Kind::Detect(all_to(&backend, "egress-fallback")));
    OutboundPolicy { protocol: Some(ProxyProtocol { kind }), metadata }
}

/// The policy of a port that the Service does not declare.
pub(crate) fn undefined_port_policy() -> OutboundPolicy {
    let forbidden = opaque_route::filter::Kind::Forbidden(Forbidden {});
    let rule = opaque_route::Rule {
        backends: Some(opaque_route::Distribution {
            kind: Some(opaque_route::distribution::Kind::Empty(opaque_route::distribution::Empty {})),
        }),
        filters: vec![opaque_route::Filter { kind: Some(forbidden) }],
    };
    let route = OpaqueRoute { metadata: default_named("undefined-port"), rules: vec![rule] };
    let kind = Some(Kind::Opaque(Opaque { routes: vec![route] }));
    OutboundPolicy { protocol: Some(ProxyProtocol { kind }), metadata: default_named("undefined-port") }
}

/// A kind that this proxy's messages do not have.
pub(crate) fn outbound_of_unknown_kind() -> OutboundPolicy {
    OutboundPolicy { protocol: Some(ProxyProtocol { kind: None }), metadata: default_named("new-kind") }
}

fn all_to(backend: &Backend, name: &str) -> Detect {
    let to_it = http_route::RouteBackend { backend: Some(backend.clone()), ..http_route::RouteBackend::default() };
    let first = http_route::distribution::FirstAvailable { backends: vec![to_it] };
    let kind = Some(http_route::distribution::Kind::FirstAvailable(first));
    let backends = Some(http_route::Distribution { kind });
    let rules = vec![http_route::Rule { matches: every_path(), backends, ..http_route::Rule::default() }];
    let routes = vec![HttpRoute { metadata: default_named(name), hosts: vec![], rules }];
    Detect {
        timeout: seconds(10),
        opaque: Some(bytes_to(backend.clone(), name)),
        http1: Some(Http1 { routes: routes.clone(), failure_accrual: None }),
        http2: Some(Http2 { routes, failure_accrual: None }),
    }
}

fn bytes_to(backend: Backend, name: &str) -> Opaque {
    let to_it = opaque_route::RouteBackend { backend: Some(backend), ..opaque_route::RouteBackend::default() };
    let first = opaque_route::distribution::FirstAvailable { backends: vec![to_it] };
    let kind = Some(opaque_route::distribution::Kind::FirstAvailable(first));
    let rule = opaque_route::Rule { backends: Some(opaque_route::Distribution { kind }), filters: vec![] };
    Opaque { routes: vec![OpaqueRoute { metadata: default_named(name), rules: vec![rule] }] }
}
