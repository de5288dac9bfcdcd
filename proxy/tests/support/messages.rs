//! What a stock controller says, message by message (B.2, B.4, C.2); built by hand, so that no code of ours is on both
//! ends of the wire.

mod outbound;

use super::member::{Kind, Member};
use linkerd2_proxy_api::destination::tls_identity::{DnsLikeIdentity, Strategy, UriLikeIdentity};
use linkerd2_proxy_api::destination::{
    DestinationProfile, ProtocolHint, RetryBudget, TlsIdentity, WeightedAddr, protocol_hint,
};
use linkerd2_proxy_api::http_route::{HttpRouteMatch, PathMatch, path_match};
use linkerd2_proxy_api::inbound::authn::permit_mesh_tls::{Clients, PermitClientIdentities};
use linkerd2_proxy_api::inbound::authn::{Permit, PermitMeshTls, PermitUnauthenticated};
use linkerd2_proxy_api::inbound::proxy_protocol::{self as protocol, Kind as Protocol};
use linkerd2_proxy_api::inbound::{
    Authn, Authz, HttpRoute, Identity, IdentitySuffix, Network, ProxyProtocol, Server, http_route,
};
use linkerd2_proxy_api::meta::{Metadata, Resource, metadata};
pub(crate) use outbound::{egress_fallback, outbound_of_unknown_kind, service_policy, undefined_port_policy};
use std::net::SocketAddr;

/// An address of which the controller knows nothing.
pub(crate) fn unmeshed(addr: SocketAddr) -> WeightedAddr {
    WeightedAddr { addr: Some(addr.into()), weight: 10_000, ..WeightedAddr::default() }
}

/// A member's port as the shipped chart has it: HTTP/2 understood, transport header to 4143.
pub(crate) fn meshed(member: &Member, port: u16) -> WeightedAddr {
    meshed_at(member, member.addr(port))
}

/// As [`meshed`], at another of the member's addresses.
pub(crate) fn meshed_at(member: &Member, addr: SocketAddr) -> WeightedAddr {
    let name = |name: &str| DnsLikeIdentity { name: name.to_owned() };
    let strategy = match member.kind {
        Kind::Pod => Strategy::DnsLikeIdentity(name(member.server_name)),
        Kind::ExternalWorkload => Strategy::UriLikeIdentity(UriLikeIdentity { uri: member.id.to_owned() }),
    };
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    WeightedAddr {
        tls_identity: Some(TlsIdentity { server_name: Some(name(member.server_name)), strategy: Some(strategy) }),
        protocol_hint: Some(ProtocolHint {
            opaque_transport: Some(protocol_hint::OpaqueTransport { inbound_port: 4143 }),
            protocol: Some(protocol_hint::Protocol::H2(protocol_hint::H2 {})),
        }),
        metric_labels: [label("pod", member.name), label("zone_locality", "unknown")].into(),
        ..unmeshed(addr)
    }
}

/// A member's port in the older transport mode: TLS to the port itself, redirected at the far side.
pub(crate) fn transparent(member: &Member, port: u16) -> WeightedAddr {
    let protocol_hint = Some(ProtocolHint {
        opaque_transport: None,
        protocol: Some(protocol_hint::Protocol::H2(protocol_hint::H2 {})),
    });
    WeightedAddr { protocol_hint, ..meshed(member, port) }
}

/// An endpoint of an opaque port.
pub(crate) fn opaquely(mut endpoint: WeightedAddr) -> WeightedAddr {
    let hint = endpoint.protocol_hint.get_or_insert_default();
    hint.protocol = Some(protocol_hint::Protocol::Opaque(protocol_hint::Opaque {}));
    endpoint
}

/// A service's profile.
pub(crate) fn service_profile(name: &str, opaque: bool) -> DestinationProfile {
    DestinationProfile { fully_qualified_name: name.to_owned(), opaque_protocol: opaque, ..undeclared_port() }
}

/// The profile of an address that is no service's.
pub(crate) fn endpoint_profile(endpoint: WeightedAddr) -> DestinationProfile {
    DestinationProfile { endpoint: Some(endpoint), ..undeclared_port() }
}

