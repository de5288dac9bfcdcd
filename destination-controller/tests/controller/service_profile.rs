//! ServiceProfiles: whose holds for whom, and what proxies are told of it (B.4).

use crate::world::*;
use linkerd2_proxy_api::destination as pb;
use outrigger_api::destination::profile_from_proto;
use outrigger_cluster::{Change, Key, Kind};
use outrigger_destination::index::{Shared, Topic};
use outrigger_model::{Labels, Meta, Profile, ProfileRoute, RequestMatch, RetryBudget, WeightedAuthority};
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "legacy-app.mixed-env.svc.cluster.local";

fn written(namespace: &str, spec: &str) -> String {
    let head = "apiVersion: linkerd.io/v1alpha2\nkind: ServiceProfile";
    format!("{head}\nmetadata: {{name: {NAME}, namespace: {namespace}}}\nspec: {spec}")
}

fn routed(namespace: &str, route: &str) -> String {
    written(namespace, &format!("{{routes: [{{name: {route}, condition: {{method: GET}}}}]}}"))
}

fn by_name(client: Option<&str>) -> Topic {
    Topic::Service { service: Key::new("mixed-env", "legacy-app"), port: 80, client: client.map(Into::into) }
}

fn by_address(client: Option<&str>) -> Topic {
    Topic::Address { addr: "10.96.1.1:80".parse().unwrap(), client: client.map(Into::into) }
}

fn read(index: &Shared, topic: Topic) -> Profile {
    profile_from_proto(profile_of(index, topic).unwrap()).unwrap()
}

/// The names of the routes, as clients of a namespace get them by name and by address.
fn routes(index: &Shared, client: Option<&str>) -> Vec<String> {
    let [name, address] = [by_name(client), by_address(client)].map(|topic| read(index, topic));
    assert_eq!(name, address);
    name.routes.iter().map(|route| route.labels["route"].to_string()).collect()
}

#[test]
fn b_4_the_profile_of_the_clients_namespace_goes_before_the_services_and_that_before_the_default() {
    let world = index(&[SERVICES, &routed("mixed-env", "services"), &routed("shop", "shops")]);
    assert_eq!(routes(&world, Some("shop")), ["shops"]);
    assert_eq!(routes(&world, Some("bank")), ["services"]);
    assert_eq!(routes(&world, Some("mixed-env")), ["services"]);
    assert_eq!(routes(&world, None), ["services"]);
    let world = index(&[SERVICES, &routed("shop", "shops")]);
    assert_eq!(routes(&world, Some("bank")), [""; 0]);
}

#[test]
fn b_4_a_service_profile_is_told_in_full() {
    let spec = "
  routes: [{name: books, condition: {pathRegex: '/books/.*'}, isRetryable: true, timeout: 300ms}]
  retryBudget: {retryRatio: 0.5, minRetriesPerSecond: 3, ttl: 15s}
  dstOverrides:
  - {authority: web-v1.mixed-env.svc.cluster.local, weight: 900m}
  - {authority: 'web-v2.mixed-env.svc.cluster.local:8080', weight: 100m}
";
    let world = index(&[SERVICES, &written("mixed-env", spec)]);
    let to = |authority: &str, weight| WeightedAuthority { authority: authority.into(), weight };
    let expected = Profile {
        service: Some(NAME.into()),
        opaque: false,
        endpoint: None,
        routes: [ProfileRoute {
            condition: RequestMatch::Path("/books/.*".into()),
            labels: Arc::new(Labels::from([("route".into(), "books".into())])),
            response_classes: Vec::new(),
            retryable: true,
            timeout: Some(Duration::from_millis(300)),
        }]
        .into(),
        retry_budget: Some(RetryBudget { ratio: 0.5, min_per_second: 3, ttl: Duration::from_secs(15) }),
        overrides: [
            to("web-v1.mixed-env.svc.cluster.local:80", 9_000),
            to("web-v2.mixed-env.svc.cluster.local:8080", 1_000),
        ]
        .into(),
        parent: Some(Meta::object("core", "Service", "mixed-env", "legacy-app").at_port(80)),
        source: Some(Meta::object("linkerd.io", "ServiceProfile", "mixed-env", NAME)),
    };
    assert_eq!(read(&world, by_name(None)), expected);
}

#[test]
fn b_4_opaque_ports_are_the_annotations_and_the_profiles_together() {
    let annotated = SERVICES.replacen(
        "legacy-app, namespace: mixed-env}",
        "legacy-app, namespace: mixed-env, annotations: {config.linkerd.io/opaque-ports: '81'}}",
        1,
    );
    let opaque = |services: &str, ports: &str| {
        read(&index(&[services, &written("mixed-env", &format!("{{opaquePorts: [{ports}]}}"))]), by_name(None)).opaque
    };
    assert!(!opaque(SERVICES, "") && !opaque(SERVICES, "'81'"));
    assert!(opaque(SERVICES, "'80'") && opaque(&annotated, "70-90"));
    assert!(opaque(&annotated.replace("'81'", "'80'"), "'81'"));
}

#[test]
fn b_4_a_profile_that_names_no_service_of_the_cluster_means_nothing() {
    let others = [
        NAME.replace("legacy-app", "nobody"),
        NAME.replace("cluster.local", "other.local"),
        format!("instance.{NAME}"),
        "legacy-app".to_owned(),
    ];
    for name in others {
        let world = index(&[SERVICES, &routed("mixed-env", "r").replace(NAME, &name)]);
        assert_eq!(routes(&world, None), [""; 0], "{name}");
    }
}

/// The routes of each message that there is now.
fn told(reader: &mut Reader) -> Vec<String> {
    let route = |profile: pb::DestinationProfile| profile.routes.first().map(|r| r.metrics_labels["route"].clone());
    reader.read().into_iter().map(|profile| route(profile).unwrap_or_default()).collect()
}

#[test]
fn b_4_clients_hear_of_profiles_as_they_come_and_go_and_nothing_twice() {
    let world = index(&[SERVICES]);
    let mut readers: Vec<_> = [by_name, by_address]
        .into_iter()
        .flat_map(|topic| [Some("shop"), Some("bank")].map(topic))
        .map(|topic| Reader::new(&world, topic))
        .collect();
    assert_eq!(world.lock().topics(), 2, "as long as there is no profile, all clients share");
    let delete = |namespace: &str| vec![Change::Delete(Kind::ServiceProfile, Key::new(namespace, NAME))];
    for (changes, shop, bank) in [
        (Vec::new(), vec![""], vec![""]),
        (upserts(&routed("shop", "shops")), vec!["shops"], vec![]),
        (upserts(&routed("shop", "shops")), vec![], vec![]),
        (upserts(&routed("mixed-env", "services")), vec![], vec!["services"]),
        (upserts(&routed("shop", "other")), vec!["other"], vec![]),
        (delete("shop"), vec!["services"], vec![]),
        (delete("mixed-env"), vec![""], vec![""]),
    ] {
        if !changes.is_empty() {
            apply(&world, &changes);
        }
        for (n, reader) in readers.iter_mut().enumerate() {
            let expected = if n % 2 == 0 { &shop } else { &bank };
            assert_eq!(told(reader), *expected, "reader {n} after {changes:?}");
        }
    }
    drop(readers);
    assert_eq!(world.lock().topics(), 0);
}
