//! What controllers have sent stays understood: recorded messages, decoded with today's code.
#![expect(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use linkerd2_proxy_api::{destination as pb, inbound};
use outrigger_api::destination::{
    DestinationUpdate, change_to_updates, no_endpoints, profile_from_proto, profile_to_proto, update_from_proto,
};
use outrigger_api::inbound::{policy_from_proto, policy_to_proto};
use outrigger_model::{
    Authentication, Authorization, Endpoint, EndpointChange, Filter, HeaderMatch, HeaderModifier, HostMatch,
    Http2KeepAlive, Http2Params, IdentityMatch, InboundPolicy, InboundProtocol, InboundRoute, Labels, Meta,
    NetworkMatch, PathMatch, Profile, ProfileRoute, ProtocolHint, RequestMatch, ResponseClass, ResponseMatch,
    RetryBudget, RouteMatch, RouteRule, TlsIdentity, ValueMatch, WeightedAuthority,
};
use outrigger_testkit::recorded;
use prost::Message;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The recorded messages of a file; where there is none yet, `now` is recorded.
fn messages<M: Message + Default>(file: &str, what: &str, now: impl FnOnce() -> Vec<M>) -> Vec<M> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(file);
    let now = || now().iter().map(Message::encode_to_vec).collect();
    recorded(&file, what, now).unwrap().iter().map(|bytes| M::decode(&bytes[..]).unwrap()).collect()
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn tls(id: &str, server_name: &str) -> Option<TlsIdentity> {
    Some(TlsIdentity { id: id.parse().unwrap(), server_name: Some(server_name.parse().unwrap()) })
}

/// A pod, a VM, another cluster's gateway and an address of which nothing is known.
fn endpoints() -> Vec<Endpoint> {
    let sa = "legacy.mixed-env.serviceaccount.identity.linkerd.cluster.local";
    let (interval, timeout) = (Duration::from_secs(10), Duration::from_secs(3));
    let keep_alive = Some(Http2KeepAlive { interval, timeout, while_idle: true });
    let http2 = Some(Arc::new(Http2Params { keep_alive, stream_window: Some(65_535), ..Http2Params::default() }));
    let pod = Endpoint {
        tls: tls(sa, sa),
        hint: ProtocolHint::Http2,
        inbound_port: Some(4143),
        http2,
        labels: Arc::new(labels(&[("pod", "legacy-app-1"), ("zone", "west"), ("zone_locality", "local")])),
        resource: Some(Meta::object("core", "Pod", "mixed-env", "legacy-app-1")),
        ..Endpoint::unmeshed("10.1.0.1:80".parse().unwrap())
    };
    let vm = Endpoint {
        tls: tls("spiffe://root.linkerd.cluster.local/external-workload", "external-workload.cluster.local"),
        hint: ProtocolHint::Opaque,
        inbound_port: Some(4143),
        weight: 100_000,
        labels: Arc::new(labels(&[("external_workload", "external-workload")])),
        ..Endpoint::unmeshed("[fd00::9]:3306".parse().unwrap())
    };
    let gateway = Endpoint {
        tls: tls("linkerd-gateway.example", "linkerd-gateway.example"),
        authority_override: Some("web.shop.svc.cluster.local:80".into()),
        ..Endpoint::unmeshed("203.0.113.1:4143".parse().unwrap())
    };
    vec![pod, vm, gateway, Endpoint::unmeshed("192.0.2.7:443".parse().unwrap())]
}

#[test]
fn b_2_recorded_updates_are_still_understood() {
    let set = labels(&[("namespace", "mixed-env"), ("service", "legacy-app")]);
    let removals = vec!["10.1.0.1:80".parse().unwrap(), "[fd00::9]:3306".parse().unwrap()];
    let change = EndpointChange { upserts: endpoints(), removals: removals.clone() };
    let now = || {
        let mut updates = change_to_updates(&change, &set);
        updates.extend([no_endpoints(true), no_endpoints(false)]);
        updates
    };
    let what =
        "Destination.Get: Update, four of them: add, remove, no_endpoints that exists, no_endpoints that does not";
    let updates = messages::<pb::Update>("get.hex", what, now);
    let read: Vec<_> = updates.into_iter().map(|update| update_from_proto(update).unwrap()).collect();
    let joined = |endpoint: Endpoint| {
        let labels = set.iter().chain(endpoint.labels.iter()).map(|(name, value)| (name.clone(), value.clone()));
        Endpoint { labels: Arc::new(labels.collect()), ..endpoint }
    };
    let expected = [
        DestinationUpdate::Add { endpoints: endpoints().into_iter().map(joined).collect(), refused: Vec::new() },
        DestinationUpdate::Remove(removals),
        DestinationUpdate::NoEndpoints { exists: true },
        DestinationUpdate::NoEndpoints { exists: false },
    ];
    assert_eq!(read, expected);
}

