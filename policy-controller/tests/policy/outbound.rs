//! Where traffic goes: worlds in YAML, and the outbound policies that follow.

use crate::support::*;
use outrigger_model::{
    AccrualKind, Backend, Backoff, Dispatch, Distribution, Endpoint, FailureAccrual, HttpRouting, Load, LoadPenalty,
    Meta, OpaqueFilter, OpaqueRoute, OpaqueRule, OutboundPolicy, OutboundProtocol, OutboundRoute, OutboundRule,
    PathMatch, Queue, Retry, RetryOn, RouteBackend, RouteMatch, Timeouts,
};
use outrigger_policy::{Destination, NoPolicy, Subject};
use std::sync::Arc;
use std::time::Duration;

/// A Service with a port of each kind.
pub(crate) const SERVICE: &str = "---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: ns}
spec:
  clusterIPs: [10.96.0.1, 'fd00::1']
  ports:
  - {name: plain, port: 80}
  - {name: http, port: 81, appProtocol: HTTP}
  - {name: h2c, port: 82, appProtocol: kubernetes.io/h2c}
  - {name: opaque, port: 83, appProtocol: linkerd.io/opaque}
  - {name: tcp, port: 84, appProtocol: linkerd.io/tcp}
  - {name: other, port: 85, appProtocol: example.com/mine}
  - {name: mysql, port: 3306}
  - {name: listed, port: 86}
  - {name: dns, port: 53, protocol: UDP}
";

pub(crate) fn at(addr: &str) -> Destination {
    let addr: std::net::SocketAddr = addr.parse().unwrap();
    Destination { subject: Subject::Address(addr.ip()), port: addr.port() }
}

fn named(name: &str, port: u16) -> Destination {
    Destination { subject: Subject::Service(outrigger_cluster::Key::new("ns", name)), port }
}

fn found(yaml: &[&str], destination: &Destination) -> Result<OutboundPolicy, NoPolicy> {
    index(yaml).outbound_policy(destination)
}

fn service_port(port: u16) -> Meta {
    Meta::object("core", "Service", "ns", "web").at_port(port)
}

fn only<F>(backend: Backend) -> Distribution<F> {
    Distribution::FirstAvailable([RouteBackend { backend, filters: vec![] }].into())
}

fn queue() -> Option<Queue> {
    Some(Queue { capacity: 100, failfast: Duration::from_secs(3) })
}

fn load() -> Load {
    Load { default_rtt: Duration::from_millis(30), decay: Duration::from_secs(10), penalty: None }
}

fn balancer(port: u16) -> Backend {
    let path = format!("web.ns.svc.cluster.local:{port}").into();
    Backend { meta: service_port(port), queue: queue(), dispatch: Dispatch::Balancer { path, load: load() } }
}

fn http(port: u16) -> HttpRouting {
    let everything = RouteMatch { path: Some(PathMatch::Prefix("/".into())), ..RouteMatch::default() };
    let rule = OutboundRule { matches: vec![everything], backends: only(balancer(port)), ..OutboundRule::default() };
    let route = OutboundRoute { meta: Meta::default_named("http"), hosts: vec![], rules: vec![rule] };
    HttpRouting { routes: [route].into(), failure_accrual: None }
}

fn opaque(port: u16) -> Arc<[OpaqueRoute]> {
    let rule = OpaqueRule { filters: vec![], backends: only(balancer(port)) };
    [OpaqueRoute { meta: Meta::default_named("opaq"), rule }].into()
}

fn detect(port: u16) -> OutboundProtocol {
    let timeout = Duration::from_secs(10);
    OutboundProtocol::Detect { timeout, http1: http(port), http2: http(port), opaque: opaque(port) }
}

pub(crate) fn undefined(policy: &OutboundPolicy) -> bool {
    let OutboundProtocol::Opaque(routes) = &policy.protocol else { return false };
    let rule = OpaqueRule { filters: vec![OpaqueFilter::Forbidden], backends: Distribution::Empty };
    **routes == [OpaqueRoute { meta: Meta::default_named("undefined-port"), rule }]
}

/// The HTTP routing of the Service's port 81 with these annotations.
fn annotated(annotations: &str) -> HttpRouting {
    let service = SERVICE.replace("namespace: ns}", &format!("namespace: ns, annotations: {{{annotations}}}}}"));
    match found(&[&service], &named("web", 81)).unwrap().protocol {
        OutboundProtocol::Http1(routing) => routing,
        other => panic!("{other:?}"),
    }
}

fn rule(annotations: &str) -> OutboundRule {
    annotated(annotations).routes[0].rules[0].clone()
}