/// The profile of a service's address with a port that it does not declare (B.2.6).
pub(crate) fn undeclared_port() -> DestinationProfile {
    let budget = RetryBudget { retry_ratio: 0.2, min_retries_per_second: 10, ttl: seconds(10) };
    DestinationProfile { retry_budget: Some(budget), ..DestinationProfile::default() }
}

/// The policy that an object of the cluster makes.
pub(crate) fn server(name: &str, (protocol, authorizations): (Option<Protocol>, Vec<Authz>)) -> Server {
    let labels = [("group", "policy.linkerd.io"), ("kind", "server"), ("name", name)];
    Server {
        protocol: Some(ProxyProtocol { kind: protocol }),
        authorizations,
        labels: labels.map(|(label, value)| (label.to_owned(), value.to_owned())).into(),
        ..Server::default()
    }
}

/// The policy of a port that no Server selects.
pub(crate) fn default_policy(name: &str, of: (Option<Protocol>, Vec<Authz>)) -> Server {
    let labels = [("group", ""), ("kind", "default"), ("name", name)];
    Server { labels: labels.map(|(label, value)| (label.to_owned(), value.to_owned())).into(), ..server(name, of) }
}

/// The protocol is detected, for ten seconds at most.
pub(crate) fn detect(authorizations: Vec<Authz>) -> (Option<Protocol>, Vec<Authz>) {
    let detect =
        protocol::Detect { timeout: seconds(10), http_routes: vec![default_route()], http_local_rate_limit: None };
    (Some(Protocol::Detect(detect)), authorizations)
}

/// Bytes.
pub(crate) fn opaque(authorizations: Vec<Authz>) -> (Option<Protocol>, Vec<Authz>) {
    (Some(Protocol::Opaque(protocol::Opaque {})), authorizations)
}

/// A kind that this proxy's messages do not have: on the wire an unknown field, which reads as none.
pub(crate) fn of_unknown_kind(authorizations: Vec<Authz>) -> (Option<Protocol>, Vec<Authz>) {
    (None, authorizations)
}

fn default_route() -> HttpRoute {
    let rules = vec![http_route::Rule { matches: every_path(), ..http_route::Rule::default() }];
    HttpRoute { metadata: default_named("default"), rules, ..HttpRoute::default() }
}

fn every_path() -> Vec<HttpRouteMatch> {
    let path = PathMatch { kind: Some(path_match::Kind::Prefix("/".to_owned())) };
    vec![HttpRouteMatch { path: Some(path), ..HttpRouteMatch::default() }]
}

fn default_named(name: &str) -> Option<Metadata> {
    Some(Metadata { kind: Some(metadata::Kind::Default(name.to_owned())) })
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// Admits whoever comes, from everywhere.
pub(crate) fn everyone() -> Authz {
    authorization("everyone", Permit::Unauthenticated(PermitUnauthenticated {}))
}

/// Admits whoever proves an identity.
pub(crate) fn the_meshed() -> Authz {
    let any = PermitClientIdentities { suffixes: vec![IdentitySuffix { parts: vec![] }], identities: vec![] };
    authorization("the-meshed", Permit::MeshTls(PermitMeshTls { clients: Some(Clients::Identities(any)) }))
}

/// Admits this identity.
pub(crate) fn only(id: &str) -> Authz {
    let one = PermitClientIdentities { identities: vec![Identity { name: id.to_owned() }], suffixes: vec![] };
    authorization("only", Permit::MeshTls(PermitMeshTls { clients: Some(Clients::Identities(one)) }))
}

fn authorization(name: &str, permit: Permit) -> Authz {
    let everywhere = ["0.0.0.0/0", "::/0"].map(|net| {
        let net: ipnet::IpNet = net.parse().unwrap();
        Network { net: Some(net.into()), except: vec![] }
    });
    let (group, kind) = ("policy.linkerd.io", "authorizationpolicy");
    let resource = Resource { group: group.into(), kind: kind.into(), name: name.into(), ..Resource::default() };
    Authz {
        networks: everywhere.into(),
        authentication: Some(Authn { permit: Some(permit) }),
        labels: [("group", group), ("kind", kind), ("name", name)].map(|(l, v)| (l.into(), v.into())).into(),
        metadata: Some(Metadata { kind: Some(metadata::Kind::Resource(resource)) }),
    }
}
