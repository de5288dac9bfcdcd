//! The YAML in the tree is what the types say, and what Linkerd's users rely on is in it.
#![expect(clippy::unwrap_used, reason = "a helper of tests may panic as they do")]

use outrigger_crds::{Definition, definitions, yaml};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

#[test]
fn the_generated_yaml_in_the_tree_is_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("generated");
    let in_tree: BTreeMap<String, String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(path).unwrap()))
        .collect();
    let from_types: BTreeMap<String, String> = yaml::files().into_iter().collect();
    assert_eq!(in_tree.keys().collect::<Vec<_>>(), from_types.keys().collect::<Vec<_>>());
    for (name, yaml) in &from_types {
        assert!(in_tree[name] == *yaml, "crds/generated/{name} is out of date; run `cargo xtask crds`");
    }
}

#[test]
fn the_yaml_reads_back_as_the_definition() {
    for (definition, (name, yaml)) in definitions().iter().zip(yaml::files()) {
        let read: Value = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!(read, *definition.crd(), "{name}");
    }
}

/// Versions oldest first, `*` on the stored one, `!` on deprecated ones; then short names.
#[test]
fn d_4_groups_kinds_versions_and_short_names() {
    let table: Vec<_> = definitions().iter().map(summary).collect();
    assert_eq!(
        table,
        [
            "linkerd.io ServiceProfile v1alpha1 v1alpha2* (sp)",
            "policy.linkerd.io AuthorizationPolicy v1alpha1* (authzpolicy)",
            "policy.linkerd.io HTTPRoute v1alpha1 v1beta1 v1beta2 v1beta3* ()",
            "policy.linkerd.io MeshTLSAuthentication v1alpha1* (meshtlsauthn)",
            "policy.linkerd.io NetworkAuthentication v1alpha1* (netauthn,networkauthn)",
            "policy.linkerd.io Server v1alpha1! v1beta1! v1beta2 v1beta3* (srv)",
            "policy.linkerd.io ServerAuthorization v1alpha1! v1beta1* (saz,serverauthz,srvauthz)",
            "workload.linkerd.io ExternalWorkload v1alpha1 v1beta1* ()",
        ]
    );
}

fn summary(definition: &Definition) -> String {
    let crd = definition.crd();
    let mut line = format!("{} {}", definition.group, definition.kind);
    for version in crd["spec"]["versions"].as_array().unwrap() {
        assert_eq!(version["served"], json!(true));
        line += &format!(" {}", version["name"].as_str().unwrap());
        line += if version["storage"] == json!(true) { "*" } else { "" };
        line += if version["deprecated"] == json!(true) { "!" } else { "" };
    }
    let names = crd["spec"]["names"]["shortNames"].as_array().cloned().unwrap_or_default();
    let names: Vec<_> = names.iter().filter_map(Value::as_str).collect();
    format!("{line} ({})", names.join(","))
}

fn definition(kind: &str) -> &'static Definition {
    definitions().iter().find(|d| d.kind == kind).unwrap()
}

/// The unknown fields of an object in every version of its kind.
fn unknown(kind: &str, object: &Value) -> Vec<(String, Vec<String>)> {
    let pointers = |v: &outrigger_crds::Version| v.unknown_fields(object).into_iter().map(|u| u.pointer).collect();
    definition(kind).versions.iter().map(|v| (v.name.clone(), pointers(v))).collect()
}

#[test]
fn d_4_each_version_has_its_own_fields() {
    let fields = |rows: &[(&str, &[&str])]| -> Vec<(String, Vec<String>)> {
        rows.iter().map(|(v, p)| (v.to_string(), p.iter().map(|p| p.to_string()).collect())).collect()
    };
    let workload = json!({"spec": {"meshTLS": {}, "meshTls": {}}});
    assert_eq!(
        unknown("ExternalWorkload", &workload),
        fields(&[("v1alpha1", &["/spec/meshTLS"]), ("v1beta1", &["/spec/meshTls"])])
    );
    let server = json!({"spec": {"accessPolicy": "deny", "externalWorkloadSelector": {}, "podSelector": {}}});
    let both: &[&str] = &["/spec/accessPolicy", "/spec/externalWorkloadSelector"];
    assert_eq!(
        unknown("Server", &server),
        fields(&[("v1alpha1", both), ("v1beta1", both), ("v1beta2", &["/spec/accessPolicy"]), ("v1beta3", &[])])
    );
    let route = json!({"spec": {"rules": [{"timeouts": {}, "backendRefs": [{"weight": 1}]}]}});
    let both: &[&str] = &["/spec/rules/0/backendRefs/0/weight", "/spec/rules/0/timeouts"];
    assert_eq!(
        unknown("HTTPRoute", &route),
        fields(&[("v1alpha1", both), ("v1beta1", both), ("v1beta2", &["/spec/rules/0/timeouts"]), ("v1beta3", &[])])
    );
}