#[test]
fn c_3_the_protocol_of_a_services_port() {
    let listed = "namespace: ns, annotations: {config.linkerd.io/opaque-ports: '81,listed'}}";
    let listed = SERVICE.replace("namespace: ns}", listed);
    for (service, port, protocol) in [
        (SERVICE, 80, detect(80)),
        (SERVICE, 81, OutboundProtocol::Http1(http(81))),
        (SERVICE, 82, OutboundProtocol::Http2(http(82))),
        (SERVICE, 83, OutboundProtocol::Opaque(opaque(83))),
        (SERVICE, 84, OutboundProtocol::Opaque(opaque(84))),
        (SERVICE, 85, OutboundProtocol::Opaque(opaque(85))),
        (SERVICE, 3306, OutboundProtocol::Opaque(opaque(3306))),
        (SERVICE, 86, detect(86)),
        (&listed, 86, OutboundProtocol::Opaque(opaque(86))),
        (&listed, 81, OutboundProtocol::Http1(http(81))),
        (&listed, 3306, detect(3306)),
    ] {
        let policy = OutboundPolicy { meta: service_port(port), protocol };
        assert_eq!(found(&[service], &named("web", port)), Ok(policy.clone()), "{port}");
        assert_eq!(found(&[service], &at(&format!("10.96.0.1:{port}"))), Ok(policy.clone()), "{port}");
        assert_eq!(found(&[service], &at(&format!("[fd00::1]:{port}"))), Ok(policy), "{port}");
    }
}

#[test]
fn c_3_a_services_opaque_ports_are_inherited_from_its_namespace() {
    let namespace = "---
apiVersion: v1
kind: Namespace
metadata: {name: ns, annotations: {config.linkerd.io/opaque-ports: listed}}
";
    let protocol = |yaml: &[&str], port| found(yaml, &named("web", port)).unwrap().protocol;
    assert_eq!(protocol(&[SERVICE, namespace], 86), OutboundProtocol::Opaque(opaque(86)));
    assert_eq!(protocol(&[SERVICE, namespace], 3306), detect(3306));
    let own = SERVICE.replace("namespace: ns}", "namespace: ns, annotations: {config.linkerd.io/opaque-ports: '80'}}");
    assert_eq!(protocol(&[&own, namespace], 86), detect(86));

    let index = index(&[SERVICE]);
    let watched = index.watch_outbound(&at("10.96.0.1:86")).unwrap();
    index.apply(&changes(namespace));
    assert_eq!(watched.borrow().protocol, OutboundProtocol::Opaque(opaque(86)), "also where it comes later");
}

#[test]
fn c_3_a_port_that_the_service_does_not_declare_is_forbidden() {
    for destination in [named("web", 8080), at("10.96.0.1:8080"), at("10.96.0.1:53")] {
        let policy = found(&[SERVICE], &destination).unwrap();
        assert!(undefined(&policy), "{policy:?}");
        assert_eq!(policy.meta, service_port(destination.port));
    }
}

#[test]
fn c_3_what_is_no_service_has_no_policy() {
    let vm = "---
apiVersion: workload.linkerd.io/v1beta1
kind: ExternalWorkload
metadata: {name: vm, namespace: ns}
spec:
  meshTLS: {identity: 'spiffe://root.linkerd.cluster.local/vm', serverName: vm.cluster.local}
  workloadIPs: [{ip: 192.0.2.7}]
";
    let pod = "---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: ns}
spec: {containers: [{name: web, ports: [{containerPort: 80, hostPort: 8080}]}]}
status: {podIP: 192.0.2.8, podIPs: [{ip: 192.0.2.8}], hostIP: 192.0.2.9}
";
    let no_service = |ip: &str| Err(NoPolicy::NotAService(ip.parse().unwrap()));
    for ip in ["10.1.2.3", "192.0.2.7", "192.0.2.8", "192.0.2.9"] {
        assert_eq!(found(&[SERVICE, vm, pod], &at(&format!("{ip}:80"))), no_service(ip));
    }
    let finished = pod.replace("status: {", "status: {phase: Succeeded, ");
    assert!(found(&[&finished], &at("192.0.2.8:80")).is_ok(), "nobody is there any more");
    let external = "---
apiVersion: v1
kind: Service
metadata: {name: elsewhere, namespace: ns}
spec: {type: ExternalName, externalName: example.com, ports: [{port: 80}]}
";
    for name in ["elsewhere", "nobody"] {
        let refused = found(&[SERVICE, external], &named(name, 80)).unwrap_err();
        assert_eq!(refused, NoPolicy::NoService(outrigger_cluster::Key::new("ns", name)));
    }
}

