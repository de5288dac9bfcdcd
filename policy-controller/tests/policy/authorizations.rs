use crate::support::*;
use outrigger_model::{Authentication, Authorization, IdentityMatch, Meta, NetworkMatch};

fn policy_yaml(name: &str, target: &str, required: &str) -> String {
    format!(
        "---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: ns}}
spec: {{targetRef: {{{target}}}, requiredAuthenticationRefs: [{required}]}}
"
    )
}

const SRV: &str = "group: policy.linkerd.io, kind: Server, name: srv";

fn mesh_tls(namespace: &str, spec: &str) -> String {
    format!(
        "---
apiVersion: policy.linkerd.io/v1alpha1
kind: MeshTLSAuthentication
metadata: {{name: mtls, namespace: {namespace}}}
spec: {{{spec}}}
"
    )
}

const NETWORKS: &str = "---
apiVersion: policy.linkerd.io/v1alpha1
kind: NetworkAuthentication
metadata: {name: net, namespace: ns}
spec: {networks: [{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}]}
";

const MTLS_REF: &str = "{group: policy.linkerd.io, kind: MeshTLSAuthentication, name: mtls}";
const NET_REF: &str = "{group: policy.linkerd.io, kind: NetworkAuthentication, name: net}";

fn admitted(yaml: &[&str]) -> Vec<Authorization> {
    policy(&[&[WEB, SERVER], yaml].concat(), 80).authorizations.to_vec()
}

#[test]
fn c_1_a_policy_without_requirements_admits_everybody() {
    let open = by_policy("p", everywhere(), Authentication::Unauthenticated);
    assert_eq!(admitted(&[&policy_yaml("p", SRV, "")]), [open]);
}

#[test]
fn c_1_identities_and_networks_are_both_required() {
    let identities = mesh_tls("ns", "identities: ['spiffe://root.linkerd.cluster.local/vm']");
    let outside_10_1 = NetworkMatch { net: net("10.0.0.0/8"), except: vec![net("10.1.0.0/16")] };
    let both = policy_yaml("p", SRV, &format!("{MTLS_REF}, {NET_REF}"));
    let vm = ids(&[exact("spiffe://root.linkerd.cluster.local/vm")]);
    assert_eq!(admitted(&[&both, &identities, NETWORKS]), [by_policy("p", [outside_10_1.clone()].into(), vm.clone())]);
    let identities_only = policy_yaml("p", SRV, MTLS_REF);
    assert_eq!(admitted(&[&identities_only, &identities]), [by_policy("p", everywhere(), vm)]);
    let networks_only = policy_yaml("p", SRV, NET_REF);
    let from_there = by_policy("p", [outside_10_1].into(), Authentication::Unauthenticated);
    assert_eq!(admitted(&[&networks_only, NETWORKS]), [from_there]);
}

#[test]
fn c_1_a_policy_with_a_missing_reference_denies_and_is_named() {
    let both = policy_yaml("p", SRV, &format!("{MTLS_REF}, {NET_REF}"));
    let identities = mesh_tls("ns", "identities: ['*']");
    for yaml in [vec![both.as_str()], vec![&both, NETWORKS], vec![&both, &identities]] {
        assert_eq!(admitted(&yaml), [], "{yaml:?}");
        let index = index(&[&[WEB, SERVER], yaml.as_slice()].concat());
        let text = problem(&index, "authorization_policy.ignored", "AuthorizationPolicy ns/p").unwrap();
        assert!(text.contains("does not exist"), "{text}");
    }
    let elsewhere = mesh_tls("other", "identities: ['*']");
    assert_eq!(admitted(&[&both, NETWORKS, &elsewhere]), [], "the reference names no namespace");
}

#[test]
fn c_1_authentications_may_be_of_another_namespace() {
    let required = "{group: policy.linkerd.io, kind: MeshTLSAuthentication, name: mtls, namespace: other}";
    let any = mesh_tls("other", "identities: ['*']");
    let expected = by_policy("p", everywhere(), ids(&[IdentityMatch::Any]));
    assert_eq!(admitted(&[&policy_yaml("p", SRV, required), &any]), [expected]);
}

#[test]
fn c_1_identities_take_every_form() {
    let identities = "identities: ['*', '*.a.b', 'Web.NS.example', 'spiffe://td/vm', 'spiffe://td/ns/*']";
    let expected = [
        IdentityMatch::Any,
        IdentityMatch::DnsSuffix("a.b".into()),
        exact("web.ns.example"),
        exact("spiffe://td/vm"),
        IdentityMatch::SpiffePrefix("spiffe://td/ns".into()),
    ];
    let admitted = admitted(&[&policy_yaml("p", SRV, MTLS_REF), &mesh_tls("ns", identities)]);
    assert_eq!(admitted, [by_policy("p", everywhere(), ids(&expected))]);
}

#[test]
fn c_1_service_accounts_and_namespaces_stand_for_both_forms_of_name() {
    let account = [
        exact("spiffe://root.linkerd.cluster.local/ns/other/sa/client"),
        exact("client.other.serviceaccount.identity.linkerd.cluster.local"),
    ];
    let namespace = [
        IdentityMatch::SpiffePrefix("spiffe://root.linkerd.cluster.local/ns/other".into()),
        IdentityMatch::DnsSuffix("other.serviceaccount.identity.linkerd.cluster.local".into()),
    ];
    let refs = "identityRefs: [{kind: ServiceAccount, name: client, namespace: other}, {kind: Namespace, name: other}]";
    let by_refs = admitted(&[&policy_yaml("p", SRV, MTLS_REF), &mesh_tls("ns", refs)]);
    let all = [account.as_slice(), namespace.as_slice()].concat();
    assert_eq!(by_refs, [by_policy("p", everywhere(), ids(&all))]);

    let direct = policy_yaml("p", SRV, "{kind: ServiceAccount, name: client, namespace: other}");
    assert_eq!(admitted(&[&direct]), [by_policy("p", everywhere(), ids(&account))]);
    let own = policy_yaml("p", SRV, "{kind: ServiceAccount, name: client}");
    let own_names = [
        exact("spiffe://root.linkerd.cluster.local/ns/ns/sa/client"),
        exact("client.ns.serviceaccount.identity.linkerd.cluster.local"),
    ];
    assert_eq!(admitted(&[&own]), [by_policy("p", everywhere(), ids(&own_names))]);
}

