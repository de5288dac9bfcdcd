mod round_trip;

use super::*;
use linkerd2_proxy_api::outbound::backend::{BalanceP2c, EndpointDiscovery, balance_p2c, endpoint_discovery};
use linkerd2_proxy_api::outbound::{failure_accrual, http_route, opaque_route};
use linkerd2_proxy_api::{destination, http_route as http_wire, meta, net};
use outrigger_model::{Dispatch, Distribution, Filter, Meta, OutboundRoute, OutboundRule, Ratio, Timeouts};
use std::time::Duration;

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn named(name: &str) -> Option<meta::Metadata> {
    Some(meta::Metadata { kind: Some(meta::metadata::Kind::Default(name.into())) })
}

fn policy(kind: wire::Kind) -> outbound::OutboundPolicy {
    let protocol = Some(outbound::ProxyProtocol { kind: Some(kind) });
    outbound::OutboundPolicy { metadata: named("parent"), protocol }
}

fn balancer() -> outbound::Backend {
    let get = endpoint_discovery::DestinationGet { path: "web.ns.svc.cluster.local:80".into() };
    let discovery = Some(EndpointDiscovery { kind: Some(endpoint_discovery::Kind::Dst(get)) });
    let load = Some(balance_p2c::Load::PeakEwma(balance_p2c::PeakEwma { default_rtt: seconds(1), decay: seconds(10) }));
    let kind = Some(outbound::backend::Kind::Balancer(BalanceP2c { discovery, load }));
    outbound::Backend { metadata: named("backend"), queue: None, kind }
}

fn weighted(weights: &[u32]) -> http_route::Distribution {
    let backend = || http_route::RouteBackend { backend: Some(balancer()), ..http_route::RouteBackend::default() };
    let backends =
        weights.iter().map(|&weight| http_route::WeightedRouteBackend { backend: Some(backend()), weight }).collect();
    let kind = http_route::distribution::Kind::RandomAvailable(http_route::distribution::RandomAvailable { backends });
    http_route::Distribution { kind: Some(kind) }
}

fn rule() -> http_route::Rule {
    http_route::Rule { backends: Some(weighted(&[1])), ..http_route::Rule::default() }
}

fn http1(rule: http_route::Rule) -> wire::Http1 {
    let route = outbound::HttpRoute { metadata: named("route"), hosts: vec![], rules: vec![rule] };
    wire::Http1 { routes: vec![route], failure_accrual: None }
}

fn read(rule: http_route::Rule) -> Result<OutboundRule, InvalidMessage> {
    let policy = policy_from_proto(policy(wire::Kind::Http1(http1(rule))))?;
    let OutboundProtocol::Http1(routing) = policy.protocol else { panic!() };
    Ok(routing.routes[0].rules[0].clone())
}

fn refused_rule(rule: http_route::Rule) -> String {
    let field = read(rule).unwrap_err().field;
    field.strip_prefix("protocol.http1.routes[0].rules[0].").unwrap_or(&field).to_owned()
}

fn refused_backend(backend: outbound::Backend) -> String {
    let backend = http_route::RouteBackend { backend: Some(backend), ..http_route::RouteBackend::default() };
    let first = http_route::distribution::FirstAvailable { backends: vec![backend] };
    let kind = Some(http_route::distribution::Kind::FirstAvailable(first));
    let field = refused_rule(http_route::Rule { backends: Some(http_route::Distribution { kind }), ..rule() });
    field.strip_prefix("backends.first_available.backends[0].backend.").unwrap_or(&field).to_owned()
}

fn refused_accrual(accrual: outbound::FailureAccrual) -> String {
    let http1 = wire::Http1 { failure_accrual: Some(accrual), ..http1(rule()) };
    let field = policy_from_proto(policy(wire::Kind::Http1(http1))).unwrap_err().field;
    field.strip_prefix("protocol.http1.failure_accrual.").unwrap_or(&field).to_owned()
}