#[test]
fn c_3_a_headless_service_is_balanced_by_name() {
    let headless = SERVICE.replace("clusterIPs: [10.96.0.1, 'fd00::1']", "clusterIP: None");
    let policy = found(&[&headless], &named("web", 80)).unwrap();
    assert_eq!(policy, OutboundPolicy { meta: service_port(80), protocol: detect(80) });
}

#[test]
fn c_3_an_address_outside_the_cluster_is_forwarded_to() {
    let meta = Meta::default_named("egress-fallback");
    for addr in ["203.0.113.5:443", "[2001:db8::5]:443"] {
        let endpoint = Endpoint { weight: 1, ..Endpoint::unmeshed(addr.parse().unwrap()) };
        let backend = Backend { meta: meta.clone(), queue: queue(), dispatch: Dispatch::Forward(endpoint) };
        let rule = OutboundRule {
            matches: vec![RouteMatch::default()],
            backends: only(backend.clone()),
            ..OutboundRule::default()
        };
        let http = HttpRouting {
            routes: [OutboundRoute { meta: meta.clone(), hosts: vec![], rules: vec![rule] }].into(),
            failure_accrual: None,
        };
        let rule = OpaqueRule { filters: vec![], backends: only(backend) };
        let protocol = OutboundProtocol::Detect {
            timeout: Duration::from_secs(10),
            http1: http.clone(),
            http2: http,
            opaque: [OpaqueRoute { meta: meta.clone(), rule }].into(),
        };
        assert_eq!(found(&[SERVICE], &at(addr)), Ok(OutboundPolicy { meta: meta.clone(), protocol }));
    }
}

#[test]
fn c_3_an_address_of_two_services_has_no_policy() {
    let twin = SERVICE.replace("name: web,", "name: twin,");
    let refused = found(&[SERVICE, &twin], &at("10.96.0.1:80")).unwrap_err();
    assert_eq!(refused.to_string(), "10.96.0.1 belongs to several Services: ns/twin, ns/web");
}

#[test]
fn c_3_timeouts_of_a_service() {
    let all = "timeout.linkerd.io/request: 10s, timeout.linkerd.io/response: 250ms, timeout.linkerd.io/idle: 1m";
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let timeouts = Timeouts { request: seconds(10), response: Some(Duration::from_millis(250)), idle: seconds(60) };
    assert_eq!(rule(all).timeouts, timeouts);
    assert_eq!(rule("timeout.linkerd.io/request: '0'").timeouts, Timeouts::default());
    for bad in ["10", "-1s", "1.5s", "s", "1w", "99999999999999999999s"] {
        assert_eq!(rule(&format!("timeout.linkerd.io/request: '{bad}'")).timeouts, Timeouts::default(), "{bad}");
    }
}

#[test]
fn c_3_retries_of_a_service() {
    let backoff = Backoff {
        min: Duration::from_millis(25),
        max: Duration::from_millis(250),
        jitter: 1.0,
        respect_retry_after: false,
    };
    let retry = |max_retries, on: &[std::ops::RangeInclusive<u16>], timeout| {
        let on = RetryOn::Statuses(on.to_vec());
        Some(Retry { max_retries, max_request_bytes: 64 * 1024, on, timeout, backoff: Some(backoff) })
    };
    assert_eq!(rule("").retry, None);
    assert_eq!(rule("retry.linkerd.io/http: 5xx").retry, retry(1, &[500..=599], None));
    let all = "retry.linkerd.io/http: 'gateway-error, 429,500-501', retry.linkerd.io/limit: '3', \
               retry.linkerd.io/timeout: 2s";
    assert_eq!(rule(all).retry, retry(3, &[502..=504, 429..=429, 500..=501], Some(Duration::from_secs(2))));
    assert_eq!(rule("retry.linkerd.io/limit: '0'").retry, None);
    for bad in ["600", "5yy", "503-500", "", "500,"] {
        assert_eq!(rule(&format!("retry.linkerd.io/http: '{bad}', retry.linkerd.io/limit: '2'")).retry, None, "{bad}");
    }
}

const MODE: &str = "balancer.linkerd.io/failure-accrual";

