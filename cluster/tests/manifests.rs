//! Manifests as users write them, and as kubectl prints them.
#![expect(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use outrigger_cluster::parse::{self, Manifest};
use outrigger_cluster::{
    Client, EndpointSlice, ExternalWorkload, Key, Object, Pod, PortRef, Protocol, Selector, Server, ServerMatch,
    ServerProtocol, ServerSelector, Service,
};
use outrigger_model::{DefaultPolicy, IdentityMatch};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

fn read(text: &str) -> Manifest {
    let manifest = parse::manifest(Path::new("m.yaml"), text);
    assert!(manifest.errors.is_empty(), "{:?}", manifest.errors);
    manifest
}

fn one(text: &str) -> Object {
    let mut objects = read(text).objects;
    assert_eq!(objects.len(), 1, "{objects:?}");
    objects.remove(0).0
}

macro_rules! only {
    ($name:ident, $variant:ident) => {
        fn $name(text: &str) -> Arc<$variant> {
            match one(text) {
                Object::$variant(object) => object,
                other => panic!("{other:?}"),
            }
        }
    };
}

only!(workload, ExternalWorkload);
only!(server, Server);
only!(pod, Pod);
only!(service, Service);
only!(slice, EndpointSlice);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn entries_of_port_lists_without_a_meaning_are_named_and_the_rest_holds() {
    let annotated = |list: &str, kind: &str, spec: &str| {
        let annotations =
            format!("{{config.linkerd.io/opaque-ports: '{list}', config.linkerd.io/skip-inbound-ports: '0'}}");
        let head =
            format!("apiVersion: v1\nkind: {kind}\nmetadata: {{name: a, namespace: n, annotations: {annotations}}}");
        read(&format!("{head}\n{spec}"))
    };
    let warnings = |manifest: &Manifest| -> Vec<String> { manifest.warnings.iter().map(ToString::to_string).collect() };
    let opaque = "m.yaml:3: Service n/a: metadata.annotations.config.linkerd.io/opaque-ports: ";
    let service = annotated(
        "one,two,9-8,80",
        "Service",
        "spec: {ports: [{port: 80, name: one}, {port: 53, name: two, protocol: UDP}]}",
    );
    assert_eq!(
        warnings(&service),
        [
            format!(
                "{opaque}\"9-8\" is no port; write ports of 1 to 65535, ranges and port names, as in 25,4000-4100,mysql; the rest of the list holds"
            ),
            format!("{opaque}\"two\" is not the name of a TCP port here; it has no effect"),
        ]
    );
    let Object::Service(object) = &service.objects[0].0 else { panic!() };
    assert!(object.meta.ports.opaque.as_ref().unwrap().contains(80));
    let pod = annotated("web", "Pod", "spec: {containers: [{name: c, ports: [{containerPort: 80, name: web}]}]}");
    let [warning] = &warnings(&pod)[..] else { panic!("{:?}", pod.warnings) };
    assert!(warning.contains("skip-inbound-ports") && warning.contains("\"0\" is no port"), "{warning}");
}

/// The first line of each file says the one error that the file must give, without the file's name.
#[test]
fn a_bad_manifest_names_line_object_field_and_fix() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut count = 0;
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = text.lines().next().unwrap().trim_start_matches("# ");
        let manifest = parse::manifest(Path::new("m.yaml"), &text);
        let errors: Vec<_> = manifest.errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors, [format!("m.yaml:{expected}")], "{}", path.display());
        assert!(manifest.objects.is_empty(), "{}", path.display());
        count += 1;
    }
    assert!(count >= 60, "only {count} files");
}

#[test]
fn one_bad_object_does_not_hide_the_others_errors() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Service\n---\n\
                apiVersion: policy.linkerd.io/v1beta3\nkind: Server\nmetadata: {name: s}\n\
                spec: {podSelector: {}, port: 1, a: 1, b: 2}\n";
    let manifest = parse::manifest(Path::new("m.yaml"), text);
    assert_eq!(manifest.objects.len(), 1);
    let at: Vec<_> = manifest.errors.iter().map(|e| (e.line.unwrap(), e.field.clone().unwrap())).collect();
    let field = |line, field: &str| (line, field.to_owned());
    assert_eq!(at, [field(5, "metadata.name"), field(11, "spec.a"), field(11, "spec.b")]);
}

