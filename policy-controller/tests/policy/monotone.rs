//! Taking an authorization away never admits more.

use crate::support::*;
use outrigger_model::{Authentication, Authorization, IdentityMatch, InboundPolicy, PathMatch};
use proptest::prelude::*;
use std::net::IpAddr;

/// Objects that admit; references among them may dangle.
const ADMITTING: &[&str] = &[
    "apiVersion: policy.linkerd.io/v1beta1
kind: ServerAuthorization
metadata: {name: saz, namespace: ns}
spec: {server: {name: srv}, client: {meshTLS: {serviceAccounts: [{name: client}]}}}",
    "apiVersion: policy.linkerd.io/v1beta1
kind: ServerAuthorization
metadata: {name: tls, namespace: ns}
spec: {server: {selector: {}}, client: {networks: [{cidr: 10.0.0.0/9}], meshTLS: {unauthenticatedTLS: true}}}",
    "apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: both, namespace: ns}
spec: {targetRef: {group: policy.linkerd.io, kind: Server, name: srv},
  requiredAuthenticationRefs: [{group: policy.linkerd.io, kind: MeshTLSAuthentication, name: mtls},
    {group: policy.linkerd.io, kind: NetworkAuthentication, name: net}]}",
    "apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: everything, namespace: ns}
spec: {targetRef: {kind: Namespace, name: ns},
  requiredAuthenticationRefs: [{group: policy.linkerd.io, kind: NetworkAuthentication, name: net}]}",
    "apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: route, namespace: ns}
spec: {targetRef: {group: policy.linkerd.io, kind: HTTPRoute, name: r},
  requiredAuthenticationRefs: [{group: policy.linkerd.io, kind: MeshTLSAuthentication, name: mtls}]}",
    "apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: account, namespace: ns}
spec: {targetRef: {group: policy.linkerd.io, kind: HTTPRoute, name: r},
  requiredAuthenticationRefs: [{kind: ServiceAccount, name: client}]}",
    "apiVersion: policy.linkerd.io/v1alpha1
kind: MeshTLSAuthentication
metadata: {name: mtls, namespace: ns}
spec: {identityRefs: [{kind: Namespace, name: ns}]}",
    "apiVersion: policy.linkerd.io/v1alpha1
kind: NetworkAuthentication
metadata: {name: net, namespace: ns}
spec: {networks: [{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}]}",
];

const ROUTE: &str = "apiVersion: policy.linkerd.io/v1beta3
kind: HTTPRoute
metadata: {name: r, namespace: ns}
spec: {parentRefs: [{group: policy.linkerd.io, kind: Server, name: srv}],
  rules: [{matches: [{path: {type: Exact, value: /r}}]}]}";

#[derive(Debug, Clone, Copy)]
struct Client {
    addr: [u8; 4],
    tls: bool,
    name: Option<&'static str>,
}

const CLIENTS: &[Client] = &[
    Client { addr: [10, 2, 0, 1], tls: false, name: None },
    Client { addr: [10, 1, 0, 1], tls: true, name: None },
    Client { addr: [192, 0, 2, 1], tls: true, name: Some("spiffe://root.linkerd.cluster.local/ns/ns/sa/client") },
    Client { addr: [10, 1, 0, 1], tls: true, name: Some("client.ns.serviceaccount.identity.linkerd.cluster.local") },
    Client { addr: [10, 2, 0, 1], tls: true, name: Some("other.ns.serviceaccount.identity.linkerd.cluster.local") },
    Client { addr: [10, 2, 0, 1], tls: true, name: Some("spiffe://root.linkerd.cluster.local/external-workload") },
];

/// What a proxy would do, said as plainly as possible.
fn admits(policy: &InboundPolicy, client: Client, path: &str) -> bool {
    let route = routes_of(policy).iter().find(|route| {
        route.rules.iter().flat_map(|rule| &rule.matches).any(|matched| match matched.path.as_ref() {
            Some(PathMatch::Exact(exact)) => **exact == *path,
            _ => true,
        })
    });
    let Some(route) = route else { return false };
    policy.authorizations.iter().chain(&*route.authorizations).any(|authorization| meets(authorization, client))
}

