//! The folders in `examples` are meshes, and the guide's own YAML does what its README says.
#![expect(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use outrigger_cluster::{IdentityNames, Key, PortRef, Selector, ServerSelector, World, folder, parse};
use outrigger_model::{Identity, WorkloadRef};
use std::path::{Path, PathBuf};

fn examples(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(path)
}

async fn mesh_expansion() -> World {
    let cidr = "10.96.0.0/12".parse().unwrap();
    let mut batches = folder::watch(examples("mesh-expansion"), Some(cidr)).await.unwrap();
    let mut world = World::default();
    batches.recv().await.unwrap().iter().for_each(|change| world.apply(change));
    world
}

#[tokio::test]
async fn l_012_services_stand_before_the_vm_and_the_pods() {
    let world = mesh_expansion().await;
    let behind = |service: &str| -> Vec<String> {
        let service = &world.services[&Key::new("mixed-env", service)];
        let selector = Selector::of_labels(service.selector.as_ref().unwrap());
        let vms = world.external_workloads.values().filter(|vm| vm.ready).map(|vm| (&vm.meta, &vm.ips));
        let pods = world.pods.values().filter(|pod| pod.ready).map(|pod| (&pod.meta, &pod.ips));
        vms.chain(pods).filter(|(meta, _)| selector.matches(&meta.labels)).map(|(_, ips)| ips[0].to_string()).collect()
    };
    assert_eq!(behind("legacy-app"), ["10.77.0.10", "10.77.0.21", "10.77.0.22"]);
    assert_eq!(behind("legacy-app-cluster"), ["10.77.0.21", "10.77.0.22"]);
    // Everybody who reads the folder gives a Service this address.
    let ip = |name: &str| world.services[&Key::new("mixed-env", name)].cluster_ips[0].to_string();
    assert_eq!((ip("legacy-app"), ip("legacy-app-cluster")), ("10.110.2.31".into(), "10.110.32.32".into()));
}

#[tokio::test]
async fn l_021_the_examples_server_selects_the_pods_port() {
    let world = mesh_expansion().await;
    let server = &world.servers[&Key::new("mixed-env", "in-cluster-endpoint")];
    let ServerSelector::Pods(selector) = &server.selects else { panic!("{server:?}") };
    let selected = world.pods.values().filter(|pod| selector.matches(&pod.meta.labels));
    let ports: Vec<_> = selected
        .flat_map(|pod| &pod.ports)
        .filter(|port| Some(&server.port) == port.name.clone().map(PortRef::Name).as_ref())
        .collect();
    assert_eq!(ports.iter().map(|port| port.port).collect::<Vec<_>>(), [80, 80]);
    let policy = &world.authorization_policies[&Key::new("mixed-env", "in-cluster-endpoint-authn")];
    assert_eq!(policy.target.key("mixed-env"), server.meta.key);
    assert!(world.mesh_tls_authentications.contains_key(&policy.required[0].key("mixed-env")));
}

#[tokio::test]
async fn a_caller_proves_a_pods_account_or_a_vms_own_identity() {
    let world = mesh_expansion().await;
    let names = IdentityNames {
        control_plane_namespace: "linkerd".into(),
        identity_domain: "cluster.local".into(),
        trust_domain: "root.linkerd.cluster.local".parse().unwrap(),
    };
    let identities = |workload: &WorkloadRef| {
        let found = world.identities_of(workload, &names);
        found.map(|ids| ids.iter().map(Identity::to_string).collect::<Vec<_>>())
    };
    assert_eq!(
        identities(&WorkloadRef::pod("mixed-env", "client")).unwrap(),
        [
            "spiffe://root.linkerd.cluster.local/ns/mixed-env/sa/client",
            "client.mixed-env.serviceaccount.identity.linkerd.cluster.local"
        ]
    );
    assert_eq!(
        identities(&WorkloadRef::external("mixed-env", "external-workload")).unwrap(),
        ["spiffe://root.linkerd.cluster.local/external-workload"]
    );
    assert_eq!(identities(&WorkloadRef::external("mixed-env", "client")), None);
    assert_eq!(identities(&WorkloadRef::pod("default", "client")), None);
    // No object has such an account; if one had, nobody could prove it.
    assert!(names.service_account("mixed-env", "a/b").is_empty());
}

#[test]
fn the_guides_yaml_is_read_step_by_step() {
    let mut kinds = Vec::new();
    for entry in std::fs::read_dir(examples("guide-verbatim")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let manifest = parse::manifest(&path, &std::fs::read_to_string(&path).unwrap());
            assert!(manifest.errors.is_empty(), "{:?}", manifest.errors);
            kinds.extend(manifest.objects.iter().map(|(object, _)| object.kind().as_str()));
        }
    }
    kinds.sort();
    let expected = ["AuthorizationPolicy", "ExternalWorkload", "MeshTLSAuthentication", "Pod"];
    assert_eq!(kinds, [&expected[..], &["Server", "Server", "Service", "Service"]].concat());
}

#[test]
fn l_024_the_separator_that_the_guide_lost_is_asked_for() {
    let path = examples("guide-verbatim/5-authorization.yaml");
    let text = std::fs::read_to_string(path).unwrap().replacen("---\n", "", 1);
    let manifest = parse::manifest(Path::new("guide.yaml"), &text);
    let errors: Vec<_> = manifest.errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        ["guide.yaml:14: apiVersion stands twice in one document; write a line --- between two objects"]
    );
    assert!(manifest.objects.is_empty());
}

#[tokio::test]
async fn the_guides_last_step_repeats_a_server_and_both_files_are_named() {
    let error = folder::watch(examples("guide-verbatim"), None).await.unwrap_err().to_string();
    let lines: Vec<_> = error.lines().skip(1).map(str::trim).collect();
    let [first, second] = lines.as_slice() else { panic!("{error}") };
    for (line, file, other) in [(first, "4-server", "5-authorization"), (second, "5-authorization", "4-server")] {
        assert!(line.contains(&format!("{file}.yaml:1: Server mixed-env/in-cluster-endpoint: stands in ")), "{line}");
        assert!(line.contains(&format!("{other}.yaml:1 too; remove one of them")), "{line}");
    }
}