#[test]
fn l_010_both_versions_of_an_external_workload_are_one_object() {
    let text = |version: &str, tls: &str| {
        format!(
            "apiVersion: workload.linkerd.io/{version}\nkind: ExternalWorkload\n\
             metadata: {{name: vm, namespace: mixed-env, labels: {{location: vm}}}}\n\
             spec:\n  {tls}: {{identity: 'spiffe://td/vm', serverName: VM.cluster.local.}}\n  \
             workloadIPs: [{{ip: 10.0.0.1}}, {{ip: 'fd00::1'}}]\n  ports: [{{port: 80, name: http}}, {{port: 53, protocol: UDP}}]\n\
             status: {{conditions: [{{type: Ready, status: 'True'}}]}}\n"
        )
    };
    let (old, new) = (workload(&text("v1alpha1", "meshTls")), workload(&text("v1beta1", "meshTLS")));
    assert_eq!(old, new);
    assert_eq!(new.identity.as_str(), "spiffe://td/vm");
    assert_eq!(new.server_name.as_ref().unwrap().as_str(), "vm.cluster.local");
    assert_eq!(new.ips, [ip("10.0.0.1"), ip("fd00::1")]);
    assert_eq!(
        (new.ports[0].name.as_deref(), new.ports[0].port, new.ports[0].protocol),
        (Some("http"), 80, Protocol::Tcp)
    );
    assert_eq!(new.ports[1].protocol, Protocol::Udp);
    assert!(new.ready);
}

#[test]
fn b_6_a_workload_without_conditions_is_not_ready() {
    let spec = "apiVersion: workload.linkerd.io/v1beta1\nkind: ExternalWorkload\nmetadata: {name: vm}\n\
                spec: {meshTLS: {identity: vm.example, serverName: vm.example}}\n";
    assert!(!workload(spec).ready);
    for (status, ready) in [("False", false), ("Unknown", false), ("True", true)] {
        let status = format!("{spec}status: {{conditions: [{{type: Ready, status: '{status}'}}]}}\n");
        assert_eq!(workload(&status).ready, ready, "{status}");
    }
    assert!(!workload(&format!("{spec}status: {{conditions: [{{type: Alive, status: 'True'}}]}}\n")).ready);
}

#[test]
fn an_identity_may_be_longer_than_253_bytes() {
    let id = format!("spiffe://td/{}", "a".repeat(1000));
    let text = format!(
        "apiVersion: workload.linkerd.io/v1alpha1\nkind: ExternalWorkload\nmetadata: {{name: vm}}\n\
         spec: {{meshTls: {{identity: '{id}', serverName: vm.example}}}}\n"
    );
    assert_eq!(workload(&text).identity.as_str(), id);
}

#[test]
fn objects_without_a_namespace_are_in_default() {
    assert_eq!(*one("apiVersion: v1\nkind: Service\nmetadata: {name: a}\n").key(), Key::new("default", "a"));
    assert_eq!(*one("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n").key(), Key::cluster("a"));
}

#[test]
fn servers_select_pods_or_workloads_and_ports_by_number_or_name() {
    let text = |version: &str, spec: &str| {
        format!("apiVersion: policy.linkerd.io/{version}\nkind: Server\nmetadata: {{name: s}}\nspec: {{{spec}}}\n")
    };
    let all = server(&text("v1beta1", "podSelector: {}, port: 80"));
    assert_eq!(all.selects, ServerSelector::Pods(Selector::default()));
    assert_eq!((&all.port, all.protocol, all.access_policy), (&PortRef::Number(80), ServerProtocol::Unknown, None));
    let spec = "externalWorkloadSelector: {matchLabels: {a: b}}, port: http, proxyProtocol: gRPC, accessPolicy: audit";
    let vms = server(&text("v1beta3", spec));
    let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    assert_eq!(vms.selects, ServerSelector::ExternalWorkloads(Selector::of_labels(&labels)));
    assert_eq!((&vms.port, vms.protocol), (&PortRef::Name("http".into()), ServerProtocol::Grpc));
    assert_eq!(vms.access_policy, Some(DefaultPolicy::Audit));
}