fn meets(authorization: &Authorization, client: Client) -> bool {
    let within = authorization.networks.iter().any(|network| network.contains(IpAddr::from(client.addr)));
    within
        && match &authorization.authentication {
            Authentication::Unauthenticated => true,
            Authentication::TlsUnauthenticated => client.tls,
            Authentication::TlsAuthenticated(matches) => {
                client.name.is_some_and(|name| matches.iter().any(|rule| is(rule, name)))
            }
        }
}

fn is(rule: &IdentityMatch, name: &str) -> bool {
    match rule {
        IdentityMatch::Any => true,
        IdentityMatch::Exact(exact) => **exact == *name,
        IdentityMatch::DnsSuffix(suffix) => name.ends_with(&format!(".{suffix}")),
        IdentityMatch::SpiffePrefix(prefix) => name.starts_with(&format!("{prefix}/")),
    }
}

/// Every client that is admitted, on every path.
fn admitted(chosen: &[bool], with_route: bool) -> Vec<(usize, &'static str)> {
    let objects = ADMITTING.iter().zip(chosen).filter(|(_, chosen)| **chosen).map(|(yaml, _)| *yaml);
    let yaml: Vec<_> = [WEB, SERVER].into_iter().chain(with_route.then_some(ROUTE)).chain(objects).collect();
    let policy = policy(&yaml, 80);
    let everyone = (0..CLIENTS.len()).flat_map(|client| ["/", "/r"].map(|path| (client, path)));
    everyone.filter(|(client, path)| admits(&policy, CLIENTS[*client], path)).collect()
}

#[test]
fn c_1_the_objects_of_the_property_do_admit() {
    let all = [true; ADMITTING.len()];
    let (open, routed) = (admitted(&all, false), admitted(&all, true));
    assert!(open.contains(&(0, "/")) && routed.contains(&(2, "/r")) && !routed.contains(&(0, "/")));
    assert!(!open.contains(&(5, "/")) || open.contains(&(0, "/")), "the VM comes in by its network only");
    assert_eq!(admitted(&[false; ADMITTING.len()], true), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn c_1_removing_an_authorization_never_admits_more(
        mut chosen in proptest::collection::vec(any::<bool>(), ADMITTING.len()),
        with_route: bool,
        removed in 0..ADMITTING.len(),
    ) {
        chosen[removed] = true;
        let before = admitted(&chosen, with_route);
        chosen[removed] = false;
        let after = admitted(&chosen, with_route);
        prop_assert!(after.iter().all(|client| before.contains(client)), "{after:?} of {before:?}");
    }

    #[test]
    fn c_1_only_who_an_authorization_names_is_admitted(
        chosen in proptest::collection::vec(any::<bool>(), ADMITTING.len()), with_route: bool,
    ) {
        let [saz, tls, both, everything, route, account, mtls, net] = <[bool; 8]>::try_from(chosen.clone()).unwrap();
        let expected = |client: usize, path: &str| {
            let Client { addr, tls: has_tls, name } = CLIENTS[client];
            let in_net = addr[0] == 10 && addr[1] != 1;
            let is_client = name.is_some_and(|name| name.contains("client"));
            let in_ns = name.is_some_and(|name| name.contains("/ns/ns/") || name.contains(".ns."));
            let on_server = (saz && is_client && addr[0] == 10)
                || (tls && has_tls && addr[0] == 10)
                || (both && mtls && net && in_ns && in_net)
                || (everything && net && in_net);
            let on_route = path == "/r" && ((route && mtls && in_ns) || (account && is_client));
            if with_route { path == "/r" && (on_server || on_route) } else { on_server }
        };
        let got = admitted(&chosen, with_route);
        for client in 0..CLIENTS.len() {
            for path in ["/", "/r"] {
                prop_assert_eq!(got.contains(&(client, path)), expected(client, path), "{} {}", client, path);
            }
        }
    }
}