#[test]
fn c_3_failure_accrual_of_a_service() {
    let accrual = |annotations: &str| annotated(annotations).failure_accrual;
    let seconds = Duration::from_secs;
    let backoff = Backoff { min: seconds(1), max: seconds(60), jitter: 0.5, respect_retry_after: false };
    let of = |kind, backoff| Some(FailureAccrual { kind, backoff, min_ready_endpoints: 0 });
    assert_eq!(accrual(""), None);
    let seven = AccrualKind::Consecutive { max_failures: 7 };
    assert_eq!(accrual(&format!("{MODE}: consecutive")), of(seven, backoff));
    let tuned = format!(
        "{MODE}: consecutive, {MODE}-consecutive-max-failures: '3', {MODE}-consecutive-min-penalty: 2s, \
         {MODE}-consecutive-max-penalty: 1m, {MODE}-consecutive-jitter-ratio: '0.1', \
         balancer.alpha.linkerd.io/failure-accrual-honor-retry-after: 'true'"
    );
    let slower = Backoff { min: seconds(2), jitter: 0.1, respect_retry_after: true, ..backoff };
    assert_eq!(accrual(&tuned), of(AccrualKind::Consecutive { max_failures: 3 }, slower));
    let unified = |success_rate, window, min_requests| AccrualKind::Unified {
        max_failures: 7,
        success_rate,
        window,
        min_requests,
    };
    assert_eq!(accrual(&format!("{MODE}: unified")), of(unified(0.8, seconds(10), 5), backoff));
    let alpha = "balancer.alpha.linkerd.io/failure-accrual-success-rate";
    let tuned = format!("{MODE}: unified, {alpha}-threshold: '0.5', {alpha}-window: 5s, {alpha}-min-requests: '9'");
    assert_eq!(accrual(&tuned), of(unified(0.5, seconds(5), 9), backoff));
}

#[test]
fn c_3_a_wrong_annotation_does_nothing_and_is_named() {
    let alpha = "balancer.alpha.linkerd.io/failure-accrual";
    for (wrong, name) in [
        (format!("{MODE}: sometimes"), MODE.to_owned()),
        (
            format!("{MODE}: consecutive, {MODE}-consecutive-max-failures: many"),
            format!("{MODE}-consecutive-max-failures"),
        ),
        (
            format!("{MODE}: consecutive, {MODE}-consecutive-max-penalty: 10ms"),
            format!("{MODE}-consecutive-max-penalty"),
        ),
        (
            format!("{MODE}: consecutive, {MODE}-consecutive-jitter-ratio: '-1'"),
            format!("{MODE}-consecutive-jitter-ratio"),
        ),
        (format!("{MODE}: unified, {alpha}-success-rate-threshold: '2'"), format!("{alpha}-success-rate-threshold")),
        (format!("{MODE}: unified, {alpha}-success-rate-window: 1ms"), format!("{alpha}-success-rate-window")),
        (
            format!("{MODE}: unified, {alpha}-success-rate-min-requests: '2000000'"),
            format!("{alpha}-success-rate-min-requests"),
        ),
    ] {
        assert_eq!(annotated(&wrong).failure_accrual, None, "{wrong}");
        let service = SERVICE.replace("namespace: ns}", &format!("namespace: ns, annotations: {{{wrong}}}}}"));
        let text = problem(&index(&[&service]), "annotation.invalid", "Service ns/web").expect(&wrong);
        assert!(text.starts_with(&format!("{name}: ")) && text.ends_with("ejected for its failures"), "{text}");
    }
    let honor = format!("{MODE}: consecutive, {alpha}-honor-retry-after: perhaps");
    assert!(annotated(&honor).failure_accrual.is_some(), "the rest holds");
    let service = SERVICE.replace("namespace: ns}", &format!("namespace: ns, annotations: {{{honor}}}}}"));
    assert!(problem(&index(&[&service]), "annotation.invalid", "Service ns/web").is_some());
}

#[test]
fn c_3_failures_may_weigh_in_the_balancing() {
    let penalty = |annotations: &str| {
        let Distribution::FirstAvailable(backends) = rule(annotations).backends else { panic!() };
        let Dispatch::Balancer { load, .. } = &backends[0].backend.dispatch else { panic!() };
        load.penalty
    };
    let enabled = "balancer.alpha.linkerd.io/penalize-failures: 'true'";
    let seconds = Duration::from_secs;
    let default = LoadPenalty { rtt: seconds(5), max_retry_after: seconds(300), decay: seconds(10) };
    assert_eq!(penalty(""), None);
    assert_eq!(penalty(&enabled.replace("true", "false")), None);
    assert_eq!(penalty(enabled), Some(default));
    let tuned = format!(
        "{enabled}, balancer.alpha.linkerd.io/load-biaser-penalty: 2s, \
         balancer.alpha.linkerd.io/load-biaser-max-retry-after: 1m"
    );
    assert_eq!(penalty(&tuned), Some(LoadPenalty { rtt: seconds(2), max_retry_after: seconds(60), ..default }));
    assert_eq!(penalty(&enabled.replace("true", "yes")), None);
}
