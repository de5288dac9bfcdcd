use crate::any::{grpc_filter, grpc_match, header_modifier, hosts, http_filter, http_match, object, text};
use crate::outbound::{policy_from_proto, policy_to_proto};
use linkerd2_proxy_api::outbound;
use outrigger_model::{
    AccrualKind, Backend, Backoff, Dispatch, Distribution, Endpoint, FailureAccrual, Filter, GrpcConditions,
    HttpRouting, Load, LoadPenalty, Meta, OpaqueFilter, OpaqueRoute, OpaqueRule, OutboundPolicy, OutboundProtocol,
    OutboundRoute, OutboundRule, Queue, Retry, RetryOn, RouteBackend, RouteMatch, Timeouts, TlsRoute,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

fn time() -> impl Strategy<Value = Duration> {
    (1u64..100_000).prop_map(Duration::from_millis)
}

fn backoff() -> impl Strategy<Value = Backoff> {
    (time(), time(), 0f32..2.0, any::<bool>()).prop_map(|(min, more, jitter, respect_retry_after)| Backoff {
        min,
        max: min + more,
        jitter,
        respect_retry_after,
    })
}

fn accrual() -> impl Strategy<Value = FailureAccrual> {
    let kind = prop_oneof![
        (0u32..9).prop_map(|max_failures| AccrualKind::Consecutive { max_failures }),
        (0u32..9, 0f64..=1.0, time(), 0u32..9).prop_map(|(max_failures, success_rate, window, min_requests)| {
            let window = window + Duration::from_millis(10);
            AccrualKind::Unified { max_failures, success_rate, window, min_requests }
        }),
    ];
    (kind, backoff(), 0u32..3).prop_map(|(kind, backoff, min_ready_endpoints)| FailureAccrual {
        kind,
        backoff,
        min_ready_endpoints,
    })
}

fn backend() -> impl Strategy<Value = Backend> {
    let penalty =
        (time(), time(), time()).prop_map(|(rtt, max_retry_after, decay)| LoadPenalty { rtt, max_retry_after, decay });
    let load = (time(), time(), option::of(penalty)).prop_map(|(default_rtt, decay, penalty)| Load {
        default_rtt,
        decay,
        penalty,
    });
    let dispatch = prop_oneof![
        Just(Dispatch::Fail),
        any::<([u8; 4], u16)>().prop_map(|(ip, port)| {
            Dispatch::Forward(Endpoint { weight: 1, ..Endpoint::unmeshed((ip, port.max(1)).into()) })
        }),
        (text("[a-z.]{1,9}:80"), load).prop_map(|(path, load)| Dispatch::Balancer { path, load }),
    ];
    let queue = (any::<u32>(), time()).prop_map(|(capacity, failfast)| Queue { capacity, failfast });
    (object("Service"), option::of(1u16..), option::of(queue), dispatch)
        .prop_map(|(meta, port, queue, dispatch)| Backend { meta: Meta { port, ..meta }, queue, dispatch })
}

fn distribution<F: Clone + std::fmt::Debug + 'static>(
    filter: impl Strategy<Value = F> + Clone + 'static,
) -> impl Strategy<Value = Distribution<F>> {
    let backend = (backend(), vec(filter, 0..2)).prop_map(|(backend, filters)| RouteBackend { backend, filters });
    let backend = backend.boxed();
    prop_oneof![
        Just(Distribution::Empty),
        vec(backend.clone(), 1..3).prop_map(|backends| Distribution::FirstAvailable(backends.into())),
        vec((1u32..9, backend), 1..3).prop_map(|backends| Distribution::RandomAvailable(backends.into())),
    ]
}

fn routing(
    matched: impl Strategy<Value = RouteMatch> + 'static,
    filter: impl Strategy<Value = Filter> + Clone + 'static,
    on: impl Strategy<Value = RetryOn> + 'static,
) -> BoxedStrategy<HttpRouting> {
    let timeouts = (option::of(time()), option::of(time()), option::of(time()))
        .prop_map(|(request, response, idle)| Timeouts { request, response, idle });
    let retry = (any::<u32>(), any::<u32>(), on, option::of(time()), option::of(backoff())).prop_map(
        |(max_retries, max_request_bytes, on, timeout, backoff)| Retry {
            max_retries,
            max_request_bytes,
            on,
            timeout,
            backoff,
        },
    );
    let filters = vec(filter.clone(), 0..2);
    let rule = (vec(matched, 0..2), filters, distribution(filter), timeouts, option::of(retry), any::<bool>())
        .prop_map(|(matches, filters, backends, timeouts, retry, allow_l5d_headers)| OutboundRule {
            matches,
            filters,
            backends,
            timeouts,
            retry,
            allow_l5d_headers,
        });
    let route = (object("HTTPRoute"), text("[a-z]{0,2}"), hosts(), vec(rule, 0..3))
        .prop_map(|(meta, section, hosts, rules)| OutboundRoute { meta: Meta { section, ..meta }, hosts, rules });
    (vec(route, 0..2), option::of(accrual()))
        .prop_map(|(routes, failure_accrual)| HttpRouting { routes: routes.into(), failure_accrual })
        .boxed()
}