#[test]
fn a_2_2_a_policy_whose_protocol_is_not_understood_is_an_error() {
    let refused = |message| policy_from_proto(message).unwrap_err().field;
    assert_eq!(refused(outbound::OutboundPolicy { metadata: named("p"), protocol: None }), "protocol.kind");
    let unknown = Some(outbound::ProxyProtocol { kind: None });
    assert_eq!(refused(outbound::OutboundPolicy { metadata: named("p"), protocol: unknown }), "protocol.kind");
    let nobody = outbound::OutboundPolicy { metadata: None, ..policy(wire::Kind::Opaque(wire::Opaque::default())) };
    assert_eq!(refused(nobody), "metadata.kind");
    let detect = || wire::Detect {
        timeout: seconds(10),
        opaque: Some(wire::Opaque::default()),
        http1: Some(wire::Http1::default()),
        http2: Some(wire::Http2::default()),
    };
    assert!(policy_from_proto(policy(wire::Kind::Detect(detect()))).is_ok());
    for (bad, field) in [
        (wire::Detect { timeout: None, ..detect() }, "timeout"),
        (wire::Detect { timeout: seconds(-1), ..detect() }, "timeout"),
        (wire::Detect { opaque: None, ..detect() }, "opaque"),
        (wire::Detect { http1: None, ..detect() }, "http1"),
        (wire::Detect { http2: None, ..detect() }, "http2"),
    ] {
        assert_eq!(refused(policy(wire::Kind::Detect(bad))), format!("protocol.detect.{field}"));
    }
}

#[test]
fn a_2_2_a_rule_without_a_way_to_choose_a_backend_is_an_error() {
    let kind = http_route::Distribution { kind: None };
    assert_eq!(refused_rule(http_route::Rule { backends: Some(kind), ..rule() }), "backends.kind");
    assert_eq!(refused_rule(http_route::Rule { backends: None, ..rule() }), "backends.kind");
    let none = weighted(&[]);
    assert_eq!(refused_rule(http_route::Rule { backends: Some(none), ..rule() }), "backends.random_available.backends");
    let weightless = read(http_route::Rule { backends: Some(weighted(&[0, 0])), ..rule() }).unwrap();
    assert_eq!(weightless.backends, Distribution::Empty, "the rule's requests fail, others do not");
    let some = read(http_route::Rule { backends: Some(weighted(&[0, 1])), ..rule() }).unwrap();
    assert!(matches!(some.backends, Distribution::RandomAvailable(backends) if backends.len() == 2));
}

#[test]
fn a_2_2_wrong_backends_are_named() {
    let with = |discovery, load| outbound::Backend {
        kind: Some(outbound::backend::Kind::Balancer(BalanceP2c { discovery, load })),
        ..balancer()
    };
    let Some(outbound::backend::Kind::Balancer(BalanceP2c { discovery, load })) = balancer().kind else { panic!() };
    let ewma = |default_rtt, decay| Some(balance_p2c::Load::PeakEwma(balance_p2c::PeakEwma { default_rtt, decay }));
    let queue = Some(outbound::Queue { capacity: 1, failfast_timeout: None });
    let tls_identity = Some(destination::TlsIdentity { strategy: None, server_name: None });
    let addr = Some(net::TcpAddress::from(std::net::SocketAddr::from(([10, 0, 0, 1], 80))));
    let unusable = destination::WeightedAddr { addr, tls_identity, ..destination::WeightedAddr::default() };
    let forward = |addr| outbound::Backend { kind: Some(outbound::backend::Kind::Forward(addr)), ..balancer() };
    for (bad, field) in [
        (outbound::Backend { metadata: None, ..balancer() }, "metadata.kind"),
        (outbound::Backend { queue, ..balancer() }, "queue.failfast_timeout"),
        (with(None, load), "balancer.discovery.kind"),
        (with(discovery.clone(), None), "balancer.load"),
        (with(discovery.clone(), ewma(None, seconds(1))), "balancer.peak_ewma.default_rtt"),
        (with(discovery, ewma(seconds(1), None)), "balancer.peak_ewma.decay"),
        (forward(destination::WeightedAddr::default()), "forward.addr"),
        (forward(unusable), "forward.tls_identity.strategy"),
    ] {
        assert_eq!(refused_backend(bad), field);
    }
}

