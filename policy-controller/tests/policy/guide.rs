//! "Adding non-Kubernetes workloads to your mesh": its YAML as it is printed, and what that does.

use crate::support::*;
use outrigger_cluster::Key;
use outrigger_model::{Authentication, InboundProtocol, Meta, WorkloadRef};
use outrigger_policy::server_status;

const EXTERNAL_WORKLOAD: &str = r#"
apiVersion: workload.linkerd.io/v1alpha1
kind: ExternalWorkload
metadata:
  name: external-workload
  namespace: mixed-env
  labels:
    location: vm
    app: legacy-app
    workload_name: external-workload
spec:
  meshTls:
    identity: "spiffe://root.linkerd.cluster.local/external-workload"
    serverName: "external-workload.cluster.local"
  workloadIPs:
  - ip: 10.1.0.2
  ports:
  - port: 80
    name: http
status:
  conditions:
    - type: Ready
      status: "True"
      lastTransitionTime: "2024-01-24T11:53:43Z"
"#;

/// What the guide's Deployment makes, injected.
const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: legacy-app-d4446455b-2fgcr
  namespace: mixed-env
  labels:
    app: legacy-app
    location: cluster
    linkerd.io/control-plane-ns: linkerd
  annotations:
    linkerd.io/inject: enabled
spec:
  containers:
    - name: legacy-app
      image: buoyantio/bb:v0.0.5
      command: [ "sh", "-c"]
      args:
      - "/out/bb terminus --h1-server-port 80 --response-text hello-from-$POD_NAME --fire-and-forget"
      ports:
        - name: http-port
          containerPort: 80
      env:
        - name: POD_NAME
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
"#;

const SERVER: &str = r#"
apiVersion: policy.linkerd.io/v1beta2
kind: Server
metadata:
  name: in-cluster-endpoint
  namespace: mixed-env
  annotations:
    config.linkerd.io/default-inbound-policy: "deny"
spec:
  podSelector:
    matchLabels:
      app: legacy-app
  port: http
  proxyProtocol: HTTP/1
"#;

const AUTHORIZATION: &str = r#"
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata:
  name: in-cluster-endpoint-authn
  namespace: mixed-env
spec:
  targetRef:
    group: policy.linkerd.io
    kind: Server
    name: in-cluster-endpoint
  requiredAuthenticationRefs:
  - name: in-cluster-endpoint-mtls
    kind: MeshTLSAuthentication
    group: policy.linkerd.io
---
apiVersion: policy.linkerd.io/v1alpha1
kind: MeshTLSAuthentication
metadata:
  name: in-cluster-endpoint-mtls
  namespace: mixed-env
spec:
  identities:
    - "spiffe://root.linkerd.cluster.local/external-workload"
"#;

fn pod() -> WorkloadRef {
    WorkloadRef::pod("mixed-env", "legacy-app-d4446455b-2fgcr")
}

/// The pod as `examples/` has it: the container's port bears the name that the Server selects.
fn mended_pod() -> String {
    POD.replace("http-port", "http")
}

#[test]
fn l_021_a_server_stops_the_vms_requests() {
    let policy = policy_of(&[EXTERNAL_WORKLOAD, &mended_pod(), SERVER], &pod(), 80);
    assert_eq!(policy.meta, Meta::object(GROUP, "server", "mixed-env", "in-cluster-endpoint"));
    assert_eq!(policy.protocol, InboundProtocol::Http1 { routes: [default_route()].into() });
    assert_eq!(*policy.authorizations, []);
}

#[test]
fn l_022_the_vms_identity_is_admitted_again() {
    let policy = policy_of(&[EXTERNAL_WORKLOAD, &mended_pod(), SERVER, AUTHORIZATION], &pod(), 80);
    let [only] = &*policy.authorizations else { panic!("{:?}", policy.authorizations) };
    assert_eq!(only.meta, Meta::object(GROUP, "authorizationpolicy", "mixed-env", "in-cluster-endpoint-authn"));
    assert_eq!(only.networks, everywhere());
    assert_eq!(only.authentication, ids(&[exact("spiffe://root.linkerd.cluster.local/external-workload")]));
}

#[test]
fn l_023_a_server_may_select_the_vm() {
    let server = SERVER.replace("podSelector", "externalWorkloadSelector");
    let vm = WorkloadRef::external("mixed-env", "external-workload");
    assert_eq!(*policy_of(&[EXTERNAL_WORKLOAD, &server], &vm, 80).authorizations, []);
    let authorized = policy_of(&[EXTERNAL_WORKLOAD, &server, AUTHORIZATION], &vm, 80);
    assert_eq!(authorized.authorizations.len(), 1);
    let pod_policy = policy_of(&[&mended_pod(), &server], &pod(), 80);
    assert_eq!(pod_policy.authorizations[0].authentication, Authentication::Unauthenticated, "not the pod");
}

#[test]
fn l_024_the_guides_server_selects_nothing_and_says_so() {
    let yaml = [EXTERNAL_WORKLOAD, POD, SERVER, AUTHORIZATION];
    let policy = policy_of(&yaml, &pod(), 80);
    assert_eq!(policy.meta, Meta::default_named("all-unauthenticated"), "neither Server nor annotation has an effect");

    let world = world(&yaml);
    let status = server_status(&world, &world.servers[&Key::new("mixed-env", "in-cluster-endpoint")]);
    assert_eq!((status.selected.len(), status.workloads), (0, 1));
    assert!(status.port_names.iter().eq(["http-port"]));
    let text = status.to_string();
    assert!(text.contains("selects nothing") && text.contains("\"http\"") && text.contains("http-port"), "{text}");

    let index = index(&yaml);
    assert_eq!(problem(&index, "server.selects_nothing", "mixed-env/in-cluster-endpoint"), Some(text));
    let annotation = problem(&index, "server.annotation_without_effect", "mixed-env/in-cluster-endpoint").unwrap();
    assert!(annotation.contains("accessPolicy"), "{annotation}");
}

#[test]
fn l_024_the_missing_line_between_two_objects_is_an_error() {
    let printed = format!("{SERVER}{}", AUTHORIZATION.trim_start());
    let manifest = outrigger_cluster::parse::manifest(std::path::Path::new("guide.yaml"), &printed);
    assert!(manifest.errors[0].to_string().contains("---"), "{:?}", manifest.errors);
}
