//! ServiceProfiles as users write them.
#![expect(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use outrigger_cluster::parse::{self, parse_duration};
use outrigger_cluster::{Object, Override, ServiceProfile};
use outrigger_model::{Labels, ProfileRoute, RequestMatch, ResponseClass, ResponseMatch, RetryBudget};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn profile(spec: &str) -> Arc<ServiceProfile> {
    let head = "apiVersion: linkerd.io/v1alpha2\nkind: ServiceProfile\n";
    let meta = "metadata: {name: web.shop.svc.cluster.local, namespace: shop}\n";
    let manifest = parse::manifest(Path::new("m.yaml"), &format!("{head}{meta}{spec}"));
    assert!(manifest.errors.is_empty(), "{:?}", manifest.errors);
    match manifest.objects.into_iter().next().unwrap().0 {
        Object::ServiceProfile(profile) => profile,
        other => panic!("{other:?}"),
    }
}

fn path(regex: &str) -> RequestMatch {
    RequestMatch::Path(regex.into())
}

#[test]
fn d_4_a_profile_in_full() {
    let profile = profile(
        "
spec:
  routes:
  - name: GET /books/{id}
    condition: {method: get, pathRegex: '/books/[^/]*'}
    isRetryable: true
    timeout: 1m0.5s
    responseClasses:
    - condition: {status: {min: 500, max: 599}, not: {status: {min: 503}}}
      isFailure: true
  - name: rest
    condition: {any: [{pathRegex: /a}, {all: [{method: PUT}, {not: [{pathRegex: /b}, {pathRegex: /c}]}]}]}
  retryBudget: {retryRatio: 0.5, minRetriesPerSecond: 3, ttl: 15s}
  dstOverrides:
  - {authority: web-v1.shop.svc.cluster.local, weight: 900m}
  - {authority: 'web-v2.shop.svc.cluster.local:8080', weight: '0.1'}
  - {authority: web-v3.shop.svc.cluster.local, weight: 0}
  opaquePorts: ['3306', 4000-4100]
",
    );
    let labels = |name: &str| Arc::new(Labels::from([("route".into(), name.into())]));
    let status = |min, max| ResponseMatch::Status(min..=max);
    let failure = ResponseMatch::All(vec![status(500, 599), ResponseMatch::Not(Box::new(status(503, 503)))]);
    let not = |regex| RequestMatch::Not(Box::new(path(regex)));
    let put =
        RequestMatch::All(vec![RequestMatch::Method("PUT".into()), RequestMatch::All(vec![not("/b"), not("/c")])]);
    let routes = [
        ProfileRoute {
            condition: RequestMatch::All(vec![RequestMatch::Method("GET".into()), path("/books/[^/]*")]),
            labels: labels("GET /books/{id}"),
            response_classes: vec![ResponseClass { condition: failure, failure: true }],
            retryable: true,
            timeout: Some(Duration::from_millis(60_500)),
        },
        ProfileRoute {
            condition: RequestMatch::Any(vec![path("/a"), put]),
            labels: labels("rest"),
            response_classes: Vec::new(),
            retryable: false,
            timeout: None,
        },
    ];
    assert_eq!(*profile.routes, routes);
    let budget = RetryBudget { ratio: 0.5, min_per_second: 3, ttl: Duration::from_secs(15) };
    assert_eq!(profile.retry_budget, Some(budget));
    let to =
        |name: &str, port, weight| Override { name: format!("{name}.shop.svc.cluster.local").into(), port, weight };
    assert_eq!(profile.overrides, [to("web-v1", None, 9_000), to("web-v2", Some(8080), 1_000)]);
    assert!(profile.opaque_ports.contains(3306) && profile.opaque_ports.contains(4050));
    assert_eq!(profile.meta.key.to_string(), "shop/web.shop.svc.cluster.local");
}

#[test]
fn d_4_a_profile_may_say_nothing() {
    let profile = profile("spec: {}");
    assert_eq!((profile.routes.len(), profile.retry_budget, profile.overrides.len()), (0, None, 0));
}

#[test]
fn d_4_weights_are_quantities() {
    let weight = |text: &str| {
        let spec = format!("spec: {{dstOverrides: [{{authority: web.shop.svc.cluster.local, weight: {text}}}]}}");
        profile(&spec).overrides[0].weight
    };
    let weights = ["1", "100", "500m", "'.5'", "'1.'", "'0.0001'", "'1.5m'", "2k"].map(weight);
    assert_eq!(weights, [10_000, 1_000_000, 5_000, 5_000, 10_000, 10, 20, 20_000_000]);
}

#[test]
fn durations_are_those_of_go() {
    for (text, millis) in [("10s", 10_000), ("1h2m3s", 3_723_000), ("1.5s", 1_500), ("25ms", 25), ("0s", 0)] {
        assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
    }
    assert_eq!(parse_duration("3us4ns"), Some(Duration::from_nanos(3_004)));
    for bad in ["", "10", "s", "-1s", "1 s", "1sec", "1..5s", "1s2", "\u{661}s"] {
        assert_eq!(parse_duration(bad), None, "{bad}");
    }
}