#[test]
fn c_1_a_policy_on_the_namespace_covers_every_server_and_no_other_port() {
    let namespace = policy_yaml("p", "kind: Namespace, name: ns", "");
    assert_eq!(admitted(&[&namespace]).len(), 1);
    let without_server = policy(&[WEB, &namespace], 80);
    assert!(without_server.meta.is_default());
    assert!(without_server.authorizations.iter().all(|authorization| authorization.meta.is_default()));
    let elsewhere = namespace.replace("namespace: ns", "namespace: other").replace("name: ns", "name: other");
    assert_eq!(admitted(&[&elsewhere]), []);
}

#[test]
fn c_1_a_policy_on_something_else_admits_nobody_here() {
    let other_server = policy_yaml("p", "group: policy.linkerd.io, kind: Server, name: other", "");
    let route = policy_yaml("p", "group: policy.linkerd.io, kind: HTTPRoute, name: srv", "");
    let grpc = policy_yaml("p", "group: gateway.networking.k8s.io, kind: GRPCRoute, name: srv", "");
    for yaml in [&other_server, &route, &grpc] {
        assert_eq!(admitted(&[yaml]), [], "{yaml}");
    }
    let without_target =
        |yaml: &str| problem(&index(&[WEB, SERVER, yaml]), "authorization_policy.without_target", "ns/p");
    assert!(without_target(&other_server).unwrap().contains("Server ns/other"));
    assert!(without_target(&route).unwrap().contains("HTTPRoute ns/srv"));
    assert!(problem(&index(&[WEB, SERVER, &grpc]), "authorization_policy.ignored", "ns/p").is_some());
}

fn server_authorization(server: &str, client: &str) -> String {
    format!(
        "---
apiVersion: policy.linkerd.io/v1beta1
kind: ServerAuthorization
metadata: {{name: saz, namespace: ns}}
spec: {{server: {{{server}}}, client: {{{client}}}}}
"
    )
}

fn by_server_authorization(networks: &[&str], authentication: Authentication) -> Authorization {
    let meta = Meta::object(GROUP, "serverauthorization", "ns", "saz");
    Authorization { meta, networks: nets(networks), authentication }
}

#[test]
fn c_1_server_authorizations_select_by_name_or_labels() {
    let labelled = SERVER.replace("name: srv,", "name: srv, labels: {tier: front},");
    let selects = |server: &str| {
        let yaml = server_authorization(server, "unauthenticated: true");
        !policy(&[WEB, &labelled, &yaml], 80).authorizations.is_empty()
    };
    assert!(selects("name: srv") && !selects("name: other"));
    assert!(selects("selector: {matchLabels: {tier: front}}") && selects("selector: {}"));
    assert!(!selects("selector: {matchLabels: {tier: back}}"));
}

#[test]
fn c_1_server_authorizations_without_networks_mean_the_cluster() {
    let of = |client: &str| admitted(&[&server_authorization("name: srv", client)]);
    let cluster = |authentication| [by_server_authorization(&["10.0.0.0/8"], authentication)];
    assert_eq!(of("unauthenticated: true"), cluster(Authentication::Unauthenticated));
    assert_eq!(of("meshTLS: {unauthenticatedTLS: true}"), cluster(Authentication::TlsUnauthenticated));
    let identities = "meshTLS: {identities: ['*.a.b'], serviceAccounts: [{name: client}]}";
    let names = [
        IdentityMatch::DnsSuffix("a.b".into()),
        exact("spiffe://root.linkerd.cluster.local/ns/ns/sa/client"),
        exact("client.ns.serviceaccount.identity.linkerd.cluster.local"),
    ];
    assert_eq!(of(identities), cluster(ids(&names)));
    let somewhere = "unauthenticated: true, networks: [{cidr: 192.0.2.0/24}]";
    assert_eq!(of(somewhere), [by_server_authorization(&["192.0.2.0/24"], Authentication::Unauthenticated)]);
}

#[test]
fn c_1_access_policy_admits_beside_the_authorizations() {
    let with = |policy: &str| SERVER.replace("port: http,", &format!("port: http, accessPolicy: {policy},"));
    let of = |policy_name: &str| policy(&[WEB, &with(policy_name)], 80).authorizations.to_vec();
    assert_eq!(of("deny"), []);
    let default = |name: &str, networks, authentication| Authorization {
        meta: Meta::default_named(name),
        networks,
        authentication,
    };
    let audit = default("audit", everywhere(), Authentication::Unauthenticated);
    assert_eq!(of("audit"), [audit]);
    let meshed = default("cluster-authenticated", nets(&["10.0.0.0/8"]), ids(&[IdentityMatch::Any]));
    assert_eq!(of("cluster-authenticated"), std::slice::from_ref(&meshed));
    let open = by_policy("p", everywhere(), Authentication::Unauthenticated);
    let both = policy(&[WEB, &with("cluster-authenticated"), &policy_yaml("p", SRV, "")], 80).authorizations;
    assert_eq!(*both, [open, meshed]);
}
