//! What `GetProfile` says (B.4).

use crate::world::*;
use linkerd2_proxy_api::meta::{Resource, metadata};
use outrigger_api::destination::profile_from_proto;
use outrigger_cluster::Key;
use outrigger_destination::index::{Shared, Topic};
use outrigger_model::{Endpoint, Profile, ProtocolHint, RetryBudget};

fn read(index: &Shared, addr: &str) -> Profile {
    profile_from_proto(profile_at(index, addr).unwrap()).unwrap()
}

fn endpoint(index: &Shared, addr: &str) -> Endpoint {
    read(index, addr).endpoint.unwrap()
}

const LEGACY: &str = "legacy-app.mixed-env.svc.cluster.local";

#[test]
fn b_4_a_cluster_address_is_its_service() {
    let services =
        SERVICES.replace("clusterIP: 10.96.1.1", "clusterIP: 10.96.1.1\n  clusterIPs: [10.96.1.1, 'fd00:96::1']");
    let index = index(&[&services, VM]);
    for addr in ["10.96.1.1:80", "[fd00:96::1]:80"] {
        let profile = profile_at(&index, addr).unwrap();
        assert_eq!(profile.fully_qualified_name, LEGACY);
        assert!(!profile.opaque_protocol && profile.endpoint.is_none());
        let budget = profile.retry_budget.unwrap();
        assert_eq!((budget.retry_ratio, budget.min_retries_per_second, budget.ttl.unwrap().seconds), (0.2, 10, 10));
        let parent = Resource {
            group: "core".into(),
            kind: "Service".into(),
            name: "legacy-app".into(),
            namespace: "mixed-env".into(),
            section: String::new(),
            port: 80,
        };
        assert_eq!(profile.parent_ref.unwrap().kind, Some(metadata::Kind::Resource(parent)));
    }
    let by_name = Topic::Service { service: Key::new("mixed-env", "legacy-app"), port: 80, client: None };
    assert_eq!(profile_of(&index, by_name).unwrap().fully_qualified_name, LEGACY);
}

#[test]
fn b_2_a_port_that_the_service_does_not_declare_has_an_empty_profile() {
    let index = index(&[SERVICES]);
    assert_eq!(profile_at(&index, "10.96.1.1:81").unwrap(), Default::default());
    let nobody = Topic::Service { service: Key::new("mixed-env", "nobody"), port: 80, client: None };
    assert_eq!(profile_of(&index, nobody).unwrap(), Default::default());
}

#[test]
fn b_4_opaque_ports_of_a_service_are_its_own_or_the_default() {
    let opaque = |services: &str, addr: &str| profile_at(&index(&[services]), addr).unwrap().opaque_protocol;
    let annotated = |list: &str| {
        let annotation =
            format!("legacy-app, namespace: mixed-env, annotations: {{config.linkerd.io/opaque-ports: '{list}'}}}}");
        SERVICES.replacen("legacy-app, namespace: mixed-env}", &annotation, 1)
    };
    let mysql = |services: &str| services.replacen("port: 80,", "port: 3306,", 1);
    assert!(!opaque(SERVICES, "10.96.1.1:80"));
    assert!(opaque(&annotated("80"), "10.96.1.1:80"));
    assert!(opaque(&annotated("one"), "10.96.1.1:80"));
    assert!(opaque(&mysql(SERVICES), "10.96.1.1:3306"));
    assert!(!opaque(&mysql(&annotated("80")), "10.96.1.1:3306"));
}

#[test]
fn b_4_a_service_of_another_name_has_no_profile() {
    let external = "
apiVersion: v1
kind: Service
metadata: {name: elsewhere, namespace: mixed-env}
spec: {type: ExternalName, externalName: example.org}
";
    let topic = Topic::Service { service: Key::new("mixed-env", "elsewhere"), port: 80, client: None };
    assert!(profile_of(&index(&[external]), topic).unwrap_err().starts_with("InvalidArgument"));
}

#[test]
fn b_4_a_workloads_address_is_its_endpoint() {
    let index = index(&[SERVICES, VM, &pod(1)]);
    let found = endpoint(&index, "10.1.0.1:8080");
    assert!(found.tls.is_some() && found.inbound_port == Some(4143) && found.hint == ProtocolHint::Http2);
    assert!(labels(&found).contains(&"namespace=mixed-env".to_owned()));
    assert!(labels(&found).contains(&"pod=legacy-app-d4446455b-1".to_owned()));
    let found = endpoint(&index, "10.0.0.9:8080");
    assert_eq!(found.tls.unwrap().id.as_str(), "spiffe://root.linkerd.cluster.local/external-workload");
    assert!(read(&index, "10.1.0.1:3306").opaque && !read(&index, "10.1.0.1:80").opaque);
    assert_eq!(endpoint(&index, "10.1.0.1:3306").hint, ProtocolHint::Opaque);
}

#[test]
fn b_4_a_workload_that_is_not_ready_is_still_meshed() {
    let (pod, vm) =
        (pod(1).replace("status: 'True'", "status: 'False'"), VM.replace("status: 'True'", "status: 'False'"));
    let index = index(&[&pod, &vm]);
    assert!(endpoint(&index, "10.1.0.1:80").tls.is_some());
    assert!(endpoint(&index, "10.0.0.9:80").tls.is_some());
}

