use super::profile::{budget_from_proto, override_from_proto, route_from_proto};
use super::*;
use crate::any::object;
use outrigger_model::{
    Http2KeepAlive, Http2Params, Profile, ProfileRoute, RequestMatch, ResponseClass, ResponseMatch, RetryBudget,
    WeightedAuthority,
};
use pb::tls_identity::Strategy;
use proptest::prelude::*;
use proptest::strategy::Strategy as Generator;
use std::time::Duration;

fn identity() -> impl Generator<Value = TlsIdentity> {
    let name = || "[a-z]{1,8}(\\.[a-z0-9_]{1,8}){0,3}".prop_map(|name| name.parse::<DnsName>().unwrap());
    let dns = (name(), proptest::option::of(name())).prop_map(|(id, sni)| TlsIdentity {
        server_name: Some(sni.unwrap_or_else(|| id.clone())),
        id: Identity::Dns(id),
    });
    let spiffe = ("[a-z]{1,8}", "(/[a-zA-Z0-9._-]{0,5}[a-z]){0,3}", proptest::option::of(name()))
        .prop_map(|(td, path, server_name)| (format!("spiffe://{td}{path}"), server_name))
        .prop_map(|(id, server_name)| TlsIdentity { id: id.parse().unwrap(), server_name });
    prop_oneof![dns, spiffe]
}

fn labels() -> impl Generator<Value = Labels> {
    proptest::collection::btree_map("[a-z]{1,4}".prop_map(Arc::from), "[a-z]{0,4}".prop_map(Arc::from), 0..4)
}

fn address() -> impl Generator<Value = SocketAddr> {
    (any::<IpAddr>(), 1..=u16::MAX).prop_map(SocketAddr::from)
}

prop_compose! {
    fn endpoint()(
        addr in address(),
        weight in prop_oneof![Just(0), Just(Endpoint::WEIGHT), any::<u32>()],
        tls in proptest::option::of(identity()),
        hint in prop_oneof![Just(ProtocolHint::Unknown), Just(ProtocolHint::Http2), Just(ProtocolHint::Opaque)],
        inbound_port in proptest::option::of(1..=u16::MAX),
        authority in proptest::option::of("[a-z]{1,8}:[1-9][0-9]{0,3}"),
        (http2, labels) in (proptest::option::of(http2().prop_map(Arc::new)), labels().prop_map(Arc::new)),
        resource in proptest::option::of(object("Pod")),
    ) -> Endpoint {
        let authority_override = authority.map(Arc::from);
        Endpoint { addr, weight, tls, hint, inbound_port, authority_override, http2, labels, resource }
    }
}

prop_compose! {
    fn http2()(
        sizes in proptest::array::uniform5(proptest::option::of(1u32..)),
        adaptive_window in any::<bool>(),
        keep_alive in proptest::option::of((duration(), duration(), any::<bool>())),
    ) -> Http2Params {
        Http2Params {
            connection_window: sizes[0],
            stream_window: sizes[1],
            adaptive_window,
            keep_alive: keep_alive.map(|(interval, timeout, while_idle)| Http2KeepAlive { interval, timeout, while_idle }),
            max_concurrent_reset_streams: sizes[2],
            max_frame_size: sizes[3],
            max_send_buffer: sizes[4],
        }
    }
}

