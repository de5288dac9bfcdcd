use crate::support::*;
use outrigger_model::{Authentication, IdentityMatch, InboundPolicy, InboundProtocol, Meta, WorkloadRef};

fn annotated(yaml: &str, annotations: &str) -> String {
    yaml.replace("metadata: {", &format!("metadata: {{annotations: {{{annotations}}}, "))
}

const VM: &str = "---
apiVersion: workload.linkerd.io/v1beta1
kind: ExternalWorkload
metadata: {name: vm, namespace: ns}
spec:
  meshTLS: {identity: 'spiffe://root.linkerd.cluster.local/vm', serverName: vm.cluster.local}
  ports: [{port: 80, name: http}]
";
const NAMESPACE: &str = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: ns}\n";

fn of_vm(yaml: &[&str], port: u16) -> InboundPolicy {
    policy_of(yaml, &WorkloadRef::external("ns", "vm"), port)
}

fn default_policy(name: &str) -> String {
    format!("config.linkerd.io/default-inbound-policy: {name}")
}

#[test]
fn a_3_3_the_six_default_policies() {
    let any = || ids(&[IdentityMatch::Any]);
    let cluster = || nets(&["10.0.0.0/8"]);
    let cases = [
        ("all-unauthenticated", everywhere(), Authentication::Unauthenticated),
        ("all-authenticated", everywhere(), any()),
        ("cluster-unauthenticated", cluster(), Authentication::Unauthenticated),
        ("cluster-authenticated", cluster(), any()),
        ("audit", everywhere(), Authentication::Unauthenticated),
    ];
    for (name, networks, authentication) in cases {
        let policy = policy(&[&annotated(WEB, &default_policy(name))], 80);
        assert_eq!(policy.meta, Meta::default_named(name));
        let [only] = &*policy.authorizations else { panic!("{name}: {:?}", policy.authorizations) };
        assert_eq!((&only.meta, &only.networks, &only.authentication), (&policy.meta, &networks, &authentication));
    }
    let deny = policy(&[&annotated(WEB, &default_policy("deny"))], 80);
    assert_eq!((deny.meta, deny.authorizations.len()), (Meta::default_named("deny"), 0));
}

#[test]
fn c_1_the_annotation_is_inherited_from_the_namespace_by_pods_and_external_workloads() {
    let namespace = annotated(NAMESPACE, &default_policy("all-authenticated"));
    let name = |policy: InboundPolicy| policy.meta.name.to_string();
    assert_eq!(name(policy(&[WEB], 80)), "all-unauthenticated");
    assert_eq!(name(policy(&[WEB, &namespace], 80)), "all-authenticated");
    assert_eq!(name(of_vm(&[VM, &namespace], 80)), "all-authenticated");
    let own = annotated(VM, &default_policy("deny"));
    assert_eq!(name(of_vm(&[&own, &namespace], 80)), "deny");
    let elsewhere = namespace.replace("name: ns", "name: other");
    assert_eq!(name(policy(&[WEB, &elsewhere], 80)), "all-unauthenticated");
}

#[test]
fn c_1_an_unknown_default_policy_denies_and_is_named() {
    for (yaml, object) in [
        (vec![annotated(WEB, &default_policy("allow"))], "Pod ns/web"),
        (vec![WEB.to_owned(), annotated(NAMESPACE, &default_policy("allow"))], "Namespace ns"),
        (vec![annotated(WEB, "config.linkerd.io/proxy-require-identity-inbound-ports: '0'")], "Pod ns/web"),
    ] {
        let yaml: Vec<_> = yaml.iter().map(String::as_str).collect();
        let policy = policy(&yaml, 80);
        assert_eq!((policy.meta, policy.authorizations.len()), (Meta::default_named("deny"), 0));
        let text = problem(&index(&yaml), "annotation.invalid", object).unwrap();
        assert!(text.starts_with("config.linkerd.io/") && text.ends_with("denies"), "{text}");
    }
}

#[test]
fn c_1_a_server_overrides_the_annotation() {
    let open = annotated(WEB, &default_policy("all-unauthenticated"));
    assert_eq!(*policy(&[&open, SERVER], 80).authorizations, []);
}

#[test]
fn c_1_opaque_ports_are_not_detected() {
    let opaque = |yaml: &[&str], port| policy(yaml, port).protocol == InboundProtocol::Opaque;
    assert!(opaque(&[WEB], 3306) && !opaque(&[WEB], 80), "the default list");
    let own = annotated(WEB, "config.linkerd.io/opaque-ports: '9000-9002,http'");
    assert!(opaque(&[&own], 9001) && opaque(&[&own], 80) && !opaque(&[&own], 81));
    assert!(!opaque(&[&own], 3306), "the annotation replaces the default list");
    let namespace = annotated(NAMESPACE, "config.linkerd.io/opaque-ports: '9000'");
    assert!(opaque(&[WEB, &namespace], 9000) && !opaque(&[&own, &namespace], 9003));
    assert_eq!(of_vm(&[&annotated(VM, "config.linkerd.io/opaque-ports: http")], 80).protocol, InboundProtocol::Opaque);
    assert_eq!(policy(&[&own], 9000).authorizations, policy(&[WEB], 80).authorizations, "the same may come in");
}

#[test]
fn c_1_ports_may_require_identity() {
    let require = "config.linkerd.io/proxy-require-identity-inbound-ports: '80'";
    let pod = annotated(WEB, require);
    let required = policy(&[&pod], 80);
    assert_eq!(required.meta, Meta::default_named("all-authenticated"));
    assert_eq!(required.authorizations[0].authentication, ids(&[IdentityMatch::Any]));
    assert_eq!(policy(&[&pod], 81).meta, Meta::default_named("all-unauthenticated"));
    let cluster = annotated(WEB, &format!("{require}, {}", default_policy("cluster-unauthenticated")));
    assert_eq!(policy(&[&cluster], 80).meta, Meta::default_named("cluster-authenticated"));
    let audit = annotated(WEB, &format!("{require}, {}", default_policy("audit")));
    assert_eq!(policy(&[&audit], 80).authorizations[0].authentication, ids(&[IdentityMatch::Any]));
}