#[test]
fn b_4_an_unknown_address_is_only_itself() {
    let index = index(&[SERVICES, VM]);
    let unmeshed = |addr: &str| Some(Endpoint::unmeshed(addr.parse().unwrap()));
    let nothing = Profile { retry_budget: Some(RetryBudget::DEFAULT), ..Profile::default() };
    let read_443 = read(&index, "192.0.2.7:443");
    assert_eq!(read_443, Profile { endpoint: unmeshed("192.0.2.7:443"), ..nothing.clone() });
    assert_eq!(
        read(&index, "[2001:db8::7]:3306"),
        Profile { opaque: true, endpoint: unmeshed("[2001:db8::7]:3306"), ..nothing }
    );
}

#[test]
fn b_4_two_services_or_pods_with_one_address_are_refused() {
    let twice = SERVICES.replace("10.96.1.2", "10.96.1.1");
    let refused = profile_at(&index(&[&twice]), "10.96.1.1:80").unwrap_err();
    assert!(
        refused.starts_with("FailedPrecondition: 10.96.1.1:80 belongs to several: mixed-env/legacy-app,"),
        "{refused}"
    );
    let same = pod(2).replace("10.1.0.2", "10.1.0.1");
    assert!(profile_at(&index(&[&pod(1), &same]), "10.1.0.1:80").unwrap_err().starts_with("FailedPrecondition"));
    // Addresses are used again: a pod that terminates or has finished gives way.
    for (what, with) in [
        ("phase: Running", "phase: Succeeded"),
        ("  labels:", "  deletionTimestamp: '2024-01-24T11:53:43Z'\n  labels:"),
    ] {
        let old = pod(1).replace(what, with);
        let found = endpoint(&index(&[&old, &same]), "10.1.0.1:80");
        assert!(labels(&found).contains(&"pod=legacy-app-d4446455b-2".to_owned()), "{found:?}");
    }
}

#[test]
fn b_4_a_terminating_pod_is_never_taken_for_unmeshed() {
    let dying = pod(1).replace("  labels:", "  deletionTimestamp: '2024-01-24T11:53:43Z'\n  labels:");
    assert!(endpoint(&index(&[&dying]), "10.1.0.1:80").tls.is_some());
}

#[test]
fn b_4_a_pod_on_the_hosts_network_is_found_by_port() {
    let on_host = |n: u8, port: u16| {
        let pod = pod(n).replace("spec:\n", "spec:\n  hostNetwork: true\n");
        let pod = pod.replace("containerPort: 80", &format!("containerPort: {port}"));
        pod.replace(&format!("10.1.0.{n}"), "172.16.0.1").replace("phase:", "hostIP: 172.16.0.1\n  phase:")
    };
    let index = index(&[&on_host(1, 80), &on_host(2, 81)]);
    for (addr, name) in
        [("172.16.0.1:80", "pod=legacy-app-d4446455b-1"), ("172.16.0.1:81", "pod=legacy-app-d4446455b-2")]
    {
        assert!(labels(&endpoint(&index, addr)).contains(&name.to_owned()));
    }
    assert_eq!(endpoint(&index, "172.16.0.1:22"), Endpoint::unmeshed("172.16.0.1:22".parse().unwrap()));
}

#[test]
fn b_4_a_host_port_leads_to_the_pod_and_not_past_its_proxy() {
    let pod = pod(1).replace("containerPort: 80", "containerPort: 80, hostPort: 8080");
    let pod = pod.replace("phase:", "hostIP: 172.16.0.1\n  phase:");
    let found = endpoint(&index(&[&pod]), "172.16.0.1:8080");
    assert_eq!(found.addr, "172.16.0.1:8080".parse().unwrap());
    assert!(found.tls.is_some() && found.inbound_port.is_none(), "the host forwards no other port: {found:?}");
}

#[test]
fn b_4_of_two_external_workloads_on_one_machine_the_one_with_the_port_is_meant() {
    let other = VM.replace("name: external-workload", "name: other").replace("port: 80", "port: 81");
    let index = index(&[VM, &other]);
    assert!(labels(&endpoint(&index, "10.0.0.9:81")).contains(&"external_workload=other".to_owned()));
    assert!(profile_at(&index, "10.0.0.9:82").unwrap_err().starts_with("FailedPrecondition"));
}

#[test]
fn b_4_an_instances_name_is_its_endpoint() {
    let headless = SERVICES.replace("clusterIP: 10.96.1.1", "clusterIP: None");
    let index = index(&[&headless, VM]);
    let instance = |name: &str| Topic::Instance {
        service: Key::new("mixed-env", "legacy-app"),
        instance: name.into(),
        port: 8080,
    };
    let found = profile_from_proto(profile_of(&index, instance("external-workload")).unwrap()).unwrap();
    assert_eq!(found.endpoint.unwrap().addr, "10.0.0.9:8080".parse().unwrap());
    assert!(profile_of(&index, instance("nobody")).unwrap_err().starts_with("NotFound"));
}