#[test]
fn unknown_fields_are_found_everywhere_with_what_is_known_there() {
    let server = json!({
        "apiVersion": "policy.linkerd.io/v1beta3", "kind": "Server", "stauts": {},
        "metadata": {"name": "s", "label": {}, "annotations": {"any/thing": "goes"}, "labels": {"any/thing": "goes"}},
        "spec": {"podSelector": {"matchLabels": {"any/thing": "goes"}, "matchExpression": []}}
    });
    let unknown = definition("Server").version("v1beta3").unwrap().unknown_fields(&server);
    let pointers: Vec<_> = unknown.iter().map(|u| u.pointer.as_str()).collect();
    assert_eq!(pointers, ["/metadata/label", "/spec/podSelector/matchExpression", "/stauts"]);
    assert!(unknown[0].known.contains(&"labels".to_owned()));
    assert_eq!(unknown[1].known, ["matchExpressions", "matchLabels"]);
}

#[test]
fn d_4_columns_and_validation() {
    let version = |kind: &str, index: usize| &definition(kind).crd()["spec"]["versions"][index];
    let columns = |kind, index| -> Vec<String> {
        let columns = version(kind, index)["additionalPrinterColumns"].as_array().cloned().unwrap_or_default();
        columns.iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(columns("ExternalWorkload", 0), ["Identity", "Age"]);
    assert_eq!(columns("ExternalWorkload", 1), ["Identity", "Age"]);
    assert_eq!(columns("Server", 2), ["Port", "Protocol"]);
    assert_eq!(columns("Server", 3), ["Port", "Protocol", "Access Policy"]);
    assert_eq!(columns("ServerAuthorization", 1), ["Server"]);
    assert_eq!(columns("HTTPRoute", 3), ["Hostnames", "Age"]);

    let spec = |kind, index| &version(kind, index)["schema"]["openAPIV3Schema"]["properties"]["spec"];
    assert_eq!(version("ExternalWorkload", 0).get("subresources"), None);
    assert_eq!(version("ExternalWorkload", 1)["subresources"], json!({"status": {}}));
    assert_eq!(spec("ExternalWorkload", 0)["properties"]["workloadIPs"]["maxItems"], json!(2));
    assert_eq!(
        spec("ExternalWorkload", 1)["properties"]["meshTLS"]["properties"]["identity"]["maxLength"],
        json!(2048)
    );
    assert_eq!(spec("Server", 1)["required"], json!(["podSelector", "port"]));
    assert_eq!(
        spec("Server", 3)["oneOf"],
        json!([{"required": ["podSelector"]}, {"required": ["externalWorkloadSelector"]}])
    );
    assert_eq!(spec("Server", 3)["properties"]["accessPolicy"]["default"], json!("deny"));
    assert_eq!(spec("ServiceProfile", 0)["required"], json!(["routes"]));
    assert_eq!(spec("ServiceProfile", 1).get("required"), None);
    let route = &spec("ServiceProfile", 1)["properties"]["routes"]["items"];
    assert_eq!(route["required"], json!(["condition", "name"]));
    let nested = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    assert_eq!(route["properties"]["condition"]["properties"]["any"]["items"], nested);
    assert_eq!(spec("NetworkAuthentication", 0)["properties"]["networks"]["minItems"], json!(1));
    assert_eq!(
        spec("MeshTLSAuthentication", 0)["oneOf"],
        json!([{"required": ["identities"]}, {"required": ["identityRefs"]}])
    );
}