#[test]
fn a_2_2_a_backend_of_no_known_kind_refuses() {
    let backend = http_route::RouteBackend {
        backend: Some(outbound::Backend { kind: None, ..balancer() }),
        ..Default::default()
    };
    let first = http_route::distribution::FirstAvailable { backends: vec![backend] };
    let backends = http_route::Distribution { kind: Some(http_route::distribution::Kind::FirstAvailable(first)) };
    let Distribution::FirstAvailable(backends) =
        read(http_route::Rule { backends: Some(backends), ..rule() }).unwrap().backends
    else {
        panic!()
    };
    assert_eq!(backends[0].backend.dispatch, Dispatch::Fail);
}

#[test]
fn a_2_2_a_filter_that_is_not_understood_refuses() {
    let unknown = http_route::Rule { filters: vec![http_route::Filter { kind: None }], ..rule() };
    assert_eq!(read(unknown).unwrap().filters, [Filter::Unknown]);
    let route = |filters| {
        let rules = vec![opaque_route::Rule { filters, backends: Some(opaque_route::Distribution::default()) }];
        let routes = vec![outbound::OpaqueRoute { metadata: named("r"), rules }];
        policy_from_proto(policy(wire::Kind::Opaque(wire::Opaque { routes })))
    };
    assert_eq!(route(vec![]).unwrap_err().field, "protocol.opaque.routes[0].rules.backends.kind");
    let routes = vec![outbound::OpaqueRoute { metadata: named("r"), rules: vec![] }];
    let ruleless = policy(wire::Kind::Opaque(wire::Opaque { routes }));
    assert_eq!(policy_from_proto(ruleless).unwrap_err().field, "protocol.opaque.routes[0].rules.len");
}