fn http_routing() -> BoxedStrategy<HttpRouting> {
    let filter = prop_oneof![http_filter(), header_modifier().prop_map(Filter::ResponseHeaders)].boxed();
    let on = vec((100u16..300).prop_map(|start| start..=start + 99), 0..3).prop_map(RetryOn::Statuses);
    routing(http_match(), filter, on)
}

fn grpc_routing() -> BoxedStrategy<HttpRouting> {
    let on =
        any::<[bool; 5]>().prop_map(|[cancelled, deadline_exceeded, resource_exhausted, internal, unavailable]| {
            RetryOn::Grpc(GrpcConditions { cancelled, deadline_exceeded, resource_exhausted, internal, unavailable })
        });
    routing(grpc_match(), grpc_filter().boxed(), on)
}

fn opaque_rule() -> impl Strategy<Value = OpaqueRule> {
    let filter =
        prop_oneof![Just(OpaqueFilter::Forbidden), text("[a-z ]{0,4}").prop_map(OpaqueFilter::Invalid)].boxed();
    (vec(filter.clone(), 0..2), distribution(filter)).prop_map(|(filters, backends)| OpaqueRule { filters, backends })
}

fn opaque_routes() -> impl Strategy<Value = Arc<[OpaqueRoute]>> {
    let route = (object("TCPRoute"), opaque_rule()).prop_map(|(meta, rule)| OpaqueRoute { meta, rule });
    vec(route, 0..2).prop_map(Into::into)
}

fn any_protocol() -> impl Strategy<Value = OutboundProtocol> {
    let tls = (object("TLSRoute"), hosts(), opaque_rule()).prop_map(|(meta, snis, rule)| TlsRoute { meta, snis, rule });
    prop_oneof![
        (time(), http_routing(), http_routing(), opaque_routes())
            .prop_map(|(timeout, http1, http2, opaque)| OutboundProtocol::Detect { timeout, http1, http2, opaque }),
        http_routing().prop_map(OutboundProtocol::Http1),
        http_routing().prop_map(OutboundProtocol::Http2),
        grpc_routing().prop_map(OutboundProtocol::Grpc),
        opaque_routes().prop_map(OutboundProtocol::Opaque),
        vec(tls, 0..2).prop_map(|routes| OutboundProtocol::Tls(routes.into())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn c_3_what_the_model_says_survives_the_wire(
        meta in object("Service"), port in 1u16.., protocol in any_protocol(),
    ) {
        let policy = OutboundPolicy { meta: meta.at_port(port), protocol };
        let bytes = prost::Message::encode_to_vec(&policy_to_proto(&policy));
        let message: outbound::OutboundPolicy = prost::Message::decode(&*bytes).unwrap();
        prop_assert_eq!(policy_from_proto(message), Ok(policy));
    }

    #[test]
    fn c_3_a_grpc_route_that_grpc_cannot_say_is_sent_as_http2(routing in http_routing()) {
        let get = RouteMatch { method: Some("GET".into()), ..RouteMatch::default() };
        let rule = OutboundRule { matches: vec![get], ..OutboundRule::default() };
        let asked = OutboundRoute { meta: Meta::default_named("r"), hosts: vec![], rules: vec![rule] };
        let routes = routing.routes.iter().cloned().chain([asked]).collect();
        let routing = HttpRouting { routes, ..routing };
        let policy = |protocol| OutboundPolicy { meta: Meta::default_named("p"), protocol };
        let received = policy_from_proto(policy_to_proto(&policy(OutboundProtocol::Grpc(routing.clone()))));
        prop_assert_eq!(received, Ok(policy(OutboundProtocol::Http2(routing))));
    }
}