#[test]
fn c_4_identities_are_names_wildcards_and_prefixes() {
    let matched = |text: &str| parse::identity_match(text);
    assert_eq!(matched("*"), Ok(IdentityMatch::Any));
    assert_eq!(matched("*.prod.example"), Ok(IdentityMatch::DnsSuffix("prod.example".into())));
    assert_eq!(matched("a.prod.example"), Ok(IdentityMatch::Exact("a.prod.example".into())));
    assert_eq!(matched("spiffe://td/vm"), Ok(IdentityMatch::Exact("spiffe://td/vm".into())));
    assert_eq!(matched("spiffe://td/ns/prod/*"), Ok(IdentityMatch::SpiffePrefix("spiffe://td/ns/prod".into())));
    assert_eq!(matched("spiffe://td/*"), Ok(IdentityMatch::SpiffePrefix("spiffe://td".into())));
    for bad in ["", "**", "a.*", "*.", "*a.b", "/*", "spiffe://", "spiffe://td/*/a", "spiffe://td/a*", "spiffe://TD/a"]
    {
        assert!(matched(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn server_authorizations_admit_by_network_tls_and_account() {
    let read = |spec: &str| {
        let text = format!(
            "apiVersion: policy.linkerd.io/v1alpha1\nkind: ServerAuthorization\n\
             metadata: {{name: z, namespace: shop}}\nspec: {spec}\n"
        );
        match one(&text) {
            Object::ServerAuthorization(authorization) => authorization,
            other => panic!("{other:?}"),
        }
    };
    let open = read("{server: {name: web}, client: {unauthenticated: true}}");
    assert_eq!((&open.server, &open.client), (&ServerMatch::Name("web".into()), &Client::Unauthenticated));
    assert!(open.networks.is_empty());
    let tls = "{server: {selector: {}}, client: {networks: [{cidr: 10.0.0.0/8, except: [10.0.0.1]}], \
               meshTLS: {unauthenticatedTLS: true}}}";
    let tls = read(tls);
    assert_eq!((&tls.server, &tls.client), (&ServerMatch::Selector(Selector::default()), &Client::TlsUnauthenticated));
    assert!(tls.networks[0].contains(ip("10.0.0.2")) && !tls.networks[0].contains(ip("10.0.0.1")));
    let accounts = "{server: {name: web}, client: {meshTLS: {identities: ['spiffe://td/*'], \
                    serviceAccounts: [{name: a}, {name: b, namespace: bank}]}}}";
    let Client::Authenticated { identities, service_accounts } = read(accounts).client.clone() else { panic!() };
    assert_eq!(identities, [IdentityMatch::SpiffePrefix("spiffe://td".into())]);
    assert_eq!(service_accounts, [Key::new("shop", "a"), Key::new("bank", "b")]);
}

#[test]
fn services_are_read_with_their_addresses_and_targets() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  clusterIP: 10.96.0.7\n  \
                clusterIPs: [10.96.0.7, 'fd00::7']\n  internalTrafficPolicy: Local\n  publishNotReadyAddresses: true\n  \
                selector: {app: a}\n  ports: [{port: 80}, {name: web, port: 81, targetPort: http, appProtocol: kubernetes.io/h2c}]\n";
    let full = service(text);
    assert_eq!(full.cluster_ips, [ip("10.96.0.7"), ip("fd00::7")]);
    assert!(full.internal_traffic_local && full.publish_not_ready && !full.headless);
    assert_eq!((&full.ports[0].name, &full.ports[0].target), (&None, &PortRef::Number(80)));
    assert_eq!(full.ports[1].target, PortRef::Name("http".into()));
    assert_eq!(full.ports[1].app_protocol.as_deref(), Some("kubernetes.io/h2c"));
    let spec =
        |spec: &str| service(&format!("apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {{{spec}}}\n"));
    let headless = spec("clusterIP: None, clusterIPs: [None]");
    assert!(headless.headless && headless.cluster_ips.is_empty());
    let external = spec("type: ExternalName, externalName: example.com");
    assert_eq!(external.external_name.as_deref(), Some("example.com"));
}

#[test]
fn a_pod_is_read_as_injector_and_kubelet_leave_it() {
    let text = include_str!("pod.yaml");
    let sidecar = pod(text);
    assert_eq!(sidecar.ips, [ip("10.1.0.5"), ip("fd00::5")]);
    assert_eq!(sidecar.meta.owner, Some(("ReplicaSet".to_owned(), "web-5d8".to_owned())));
    assert!(sidecar.ready && !sidecar.terminating && !sidecar.finished);
    assert_eq!((sidecar.inbound_proxy_port, sidecar.admin_proxy_port), (Some(4143), Some(4191)));
    assert_eq!((sidecar.service_account.as_str(), sidecar.node.as_deref()), ("web", Some("node-a")));
    let ports: Vec<_> = sidecar.ports.iter().map(|p| (p.name.as_deref(), p.port, p.host_port)).collect();
    assert_eq!(ports, [(Some("http"), 8080, Some(80)), (Some("linkerd-proxy"), 4143, None)]);
    let probes: Vec<_> = sidecar.probes.iter().map(|p| (p.path.as_str(), &p.port)).collect();
    assert_eq!(probes, [("/alive", &PortRef::Name("http".into())), ("/ready", &PortRef::Number(4191))]);

    let ending = pod(&text.replace("metadata:\n", "metadata:\n  deletionTimestamp: 2024-01-24T12:00:00Z\n"));
    assert!(ending.terminating);
    assert!(pod(&text.replace("Running", "Succeeded")).finished);
    assert!(!pod(&text.replace("status: \"True\"", "status: \"False\"")).ready);
    assert!(pod("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n").ips.is_empty());
}

#[test]
fn endpoint_slices_keep_what_the_filters_need() {
    let text = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
                metadata: {name: a-1, namespace: shop, labels: {kubernetes.io/service-name: a}}\n\
                ports: [{name: '', port: 80}, {name: all}]\nendpoints:\n- addresses: [10.0.0.1]\n  zone: z\n  nodeName: n\n  \
                targetRef: {kind: Pod, name: p}\n  hints: {forZones: [{name: z}]}\n- addresses: [10.0.0.2]\n  \
                conditions: {ready: false, terminating: true}\n";
    let slice = slice(text);
    assert_eq!(slice.service.as_deref(), Some("a"));
    let (first, second) = (&slice.endpoints[0], &slice.endpoints[1]);
    assert_eq!((first.ready, first.terminating), (true, false), "unknown is ready");
    assert_eq!(first.target.as_ref().unwrap().key, Key::new("shop", "p"));
    assert_eq!((first.zone.as_deref(), first.for_zones.as_slice()), (Some("z"), ["z".to_owned()].as_slice()));
    assert_eq!((second.ready, second.terminating), (false, true));
    assert_eq!((slice.ports[0].name.as_deref(), slice.ports[0].port), (None, Some(80)));
    assert_eq!((slice.ports[1].name.as_deref(), slice.ports[1].port), (Some("all"), None));
}

#[test]
fn kubectl_get_prints_a_valid_file() {
    let list = "apiVersion: v1\nkind: List\nmetadata: {resourceVersion: ''}\nitems:\n\
                - apiVersion: v1\n  kind: Pod\n  metadata: {name: p, managedFields: [{manager: kubectl}]}\n\
                - apiVersion: apps/v1\n  kind: Deployment\n  metadata: {name: d}\n\
                - apiVersion: policy.linkerd.io/v1beta3\n  kind: Server\n  metadata: {name: s}\n  \
                spec: {podSelector: {}, port: 80, proxyProtocol: unknown, accessPolicy: deny}\n";
    let names = |manifest: &Manifest| -> Vec<String> {
        manifest.objects.iter().map(|(object, line)| format!("{line} {} {}", object.kind(), object.key())).collect()
    };
    assert_eq!(names(&read(list)), ["5 Pod default/p", "11 Server default/s"]);
    let of_one_kind = "apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: p}\n- metadata: {name: q}\n";
    assert_eq!(names(&read(of_one_kind)), ["4 Pod default/p", "5 Pod default/q"]);
    let ours = "apiVersion: policy.linkerd.io/v1alpha1\nkind: NetworkAuthenticationList\nitems:\n\
                - metadata: {name: n}\n  spec: {networks: [{cidr: 10.0.0.1}]}\n";
    assert_eq!(names(&read(ours)), ["4 NetworkAuthentication default/n"]);
    let json = "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"List\",\n\t\"items\": [\n\t\t{\"apiVersion\": \"v1\", \
                \"kind\": \"Service\", \"metadata\": {\"name\": \"a\\u0062\"}}\n\t]\n}\n";
    assert_eq!(names(&read(json)), ["5 Service default/ab"]);
    assert!(read("apiVersion: v1\nkind: List\nitems: []\n").objects.is_empty());
    let bad = parse::manifest(Path::new("m.yaml"), &list.replace("podSelector", "selector"));
    assert_eq!(bad.errors[0].to_string().split(": unknown").next(), Some("m.yaml:14: Server default/s: spec.selector"));
}

#[test]
fn kinds_that_are_left_out_are_named_and_whether_that_matters() {
    let text = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}\n---\n\
                {apiVersion: v1, kind: ConfigMap}\n---\n{apiVersion: apps/v1, kind: Deployment, spec: 5}\n---\n\
                {apiVersion: policy.linkerd.io/v1alpha1, kind: EgressNetwork, metadata: {name: a}}\n---\n\
                {apiVersion: policy.linkerd.io/v1alpha1, kind: HTTPLocalRateLimitPolicy, metadata: {name: a}}\n---\n\
                {apiVersion: gateway.networking.k8s.io/v1alpha2, kind: UDPRoute, metadata: {name: a}}\n---\n\
                {apiVersion: gateway.networking.k8s.io/v1, kind: GRPCRoute, metadata: {name: a}}\n---\n\
                {apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: a}}\n";
    let skipped: Vec<_> = read(text).skipped.into_iter().map(|s| (s.kind, s.not_honoured)).collect();
    let expected = [
        ("ConfigMap", false),
        ("Deployment", false),
        ("GRPCRoute", true),
        ("Gateway", false),
        ("UDPRoute", true),
        ("EgressNetwork", true),
        ("HTTPLocalRateLimitPolicy", true),
    ];
    assert_eq!(skipped, expected.map(|(kind, matters)| (kind.to_owned(), matters)));
}