fn profiles() -> Vec<Profile> {
    let statuses = |min, max| ResponseMatch::Status(min..=max);
    let failure = ResponseMatch::All(vec![statuses(500, 599), ResponseMatch::Not(Box::new(statuses(503, 503)))]);
    let books = RequestMatch::All(vec![RequestMatch::Method("GET".into()), RequestMatch::Path("/books/.*".into())]);
    let rest = RequestMatch::Any(vec![RequestMatch::Method("BREW".into()), RequestMatch::Not(Box::new(books.clone()))]);
    let route = |name: &str, condition| ProfileRoute {
        condition,
        labels: Arc::new(labels(&[("route", name)])),
        response_classes: Vec::new(),
        retryable: false,
        timeout: None,
    };
    let books = ProfileRoute {
        response_classes: vec![ResponseClass { condition: failure, failure: true }],
        retryable: true,
        timeout: Some(Duration::from_millis(300)),
        ..route("books", books)
    };
    let to = |authority: &str, weight| WeightedAuthority { authority: authority.into(), weight };
    let service = Profile {
        service: Some("legacy-app.mixed-env.svc.cluster.local".into()),
        routes: [books, route("rest", rest)].into(),
        retry_budget: Some(RetryBudget { ratio: 0.5, min_per_second: 3, ttl: Duration::from_secs(15) }),
        overrides: [to("web-v1.shop.svc.cluster.local:80", 9_000), to("web-v2.shop.svc.cluster.local:80", 1_000)]
            .into(),
        parent: Some(Meta::object("core", "Service", "mixed-env", "legacy-app").at_port(80)),
        source: Some(Meta::object("linkerd.io", "ServiceProfile", "shop", "legacy-app.mixed-env.svc.cluster.local")),
        ..Profile::default()
    };
    let endpoint = Profile {
        opaque: true,
        endpoint: endpoints().into_iter().next(),
        retry_budget: Some(RetryBudget::DEFAULT),
        ..Profile::default()
    };
    vec![service, endpoint]
}

#[test]
fn b_4_recorded_profiles_are_still_understood() {
    let now = || profiles().iter().map(profile_to_proto).collect();
    let what = "Destination.GetProfile: DestinationProfile, two of them: of a service with a ServiceProfile, of a pod";
    let read = messages::<pb::DestinationProfile>("get-profile.hex", what, now);
    assert_eq!(read.into_iter().map(|profile| profile_from_proto(profile).unwrap()).collect::<Vec<_>>(), profiles());
}

/// A Server with a route and authorizations of every kind, the default, and what denies.
fn policies() -> Vec<InboundPolicy> {
    let object = |kind: &str, name: &str| Meta::object("policy.linkerd.io", kind, "", name);
    let net = |net: &str| NetworkMatch::all_of(net.parse().unwrap());
    let excepting = NetworkMatch { except: vec!["10.1.0.0/16".parse().unwrap()], ..net("10.0.0.0/8") };
    let authorization = |name: &str, networks: Vec<NetworkMatch>, authentication| Authorization {
        meta: Meta::object("policy.linkerd.io", "authorizationpolicy", "mixed-env", name),
        networks: networks.into(),
        authentication,
    };
    let identities = [
        IdentityMatch::Exact("web.shop.serviceaccount.identity.linkerd.cluster.local".into()),
        IdentityMatch::Exact("spiffe://root.linkerd.cluster.local/vm".into()),
        IdentityMatch::SpiffePrefix("spiffe://root.linkerd.cluster.local/ns/shop".into()),
        IdentityMatch::DnsSuffix("shop.serviceaccount.identity.linkerd.cluster.local".into()),
    ];
    let header = HeaderMatch { name: "x-env".into(), value: ValueMatch::Exact("prod".into()) };
    let matched = RouteMatch {
        path: Some(PathMatch::Prefix("/books".into())),
        headers: vec![header],
        method: Some("GET".into()),
        ..RouteMatch::default()
    };
    let modifier = HeaderModifier { set: vec![("x-seen".into(), "yes".into())], ..HeaderModifier::default() };
    let route = InboundRoute {
        meta: Meta::object("policy.linkerd.io", "httproute", "mixed-env", "books"),
        hosts: vec![HostMatch::Suffix("example.com".into())],
        authorizations: [authorization("probes", vec![net("0.0.0.0/0")], Authentication::Unauthenticated)].into(),
        rules: vec![RouteRule { matches: vec![matched], filters: vec![Filter::RequestHeaders(modifier)] }],
    };
    let authorizations = [
        authorization("named", vec![excepting], Authentication::TlsAuthenticated(identities.into())),
        authorization("anybody", vec![net("fd00::/8")], Authentication::TlsAuthenticated([IdentityMatch::Any].into())),
        authorization("tls", vec![net("::/0")], Authentication::TlsUnauthenticated),
    ];
    let policy = |meta, protocol, authorizations: &[Authorization]| InboundPolicy {
        meta,
        protocol,
        authorizations: authorizations.into(),
        rate_limit: None,
    };
    let open = Authorization {
        meta: Meta::default_named("all-unauthenticated"),
        networks: [net("0.0.0.0/0"), net("::/0")].into(),
        authentication: Authentication::Unauthenticated,
    };
    let detect = InboundProtocol::Detect { timeout: Duration::from_secs(10), routes: [].into() };
    vec![
        policy(object("server", "web"), InboundProtocol::Http1 { routes: [route].into() }, &authorizations),
        policy(Meta::default_named("all-unauthenticated"), detect, &[open]),
        policy(object("server", "mysql"), InboundProtocol::Opaque, &[]),
        policy(object("server", "tls"), InboundProtocol::Tls, &[]),
    ]
}

#[test]
fn c_2_recorded_policies_are_still_understood() {
    let now = || policies().iter().map(policy_to_proto).collect();
    let what = "InboundServerPolicies.WatchPort: Server, four of them: a Server of HTTP/1, the default, an opaque Server \
                and one of TLS that admit nobody";
    let read = messages::<inbound::Server>("watch-port.hex", what, now);
    assert_eq!(read.into_iter().map(|server| policy_from_proto(server).unwrap()).collect::<Vec<_>>(), policies());
}
