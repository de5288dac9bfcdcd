use crate::support::*;
use outrigger_model::{Authentication, Authorization, InboundProtocol, InboundRoute, Meta, PathMatch, RouteMatch};

fn route(name: &str, group: &str, parent: &str) -> String {
    let version = if group == GROUP { "v1beta3" } else { "v1" };
    format!(
        "---
apiVersion: {group}/{version}
kind: HTTPRoute
metadata: {{name: {name}, namespace: ns}}
spec:
  parentRefs: [{{group: policy.linkerd.io, kind: Server, {parent}}}]
  rules: [{{matches: [{{path: {{type: Exact, value: /{name}}}, method: GET}}]}}]
"
    )
}

const GATEWAY: &str = "gateway.networking.k8s.io";

fn on_route(group: &str, route: &str) -> String {
    format!(
        "---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: p, namespace: ns}}
spec: {{targetRef: {{group: {group}, kind: HTTPRoute, name: {route}}}, requiredAuthenticationRefs: []}}
"
    )
}

fn routes(yaml: &[&str]) -> Vec<InboundRoute> {
    routes_of(&policy(&[&[WEB, SERVER], yaml].concat(), 80)).to_vec()
}

fn names(yaml: &[&str]) -> Vec<String> {
    routes(yaml).iter().map(|route| route.meta.to_string()).collect()
}

#[test]
fn c_1_an_http_route_attaches_to_its_server() {
    let attached = routes(&[&route("a", GROUP, "name: srv")]);
    let exact = RouteMatch { path: Some(PathMatch::Exact("/a".into())), method: Some("GET".into()), ..<_>::default() };
    assert_eq!(attached.len(), 1);
    assert_eq!(attached[0].meta, Meta::object(GROUP, "HTTPRoute", "ns", "a"));
    assert_eq!(attached[0].rules[0].matches, [exact]);
    assert_eq!(*attached[0].authorizations, []);
    let both = names(&[&route("b", GROUP, "name: srv"), &route("a", GATEWAY, "name: srv")]);
    assert_eq!(both, ["HTTPRoute ns/a", "HTTPRoute ns/b"], "both groups, by name");
}

#[test]
fn c_1_a_route_that_is_not_accepted_is_not_attached_and_is_named() {
    for (parent, why) in [
        ("name: other", "does not exist"),
        ("name: srv, namespace: other", "another namespace"),
        ("name: srv, port: 80", "sectionName"),
        ("name: srv, sectionName: s", "sectionName"),
    ] {
        let yaml = route("a", GROUP, parent);
        assert_eq!(names(&[&yaml]), ["default/default"], "{parent}");
        let index = index(&[WEB, SERVER, &yaml]);
        let text = problem(&index, "route.not_accepted", "HTTPRoute ns/a").unwrap();
        assert!(text.contains(why), "{text}");
    }
    let of_service =
        route("a", GATEWAY, "name: srv").replace("group: policy.linkerd.io, kind: Server", "group: '', kind: Service");
    assert_eq!(names(&[&of_service]), ["default/default"]);
    assert_eq!(index(&[WEB, SERVER, &of_service]).problems(), [], "an outbound route is none of ours");
}

#[test]
fn c_1_a_policy_on_a_route_admits_on_that_route_only() {
    let yaml = [route("a", GROUP, "name: srv"), route("b", GROUP, "name: srv"), on_route(GROUP, "a")];
    let yaml: Vec<_> = yaml.iter().map(String::as_str).collect();
    let open = by_policy("p", everywhere(), Authentication::Unauthenticated);
    let admitted: Vec<_> = routes(&yaml).iter().map(|route| route.authorizations.to_vec()).collect();
    assert_eq!(admitted, [vec![open], vec![]]);
    assert_eq!(*policy(&[&[WEB, SERVER], yaml.as_slice()].concat(), 80).authorizations, [], "not on the Server");
    let other_group = [route("a", GATEWAY, "name: srv"), on_route(GROUP, "a")];
    assert_eq!(*routes(&[&other_group[0], &other_group[1]])[0].authorizations, [], "the group counts");
}

fn probed() -> String {
    format!(
        "{WEB}    livenessProbe: {{httpGet: {{path: '/live?x=1', port: http}}}}
    readinessProbe: {{httpGet: {{path: /ready, port: 80}}}}
"
    )
}

fn probe_route() -> InboundRoute {
    let path = |path: &str| RouteMatch {
        path: Some(PathMatch::Exact(path.into())),
        method: Some("GET".into()),
        ..RouteMatch::default()
    };
    let kubelets = Authorization {
        meta: Meta::default_named("probe"),
        networks: nets(&["0.0.0.0/0"]),
        authentication: Authentication::Unauthenticated,
    };
    let mut route = default_route();
    route.meta = Meta::default_named("probe");
    route.authorizations = [kubelets].into();
    route.rules[0].matches = vec![path("/live"), path("/ready")];
    route
}

#[test]
fn a_3_5_probes_are_admitted_from_the_probe_networks() {
    let pod = probed();
    let expected = [default_route(), probe_route()];
    assert_eq!(routes_of(&policy(&[&pod], 80)), expected, "without a Server");
    assert_eq!(routes_of(&policy(&[&pod, SERVER], 80)), expected, "with a Server");
    assert_eq!(routes_of(&policy(&[&pod], 81)), [default_route()], "on their port");
    let mut nowhere = config();
    nowhere.probe_networks.clear();
    let policy = outrigger_policy::policy(&world(&[&pod]), &nowhere, &web(), 80).unwrap();
    assert_eq!(routes_of(&policy), [default_route()]);
}

#[test]
fn c_1_probe_routes_vanish_when_the_server_has_routes() {
    let policy = policy(&[&probed(), SERVER, &route("a", GROUP, "name: srv")], 80);
    let names: Vec<_> = routes_of(&policy).iter().map(|route| route.meta.to_string()).collect();
    assert_eq!(names, ["HTTPRoute ns/a"]);
}

#[test]
fn c_1_http_routes_of_a_grpc_server_keep_what_they_restrict() {
    let grpc = SERVER.replace("HTTP/1", "gRPC");
    let policy = policy(&[&probed(), &grpc, &route("a", GROUP, "name: srv")], 80);
    assert!(matches!(&policy.protocol, InboundProtocol::Grpc { routes } if routes.len() == 1));
    let sent = outrigger_api::inbound::policy_to_proto(&policy);
    let received = outrigger_api::inbound::policy_from_proto(sent).unwrap();
    assert_eq!(routes_of(&received), routes_of(&policy));
}
