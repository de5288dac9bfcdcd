use super::*;
use crate::any::{grpc_filter, grpc_match, hosts, http_filter, http_match, object, text};
use linkerd2_proxy_api::grpc_route::{GrpcRouteMatch, GrpcRpcMatch};
use linkerd2_proxy_api::http_route as route;
use linkerd2_proxy_api::inbound::authn::permit_mesh_tls::{Clients, PermitClientIdentities};
use linkerd2_proxy_api::inbound::authn::{Permit, PermitMeshTls, PermitUnauthenticated};
use linkerd2_proxy_api::inbound::http_local_rate_limit::r#override::ClientIdentities;
use linkerd2_proxy_api::inbound::http_local_rate_limit::{Limit, Override};
use linkerd2_proxy_api::inbound::{Authn, Authz, HttpLocalRateLimit, Identity, IdentitySuffix, Network};
use linkerd2_proxy_api::meta::Metadata;
use outrigger_model::{
    Authentication, Authorization, Filter, IdentityMatch, Meta, NetworkMatch, PathMatch, RateOverride, Ratio, Redirect,
    RouteMatch, RouteRule,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

fn server(kind: wire::Kind) -> inbound::Server {
    inbound::Server {
        protocol: Some(inbound::ProxyProtocol { kind: Some(kind) }),
        labels: authorization::labels(&Meta::object("policy.linkerd.io", "server", "", "srv")),
        ..inbound::Server::default()
    }
}

fn opaque() -> inbound::Server {
    server(wire::Kind::Opaque(wire::Opaque {}))
}

fn everywhere() -> Network {
    Network { net: Some("0.0.0.0/0".parse::<ipnet::IpNet>().unwrap().into()), except: vec![] }
}

fn authz(permit: Option<Permit>) -> Authz {
    Authz {
        networks: vec![everywhere()],
        authentication: Some(Authn { permit }),
        labels: HashMap::new(),
        metadata: Some(Metadata { kind: Some(linkerd2_proxy_api::meta::metadata::Kind::Default("d".into())) }),
    }
}

fn admits(identities: &[&str], suffixes: &[&[&str]]) -> Authz {
    let identities = identities.iter().map(|&name| Identity { name: name.into() }).collect();
    let suffixes =
        suffixes.iter().map(|parts| IdentitySuffix { parts: parts.iter().map(|&p| p.into()).collect() }).collect();
    let clients = Some(Clients::Identities(PermitClientIdentities { identities, suffixes }));
    authz(Some(Permit::MeshTls(PermitMeshTls { clients })))
}

fn refusal(message: inbound::Server) -> String {
    policy_from_proto(message).unwrap_err().to_string()
}

fn refused_authz(authz: Authz) -> String {
    refusal(inbound::Server { authorizations: vec![authz], ..opaque() })
}

fn identities(authz: Authz) -> Vec<IdentityMatch> {
    let policy = policy_from_proto(inbound::Server { authorizations: vec![authz], ..opaque() }).unwrap();
    match &policy.authorizations[0].authentication {
        Authentication::TlsAuthenticated(matches) => matches.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn c_2_what_is_not_understood_is_an_error() {
    let unauthenticated = || Some(Permit::Unauthenticated(PermitUnauthenticated {}));
    assert_eq!(
        refusal(inbound::Server { protocol: None, ..opaque() }),
        "protocol.kind: it is missing or of an unknown kind"
    );
    let no_kind = Some(inbound::ProxyProtocol { kind: None });
    assert!(refusal(inbound::Server { protocol: no_kind, ..opaque() }).starts_with("protocol.kind: "));
    assert!(refusal(inbound::Server { labels: HashMap::new(), ..opaque() }).starts_with("labels.name: "));
    assert!(refusal(server(wire::Kind::Detect(wire::Detect::default()))).starts_with("protocol.detect.timeout: "));
    assert!(refused_authz(authz(None)).starts_with("authorizations[0].authentication.permit: "));
    let no_authentication = Authz { authentication: None, ..authz(unauthenticated()) };
    assert!(refused_authz(no_authentication).starts_with("authorizations[0].authentication.permit: "));
    let no_clients = Some(Permit::MeshTls(PermitMeshTls { clients: None }));
    assert!(refused_authz(authz(no_clients)).starts_with("authorizations[0].authentication.mesh_tls.clients: "));
    let nowhere = Authz { networks: vec![], ..authz(unauthenticated()) };
    assert!(refused_authz(nowhere).starts_with("authorizations[0].networks: "));
    let mut long = everywhere();
    long.net.as_mut().unwrap().prefix_len = 33;
    let bad_cidr = Authz { networks: vec![everywhere(), long.clone()], ..authz(unauthenticated()) };
    assert!(refused_authz(bad_cidr).starts_with("authorizations[0].networks[1].net.ip: "));
    let bad_except = Network { except: vec![long.net.unwrap()], ..everywhere() };
    let bad_except = Authz { networks: vec![bad_except], ..authz(unauthenticated()) };
    assert!(refused_authz(bad_except).starts_with("authorizations[0].networks[0].except[0].ip: "));
    assert!(refused_authz(admits(&["spiffe:///*"], &[])).contains("SPIFFE id"));
    assert!(refused_authz(admits(&["*/*"], &[])).contains("SPIFFE id"));
    assert!(refused_authz(admits(&[], &[&[""]])).contains("DNS name"));
}

#[test]
fn a_3_3_every_form_of_identity_has_its_meaning() {
    assert_eq!(identities(admits(&[], &[&[]])), [IdentityMatch::Any]);
    assert_eq!(identities(admits(&["spiffe://td/vm"], &[])), [IdentityMatch::Exact("spiffe://td/vm".into())]);
    assert_eq!(identities(admits(&["Web.NS.example."], &[])), [IdentityMatch::Exact("web.ns.example".into())]);
    assert_eq!(identities(admits(&[], &[&["ns", "example"]])), [IdentityMatch::DnsSuffix("ns.example".into())]);
    assert_eq!(identities(admits(&["spiffe://td/ns/*"], &[])), [IdentityMatch::SpiffePrefix("spiffe://td/ns".into())]);
    assert_eq!(identities(admits(&["spiffe://td/*"], &[])), [IdentityMatch::SpiffePrefix("spiffe://td".into())]);
    assert_eq!(identities(admits(&["*"], &[])), [IdentityMatch::Exact("*".into())], "it is no wildcard here");
    assert_eq!(identities(admits(&[], &[])), [], "nobody");
}

#[test]
fn a_3_4_a_rate_limit_is_read_from_every_protocol_that_has_one() {
    let limit = Some(HttpLocalRateLimit { total: Some(per_second(5)), ..HttpLocalRateLimit::default() });
    let limited = |kind| policy_from_proto(server(kind)).unwrap().rate_limit.and_then(|limit| limit.total);
    let timeout = Some(prost_types::Duration { seconds: 10, nanos: 0 });
    let detect = wire::Detect { timeout, http_local_rate_limit: limit.clone(), ..wire::Detect::default() };
    assert_eq!(limited(wire::Kind::Detect(detect)), NonZeroU32::new(5));
    let http1 = wire::Http1 { local_rate_limit: limit.clone(), ..wire::Http1::default() };
    assert_eq!(limited(wire::Kind::Http1(http1)), NonZeroU32::new(5));
    let http2 = wire::Http2 { local_rate_limit: limit, ..wire::Http2::default() };
    assert_eq!(limited(wire::Kind::Http2(http2)), NonZeroU32::new(5));
    assert_eq!(limited(wire::Kind::Http1(wire::Http1::default())), None);
}

#[test]
fn a_3_4_zero_is_no_limit_and_clients_are_named_as_certificates_name_them() {
    let clients = |name: &str| Some(ClientIdentities { identities: vec![Identity { name: name.into() }] });
    let local_rate_limit = Some(HttpLocalRateLimit {
        metadata: None,
        total: Some(per_second(0)),
        identity: Some(per_second(1)),
        overrides: vec![
            Override { limit: Some(per_second(0)), clients: clients("a.example") },
            Override { limit: Some(per_second(2)), clients: clients("VM.Example.") },
        ],
    });
    let kind = wire::Kind::Http1(wire::Http1 { local_rate_limit, ..wire::Http1::default() });
    let limit = policy_from_proto(server(kind)).unwrap().rate_limit.unwrap();
    assert_eq!((limit.total, limit.identity), (None, NonZeroU32::new(1)));
    let two = NonZeroU32::new(2).unwrap();
    assert_eq!(limit.overrides, [RateOverride { limit: two, clients: [Arc::from("vm.example")].into() }]);
}

fn per_second(requests_per_second: u32) -> Limit {
    Limit { requests_per_second }
}

#[test]
fn c_2_filters_that_cannot_be_said_refuse() {
    let filter = |kind| {
        let rule = inbound::http_route::Rule { filters: vec![inbound::http_route::Filter { kind }], matches: vec![] };
        let route =
            inbound::HttpRoute { metadata: authz(None).metadata, rules: vec![rule], ..inbound::HttpRoute::default() };
        let policy =
            policy_from_proto(server(wire::Kind::Http1(wire::Http1 { routes: vec![route], ..wire::Http1::default() })))
                .unwrap();
        match policy.protocol {
            InboundProtocol::Http1 { routes } => routes[0].rules[0].filters[0].clone(),
            other => panic!("{other:?}"),
        }
    };
    use inbound::http_route::filter::Kind;
    assert_eq!(filter(None), Filter::Unknown);
    let half = Some(route::Ratio { numerator: 1, denominator: 2 });
    let fail = |ratio| route::HttpFailureInjector { status: 503, message: "m".into(), ratio };
    let fails = |ratio| Filter::Fail { status: 503, message: "m".into(), ratio };
    assert_eq!(filter(Some(Kind::FailureInjector(fail(half)))), fails(Ratio { numerator: 1, denominator: 2 }));
    assert_eq!(filter(Some(Kind::FailureInjector(fail(None)))), fails(Ratio::ALL));
    let prefix = Some(route::path_modifier::Replace::Prefix("/new".into()));
    let redirect = |replace| route::RequestRedirect {
        path: Some(route::PathModifier { replace }),
        ..route::RequestRedirect::default()
    };
    assert_eq!(filter(Some(Kind::Redirect(redirect(prefix)))), Filter::Unknown);
    assert_eq!(filter(Some(Kind::Redirect(redirect(None)))), Filter::Unknown);
    let full = Some(route::path_modifier::Replace::Full("/new".into()));
    let moved = Redirect { path: Some("/new".into()), status: 301, ..Redirect::default() };
    assert_eq!(filter(Some(Kind::Redirect(redirect(full)))), Filter::Redirect(moved));
}

#[test]
fn c_2_grpc_methods_are_paths() {
    let path = |service: &str, method: &str| {
        let rpc = Some(GrpcRpcMatch { service: service.into(), method: method.into() });
        let matches = vec![GrpcRouteMatch { rpc, headers: vec![] }];
        let rule = inbound::grpc_route::Rule { matches, filters: vec![] };
        let route =
            inbound::GrpcRoute { metadata: authz(None).metadata, rules: vec![rule], ..inbound::GrpcRoute::default() };
        let policy = policy_from_proto(server(wire::Kind::Grpc(wire::Grpc { routes: vec![route] }))).unwrap();
        match policy.protocol {
            InboundProtocol::Grpc { routes } => routes[0].rules[0].matches[0].path.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(path("", ""), None);
    assert_eq!(path("a.B", ""), Some(PathMatch::Prefix("/a.B".into())));
    assert_eq!(path("a.B", "Do"), Some(PathMatch::Exact("/a.B/Do".into())));
    assert_eq!(path("", "D.o"), Some(PathMatch::Regex(r"/[^/]+/D\.o".into())));
}

#[test]
fn c_2_a_grpc_port_with_an_http_route_is_sent_as_http2() {
    let get = RouteMatch { method: Some("GET".into()), ..RouteMatch::default() };
    let rule = RouteRule { matches: vec![get], filters: vec![] };
    let route = InboundRoute {
        meta: Meta::object("policy.linkerd.io", "HTTPRoute", "ns", "r"),
        hosts: vec![],
        authorizations: Arc::default(),
        rules: vec![rule],
    };
    let policy = InboundPolicy {
        meta: Meta::object("policy.linkerd.io", "server", "", "srv"),
        protocol: InboundProtocol::Grpc { routes: [route.clone()].into() },
        authorizations: Arc::default(),
        rate_limit: None,
    };
    let received = policy_from_proto(policy_to_proto(&policy)).unwrap();
    assert_eq!(received.protocol, InboundProtocol::Http2 { routes: [route].into() });
}

#[test]
fn c_2_an_authorization_without_networks_does_not_spoil_the_message() {
    let nowhere = Authorization {
        meta: Meta::default_named("d"),
        networks: Arc::default(),
        authentication: Authentication::Unauthenticated,
    };
    let policy = InboundPolicy {
        meta: Meta::default_named("d"),
        protocol: InboundProtocol::Opaque,
        authorizations: [nowhere].into(),
        rate_limit: None,
    };
    assert_eq!(policy_to_proto(&policy).authorizations, []);
}

fn net() -> impl Strategy<Value = ipnet::IpNet> {
    prop_oneof![
        (any::<[u8; 4]>(), 0u8..=32).prop_map(|(ip, len)| ipnet::IpNet::new(ip.into(), len).unwrap()),
        (any::<[u8; 16]>(), 0u8..=128).prop_map(|(ip, len)| ipnet::IpNet::new(ip.into(), len).unwrap()),
    ]
}

fn authentication() -> impl Strategy<Value = Authentication> {
    // A message keeps identities and suffixes in lists of their own, in this order.
    let identity = prop_oneof![
        "spiffe://td(/[a-z]{1,3}){0,3}".prop_map(|s| IdentityMatch::Exact(s.into())),
        "[a-z]{1,3}(\\.[a-z]{1,3}){0,3}".prop_map(|s| IdentityMatch::Exact(s.into())),
        "spiffe://td(/[a-z]{1,3}){0,3}".prop_map(|s| IdentityMatch::SpiffePrefix(s.into())),
    ];
    let suffix = prop_oneof![
        Just(IdentityMatch::Any),
        "[a-z]{1,3}(\\.[a-z]{1,3}){0,3}".prop_map(|s| IdentityMatch::DnsSuffix(s.into())),
    ];
    prop_oneof![
        Just(Authentication::Unauthenticated),
        Just(Authentication::TlsUnauthenticated),
        (vec(identity, 0..3), vec(suffix, 0..3))
            .prop_map(|(ids, suffixes)| Authentication::TlsAuthenticated(ids.into_iter().chain(suffixes).collect())),
    ]
}

fn authorizations() -> impl Strategy<Value = Arc<[Authorization]>> {
    let network = (net(), vec(net(), 0..2)).prop_map(|(net, except)| NetworkMatch { net, except });
    let meta = prop_oneof![object("authorizationpolicy"), text("[a-z-]{1,6}").prop_map(|n| Meta::default_named(&n))];
    let one = (meta, vec(network, 1..3), authentication()).prop_map(|(meta, networks, authentication)| Authorization {
        meta,
        networks: networks.into(),
        authentication,
    });
    vec(one, 0..3).prop_map(Into::into)
}

fn routes(
    matched: impl Strategy<Value = RouteMatch>,
    filter: impl Strategy<Value = Filter>,
) -> impl Strategy<Value = Arc<[InboundRoute]>> {
    let filter = prop_oneof![4 => filter, 1 => Just(Filter::Unknown)];
    let rule = (vec(matched, 0..3), vec(filter, 0..2)).prop_map(|(matches, filters)| RouteRule { matches, filters });
    let route = (object("HTTPRoute"), hosts(), authorizations(), vec(rule, 0..3))
        .prop_map(|(meta, hosts, authorizations, rules)| InboundRoute { meta, hosts, authorizations, rules });
    vec(route, 0..3).prop_map(Into::into)
}

fn rate_limit() -> impl Strategy<Value = RateLimit> {
    let limit = || (1u32..).prop_filter_map("zero", NonZeroU32::new);
    let one = (limit(), vec(text("spiffe://td/[a-z]{1,3}"), 0..3))
        .prop_map(|(limit, clients)| RateOverride { limit, clients: clients.into() });
    (object("HTTPLocalRateLimitPolicy"), option::of(limit()), option::of(limit()), vec(one, 0..3))
        .prop_map(|(meta, total, identity, overrides)| RateLimit { meta, total, identity, overrides })
}

fn protocol() -> impl Strategy<Value = InboundProtocol> {
    prop_oneof![
        (0u64..100, 0u32..1000, routes(http_match(), http_filter())).prop_map(|(secs, millis, routes)| {
            let timeout = Duration::from_secs(secs) + Duration::from_millis(millis.into());
            InboundProtocol::Detect { timeout, routes }
        }),
        routes(http_match(), http_filter()).prop_map(|routes| InboundProtocol::Http1 { routes }),
        routes(http_match(), http_filter()).prop_map(|routes| InboundProtocol::Http2 { routes }),
        routes(grpc_match(), grpc_filter()).prop_map(|routes| InboundProtocol::Grpc { routes }),
        Just(InboundProtocol::Opaque),
        Just(InboundProtocol::Tls),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn c_2_what_the_model_says_survives_the_wire(
        name in "[a-z-]{1,6}", by_object: bool, protocol in protocol(), authorizations in authorizations(),
        rate_limit in option::of(rate_limit()),
    ) {
        let meta = match by_object {
            true => Meta::object("policy.linkerd.io", "server", "", &name),
            false => Meta::default_named(&name),
        };
        // Neither bytes nor a gRPC message can be limited.
        let limitable = !matches!(
            protocol, InboundProtocol::Opaque | InboundProtocol::Tls | InboundProtocol::Grpc { .. }
        );
        let rate_limit = rate_limit.filter(|_| limitable);
        let policy = InboundPolicy { meta, protocol, authorizations, rate_limit };
        let bytes = prost::Message::encode_to_vec(&policy_to_proto(&policy));
        let message: inbound::Server = prost::Message::decode(&*bytes).unwrap();
        prop_assert_eq!(policy_from_proto(message), Ok(policy));
    }
}
