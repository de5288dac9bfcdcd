//! HTTPRoutes of both groups.

use outrigger_cluster::{HttpRoute, Object, parse};
use outrigger_model::{Filter, HostMatch, PathMatch, ValueMatch};
use std::path::Path;
use std::sync::Arc;

fn route(head: &str, spec: &str) -> Arc<HttpRoute> {
    let text = format!("apiVersion: {head}\nkind: HTTPRoute\nmetadata: {{name: r, namespace: shop}}\nspec:\n{spec}");
    let manifest = parse::manifest(Path::new("m.yaml"), &text);
    assert!(manifest.errors.is_empty(), "{:?}", manifest.errors);
    match &manifest.objects[0].0 {
        Object::HttpRoute(route) | Object::GatewayHttpRoute(route) => Arc::clone(route),
        other => panic!("{other:?}"),
    }
}

const POLICY: &str = "policy.linkerd.io/v1beta3";
const GATEWAY: &str = "gateway.networking.k8s.io/v1";

#[test]
fn a_route_keeps_its_parents_hosts_and_matches() {
    let route = route(
        POLICY,
        "  parentRefs:\n  - {kind: Server, name: web}\n  - {group: core, kind: Service, name: web, namespace: bank, port: 80}\n  \
         hostnames: [Example.com, '*.example.com']\n  rules:\n  - matches:\n    - path: {type: Exact, value: /a}\n      \
         method: GET\n      headers: [{name: X-Env, value: prod}]\n      queryParams: [{name: q, value: 'a.*', type: RegularExpression}]\n    \
         - path: {value: /b}\n    - path: {type: RegularExpression, value: '/c/[0-9]+'}\n",
    );
    let parents: Vec<_> =
        route.parents.iter().map(|p| (p.target.group.as_str(), p.target.kind.as_str(), p.port)).collect();
    assert_eq!(parents, [("policy.linkerd.io", "Server", None), ("", "Service", Some(80))]);
    assert_eq!(route.parents[1].target.namespace.as_deref(), Some("bank"));
    let hosts = [HostMatch::Exact("example.com".into()), HostMatch::Suffix("example.com".into())];
    assert_eq!(route.hosts, hosts);
    let [exact, prefix, regex] = route.rules[0].matches.as_slice() else { panic!("{:?}", route.rules) };
    assert_eq!((&exact.path, exact.method.as_deref()), (&Some(PathMatch::Exact("/a".into())), Some("GET")));
    assert_eq!((&*exact.headers[0].name, &exact.headers[0].value), ("x-env", &ValueMatch::Exact("prod".into())));
    assert_eq!(exact.query[0].value, ValueMatch::Regex("a.*".into()));
    assert_eq!(prefix.path, Some(PathMatch::Prefix("/b".into())));
    assert_eq!(regex.path, Some(PathMatch::Regex("/c/[0-9]+".into())));
}

#[test]
fn a_route_without_rules_matches_every_request_and_one_with_none_matches_nothing() {
    let bare = route(POLICY, "  parentRefs: [{kind: Server, name: web}]\n");
    assert_eq!((bare.rules.len(), bare.rules[0].matches.len()), (1, 0));
    assert!(route(POLICY, "  rules: []\n").rules.is_empty());
}

#[test]
fn both_groups_routes_may_share_a_name() {
    let kinds = [POLICY, GATEWAY, "gateway.networking.k8s.io/v1beta1"].map(|head| route(head, "  rules: []\n").group);
    assert_eq!(kinds, ["policy.linkerd.io", "gateway.networking.k8s.io", "gateway.networking.k8s.io"]);
}

#[test]
fn a_filter_that_inbound_cannot_express_refuses_rather_than_vanishes() {
    let filters = "  rules:\n  - filters:\n    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: b}], remove: [X-B]}}\n    \
                   - {type: RequestRedirect, requestRedirect: {hostname: h, port: 8080, path: {type: ReplaceFullPath, replaceFullPath: /n}}}\n    \
                   - {type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /n}}}\n    \
                   - {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [Server]}}\n";
    let ours = route(POLICY, filters);
    let [Filter::RequestHeaders(headers), Filter::Redirect(redirect), Filter::Unknown, Filter::Unknown] =
        ours.rules[0].filters.as_slice()
    else {
        panic!("{:?}", ours.rules)
    };
    assert_eq!(headers.set, [("x-a".into(), "b".into())]);
    assert_eq!(*headers.remove, ["x-b".into()]);
    assert_eq!(
        (redirect.host.as_deref(), redirect.port, redirect.path.as_deref()),
        (Some("h"), Some(8080), Some("/n"))
    );
    assert_eq!(redirect.status, 302);
    let gateway = route(GATEWAY, "  later: 1\n  rules:\n  - name: first\n    filters: [{type: CORS, cors: {}}]\n");
    assert_eq!(gateway.rules[0].filters, [Filter::Unknown]);
}