/// A stock proxy refuses the whole policy over a filter without a kind (A.2.2).
#[test]
fn a_2_2_a_filter_that_cannot_be_said_is_one_that_fails() {
    let filters = vec![Filter::Unknown, Filter::FailGrpc { code: 7, message: "m".into(), ratio: Ratio::ALL }];
    let rules = vec![OutboundRule { filters, ..OutboundRule::default() }];
    let routes = [OutboundRoute { meta: Meta::default_named("r"), hosts: vec![], rules }].into();
    let protocol = OutboundProtocol::Http2(HttpRouting { routes, failure_accrual: None });
    let sent = policy_to_proto(&OutboundPolicy { meta: Meta::default_named("p"), protocol });
    let Some(wire::Kind::Http2(http2)) = sent.protocol.unwrap().kind else { panic!() };
    let statuses: Vec<_> = http2.routes[0].rules[0]
        .filters
        .iter()
        .map(|filter| match &filter.kind {
            Some(http_route::filter::Kind::FailureInjector(fail)) => fail.status,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(statuses, [500, 500]);
}

#[test]
fn a_2_4_wrong_failure_accruals_are_named() {
    let backoff = || outbound::ExponentialBackoff {
        min_backoff: seconds(1),
        max_backoff: seconds(60),
        jitter_ratio: 0.5,
        respect_retry_after_hint: false,
    };
    let consecutive = |backoff| outbound::FailureAccrual {
        kind: Some(failure_accrual::Kind::ConsecutiveFailures(failure_accrual::ConsecutiveFailures {
            max_failures: 7,
            backoff,
        })),
        ejection: None,
    };
    let unified = || failure_accrual::Unified {
        success_rate_threshold: 0.8,
        decay: seconds(10),
        min_requests: 5,
        max_consecutive_failures: 7,
        backoff: Some(backoff()),
    };
    let of = |unified| outbound::FailureAccrual { kind: Some(failure_accrual::Kind::Unified(unified)), ejection: None };
    let with = |backoff| consecutive(Some(backoff));
    for (bad, field) in [
        (outbound::FailureAccrual { kind: None, ejection: None }, "kind"),
        (consecutive(None), "backoff"),
        (with(outbound::ExponentialBackoff { min_backoff: None, ..backoff() }), "backoff.min_backoff"),
        (with(outbound::ExponentialBackoff { max_backoff: None, ..backoff() }), "backoff.max_backoff"),
        (with(outbound::ExponentialBackoff { min_backoff: seconds(61), ..backoff() }), "backoff.max_backoff"),
        (with(outbound::ExponentialBackoff { jitter_ratio: -0.1, ..backoff() }), "backoff.jitter_ratio"),
        (with(outbound::ExponentialBackoff { jitter_ratio: f32::NAN, ..backoff() }), "backoff.jitter_ratio"),
        (of(failure_accrual::Unified { success_rate_threshold: 1.1, ..unified() }), "success_rate_threshold"),
        (of(failure_accrual::Unified { success_rate_threshold: f64::NAN, ..unified() }), "success_rate_threshold"),
        (of(failure_accrual::Unified { decay: None, ..unified() }), "decay"),
        (of(failure_accrual::Unified { decay: seconds(0), ..unified() }), "decay"),
        (of(failure_accrual::Unified { min_requests: 1_000_001, ..unified() }), "min_requests"),
    ] {
        assert_eq!(refused_accrual(bad), field);
    }
}

#[test]
#[allow(deprecated, reason = "older controllers send no other timeout")]
fn a_2_5_the_timeout_of_older_controllers_counts_where_it_stands_alone() {
    let old = http_route::Rule { request_timeout: seconds(3), ..rule() };
    assert_eq!(read(old.clone()).unwrap().timeouts.request, Some(Duration::from_secs(3)));
    let timeouts = Some(http_wire::Timeouts { request: seconds(0), response: seconds(2), idle: None });
    let both = read(http_route::Rule { timeouts, ..old }).unwrap().timeouts;
    assert_eq!(both, Timeouts { response: Some(Duration::from_secs(2)), ..Timeouts::default() });
    let negative = Some(http_wire::Timeouts { idle: seconds(-2), ..http_wire::Timeouts::default() });
    assert_eq!(refused_rule(http_route::Rule { timeouts: negative, ..rule() }), "timeouts.idle");
}

#[test]
fn a_2_5_a_retry_that_does_not_say_on_what_is_an_error() {
    let retry = |conditions| http_route::Rule {
        retry: Some(http_route::Retry { conditions, ..http_route::Retry::default() }),
        ..rule()
    };
    assert_eq!(refused_rule(retry(None)), "retry.conditions");
    let backwards = http_route::retry::conditions::StatusRange { start: 599, end: 500 };
    let conditions = http_route::retry::Conditions { status_ranges: vec![backwards] };
    assert_eq!(refused_rule(retry(Some(conditions))), "retry.conditions.status_ranges[0].end");
}

#[test]
fn a_2_1_what_is_asked_for_survives_the_wire() {
    for target in [
        Target::Addr("10.0.0.1:80".parse().unwrap()),
        Target::Addr("[fd00::1]:80".parse().unwrap()),
        Target::Authority("web.ns.svc.cluster.local:80".into()),
    ] {
        let traffic = Traffic { source: r#"{"ns":"n","pod":"p"}"#.into(), target };
        assert_eq!(traffic_from_proto(traffic_to_proto(&traffic)), Ok(traffic));
    }
    assert_eq!(traffic_from_proto(outbound::TrafficSpec::default()).unwrap_err().field, "target");
    let port = net::TcpAddress { port: 65536 + 80, ..std::net::SocketAddr::from(([10, 0, 0, 1], 80)).into() };
    let target = Some(traffic_spec::Target::Addr(port));
    let far = outbound::TrafficSpec { source_workload: "n:p".into(), target };
    assert_eq!(traffic_from_proto(far).unwrap_err().field, "addr.port");
}