fn duration() -> impl Generator<Value = Duration> {
    (0..100u64, 0..1_000_000_000u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
}

fn request() -> impl Generator<Value = RequestMatch> {
    let one = prop_oneof![
        "/[a-z.*]{0,4}".prop_map(|path| RequestMatch::Path(path.into())),
        "GET|POST|[A-Z]{1,5}".prop_map(|method| RequestMatch::Method(method.into())),
    ];
    one.prop_recursive(3, 8, 3, |inner| {
        let some = || proptest::collection::vec(inner.clone(), 0..3);
        prop_oneof![
            some().prop_map(RequestMatch::All),
            some().prop_map(RequestMatch::Any),
            inner.clone().prop_map(|not| RequestMatch::Not(Box::new(not))),
        ]
    })
}

fn response() -> impl Generator<Value = ResponseMatch> {
    let one = (100..600u16, 0..100u16).prop_map(|(min, more)| ResponseMatch::Status(min..=min + more));
    one.prop_recursive(3, 8, 3, |inner| {
        let some = || proptest::collection::vec(inner.clone(), 0..3);
        prop_oneof![
            some().prop_map(ResponseMatch::All),
            some().prop_map(ResponseMatch::Any),
            inner.clone().prop_map(|not| ResponseMatch::Not(Box::new(not))),
        ]
    })
}

prop_compose! {
    fn route()(
        condition in request(),
        labels in labels(),
        classes in proptest::collection::vec((response(), any::<bool>()), 0..3),
        retryable in any::<bool>(),
        timeout in proptest::option::of(duration()),
    ) -> ProfileRoute {
        let class = |(condition, failure)| ResponseClass { condition, failure };
        let response_classes = classes.into_iter().map(class).collect();
        ProfileRoute { condition, labels: Arc::new(labels), response_classes, retryable, timeout }
    }
}

prop_compose! {
    fn profile()(
        service in proptest::option::of("[a-z]{1,8}\\.svc".prop_map(Arc::from)),
        opaque in any::<bool>(),
        endpoint in proptest::option::of(endpoint()),
        routes in proptest::collection::vec(route(), 0..3),
        budget in proptest::option::of((0f32..=1000.0, any::<u32>(), 1..=60u64)),
        overrides in proptest::collection::vec(("[a-z]{1,4}\\.svc:[1-9]", 1u32..), 0..3),
        (parent, source) in (proptest::option::of(object("Service")), proptest::option::of(object("ServiceProfile"))),
    ) -> Profile {
        let budget = budget.map(|(ratio, min_per_second, ttl)| {
            RetryBudget { ratio, min_per_second, ttl: Duration::from_secs(ttl) }
        });
        let to = |(authority, weight): (String, u32)| WeightedAuthority { authority: authority.into(), weight };
        let overrides = overrides.into_iter().map(to).collect();
        Profile { service, opaque, endpoint, routes: routes.into(), retry_budget: budget, overrides, parent, source }
    }
}

proptest! {
    #[test]
    fn b_2_an_endpoint_survives_the_wire(endpoint in endpoint()) {
        prop_assert_eq!(endpoint_from_proto(endpoint_to_proto(&endpoint), &HashMap::new()), Ok(endpoint));
    }

    #[test]
    fn b_2_a_change_survives_the_wire(
        upserts in proptest::collection::vec(endpoint(), 0..5),
        removals in proptest::collection::vec(address(), 0..5),
    ) {
        let change = EndpointChange { upserts, removals };
        let mut read = EndpointChange::default();
        for update in change_to_updates(&change, &Labels::new()) {
            match update_from_proto(update).unwrap() {
                DestinationUpdate::Add { endpoints, refused } => {
                    prop_assert_eq!(refused, []);
                    prop_assert!(read.removals.is_empty(), "what is new comes first");
                    read.upserts.extend(endpoints);
                }
                DestinationUpdate::Remove(addrs) => read.removals.extend(addrs),
                none => prop_assert!(false, "{none:?}"),
            }
        }
        prop_assert_eq!(read, change);
    }

    #[test]
    fn b_4_a_profile_survives_the_wire(profile in profile()) {
        prop_assert_eq!(profile_from_proto(profile_to_proto(&profile)), Ok(profile));
    }
}

fn meshed() -> Endpoint {
    let id: Identity = "default.emoji.serviceaccount.identity.linkerd.cluster.local".parse().unwrap();
    let tls = Some(TlsIdentity { id, server_name: None });
    Endpoint { tls, ..Endpoint::unmeshed(([10, 0, 0, 1], 8080).into()) }
}

fn add(addrs: Vec<pb::WeightedAddr>, set: &[(&str, &str)]) -> DestinationUpdate {
    let metric_labels = set.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    update_from_proto(update(Kind::Add(pb::WeightedAddrSet { addrs, metric_labels }))).unwrap()
}

#[test]
fn a_1_7_an_unreadable_identity_is_refused_and_never_unmeshed() {
    let dns = |name: &str| Some(pb::tls_identity::DnsLikeIdentity { name: name.into() });
    let uri = |uri: &str| Some(Strategy::UriLikeIdentity(pb::tls_identity::UriLikeIdentity { uri: uri.into() }));
    let unreadable = [
        (None, None),
        (None, dns("web.example")),
        (dns("").map(Strategy::DnsLikeIdentity), None),
        (dns("not a name").map(Strategy::DnsLikeIdentity), None),
        (uri(""), dns("web.example")),
        (uri("spiffe://Root.Local/x"), dns("web.example")),
        (uri("https://root.local/x"), dns("web.example")),
        (uri("spiffe://root.local/x"), dns("no name!")),
    ];
    for (strategy, server_name) in unreadable {
        let bad = pb::WeightedAddr {
            tls_identity: Some(pb::TlsIdentity { strategy, server_name }),
            ..endpoint_to_proto(&meshed())
        };
        let other = Endpoint::unmeshed(([10, 0, 0, 2], 80).into());
        let DestinationUpdate::Add { endpoints, refused } = add(vec![bad.clone(), endpoint_to_proto(&other)], &[])
        else {
            panic!("an addition stays one");
        };
        assert_eq!(endpoints, [other], "only the readable endpoint can be reached: {bad:?}");
        assert_eq!(refused.iter().map(|r| r.addr).collect::<Vec<_>>(), [Some(meshed().addr)]);
        assert!(refused[0].why.field.starts_with("add.tls_identity."), "{}", refused[0].why);
        let profile = pb::DestinationProfile { endpoint: Some(bad), ..Default::default() };
        assert!(profile_from_proto(profile).unwrap_err().field.starts_with("endpoint.tls_identity."));
    }
}

#[test]
fn a_1_7_a_spiffe_id_without_server_name_stays_meshed() {
    let tls = Some(TlsIdentity { id: "spiffe://root.local/vm".parse().unwrap(), server_name: None });
    let endpoint = Endpoint { tls, ..meshed() };
    assert_eq!(endpoint_from_proto(endpoint_to_proto(&endpoint), &HashMap::new()), Ok(endpoint));
}

#[test]
fn b_2_a_dns_identity_is_its_own_server_name_in_both_directions() {
    let mut sent = endpoint_to_proto(&meshed());
    let name = meshed().tls.unwrap().id.to_string();
    assert_eq!(sent.tls_identity.as_ref().unwrap().server_name.as_ref().unwrap().name, name);
    sent.tls_identity.as_mut().unwrap().server_name = None;
    let read = endpoint_from_proto(sent, &HashMap::new()).unwrap().tls.unwrap();
    assert_eq!(read.server_name.unwrap().as_str(), name);
}

#[test]
fn b_2_a_dns_identity_sent_as_a_uri_is_understood() {
    let strategy = Strategy::UriLikeIdentity(pb::tls_identity::UriLikeIdentity { uri: "vm.example".into() });
    let tls_identity = Some(pb::TlsIdentity { strategy: Some(strategy), server_name: None });
    let read = endpoint_from_proto(pb::WeightedAddr { tls_identity, ..endpoint_to_proto(&meshed()) }, &HashMap::new());
    assert_eq!(read.unwrap().tls.unwrap().id, "vm.example".parse().unwrap());
}

#[test]
fn b_2_a_set_labels_its_endpoints_and_gives_way_to_their_own() {
    let labels = [("pod", "a"), ("zone", "mine")].map(|(k, v)| (k.into(), v.into()));
    let endpoint = Endpoint { labels: Arc::new(labels.into()), ..meshed() };
    let set = [("zone", "set"), ("service", "web")];
    let DestinationUpdate::Add { endpoints, .. } = add(vec![endpoint_to_proto(&endpoint)], &set) else { panic!() };
    let read: Vec<_> = endpoints[0].labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(read, ["pod=a", "service=web", "zone=mine"]);
}

#[test]
fn b_2_wrong_fields_are_named() {
    let good = || endpoint_to_proto(&meshed());
    let port = |port| Some(net::TcpAddress { port, ..good().addr.unwrap() });
    let inbound = |inbound_port| {
        let opaque_transport = Some(pb::protocol_hint::OpaqueTransport { inbound_port });
        Some(pb::ProtocolHint { protocol: None, opaque_transport })
    };
    let authority = Some(pb::AuthorityOverride { authority_override: "a b".into() });
    for (bad, field) in [
        (pb::WeightedAddr { addr: None, ..good() }, "addr"),
        (pb::WeightedAddr { addr: Some(net::TcpAddress { ip: None, port: 80 }), ..good() }, "addr.ip"),
        (pb::WeightedAddr { addr: port(0), ..good() }, "addr.port"),
        (pb::WeightedAddr { addr: port(65536 + 80), ..good() }, "addr.port"),
        (pb::WeightedAddr { protocol_hint: inbound(0), ..good() }, "protocol_hint.opaque_transport.inbound_port"),
        (pb::WeightedAddr { protocol_hint: inbound(70_000), ..good() }, "protocol_hint.opaque_transport.inbound_port"),
        (pb::WeightedAddr { authority_override: authority, ..good() }, "authority_override"),
    ] {
        assert_eq!(endpoint_from_proto(bad, &HashMap::new()).unwrap_err().field, field);
    }
}

#[test]
fn b_2_an_update_without_content_or_with_an_unreadable_removal_is_an_error() {
    assert_eq!(update_from_proto(pb::Update::default()).unwrap_err().field, "update");
    let removal = update(Kind::Remove(pb::AddrSet { addrs: vec![net::TcpAddress::default()] }));
    assert_eq!(update_from_proto(removal).unwrap_err().field, "remove.addr.ip");
    for exists in [true, false] {
        assert_eq!(update_from_proto(no_endpoints(exists)), Ok(DestinationUpdate::NoEndpoints { exists }));
    }
}

#[test]
fn b_2_a_large_set_is_sent_in_messages_that_a_client_takes() {
    use prost::Message;
    let endpoint = |n: u32| Endpoint { addr: (n.to_be_bytes(), 80).into(), ..meshed() };
    let change = EndpointChange { upserts: (0..10_000).map(endpoint).collect(), removals: Vec::new() };
    let updates = change_to_updates(&change, &Labels::new());
    assert_eq!(updates.len(), 5);
    assert!(updates.iter().all(|update| update.encoded_len() < 1 << 20));
}

#[test]
fn b_4_a_port_that_the_service_does_not_declare_is_an_empty_profile() {
    assert_eq!(profile_from_proto(pb::DestinationProfile::default()), Ok(Profile::default()));
}

fn get() -> pb::RequestMatch {
    use linkerd2_proxy_api::http_types::{HttpMethod, http_method};
    let method = HttpMethod { r#type: Some(http_method::Type::Registered(0)) };
    pb::RequestMatch { r#match: Some(pb::request_match::Match::Method(method)) }
}

fn statuses(min: u32, max: u32) -> pb::ResponseMatch {
    pb::ResponseMatch { r#match: Some(pb::response_match::Match::Status(pb::HttpStatusRange { min, max })) }
}

#[test]
fn b_4_wrong_fields_of_a_route_are_named() {
    let all = |matches| pb::request_match::Match::All(pb::request_match::Seq { matches });
    let nested = pb::RequestMatch { r#match: Some(all(vec![get(), pb::RequestMatch::default()])) };
    let class = |condition| vec![pb::ResponseClass { condition, is_failure: true }];
    let route = || pb::Route { condition: Some(get()), ..pb::Route::default() };
    let negative = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    for (bad, field) in [
        (pb::Route::default(), "condition"),
        (pb::Route { condition: Some(pb::RequestMatch::default()), ..route() }, "condition.match"),
        (pb::Route { condition: Some(nested), ..route() }, "condition.all[1].match"),
        (pb::Route { response_classes: class(None), ..route() }, "response_classes[0].condition"),
        (
            pb::Route { response_classes: class(Some(statuses(500, 400))), ..route() },
            "response_classes[0].condition.status",
        ),
        (
            pb::Route { response_classes: class(Some(statuses(0, 0))), ..route() },
            "response_classes[0].condition.status",
        ),
        (pb::Route { timeout: negative, ..route() }, "timeout"),
    ] {
        assert_eq!(route_from_proto(bad).unwrap_err().field, field);
    }
    let one = pb::Route { response_classes: class(Some(statuses(503, 0))), ..route() };
    let one = route_from_proto(one).unwrap().response_classes;
    assert_eq!(one, [ResponseClass { condition: ResponseMatch::Status(503..=503), failure: true }]);
}

#[test]
fn b_4_wrong_fields_of_a_budget_and_of_an_override_are_named() {
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let good = pb::RetryBudget { retry_ratio: 0.2, min_retries_per_second: 10, ttl: seconds(10) };
    assert_eq!(budget_from_proto(good), Ok(RetryBudget::DEFAULT));
    for (bad, field) in [
        (pb::RetryBudget { ttl: None, ..good }, "ttl"),
        (pb::RetryBudget { ttl: seconds(0), ..good }, "ttl"),
        (pb::RetryBudget { ttl: seconds(61), ..good }, "ttl"),
        (pb::RetryBudget { retry_ratio: -0.1, ..good }, "retry_ratio"),
        (pb::RetryBudget { retry_ratio: f32::NAN, ..good }, "retry_ratio"),
    ] {
        assert_eq!(budget_from_proto(bad).unwrap_err().field, field);
    }
    let to = |authority: &str, weight| {
        override_from_proto(pb::WeightedDst { authority: authority.into(), weight, backend_ref: None })
    };
    assert_eq!(to("web.ns.svc:80", 0).unwrap_err().field, "weight");
    assert_eq!(to("web ns:80", 1).unwrap_err().field, "authority");
}

#[test]
fn b_4_what_only_shapes_the_calls_is_left_out_where_it_cannot_be_read() {
    let good = pb::Route { condition: Some(get()), ..pb::Route::default() };
    let nowhere = pb::WeightedDst { authority: String::new(), weight: 1, backend_ref: None };
    let message = pb::DestinationProfile {
        fully_qualified_name: "web.ns.svc.cluster.local".into(),
        routes: vec![pb::Route::default(), good],
        retry_budget: Some(pb::RetryBudget::default()),
        dst_overrides: vec![nowhere],
        ..pb::DestinationProfile::default()
    };
    let profile = profile_from_proto(message).unwrap();
    assert_eq!((profile.routes.len(), profile.retry_budget, profile.overrides.len()), (1, None, 0));
}
