//! Manifests: text becomes objects, or errors that say where and what to do.

mod annotations;
mod external_workload;
mod kubernetes;
mod policy;
mod profile;
mod route;
mod values;

use crate::document::{self, Node, Tree};
use crate::error::FieldError;
use crate::{ManifestError, Object};
use outrigger_crds::{GATEWAY_GROUP, POLICY_GROUP, PROFILE_GROUP, WORKLOAD_GROUP};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
pub use values::{identity_match, parse_duration};

/// What one file holds.
#[derive(Debug, Default)]
pub struct Manifest {
    /// Each object with the line at which it begins.
    pub objects: Vec<(Object, u64)>,
    pub skipped: BTreeSet<Skipped>,
    pub errors: Vec<ManifestError>,
    /// What has no effect in objects that can be used.
    pub warnings: Vec<ManifestError>,
}

/// A kind that was left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    pub group: String,
    pub kind: String,
    /// It would change what the mesh does, and Outrigger does not honour it yet.
    pub not_honoured: bool,
}

/// Reads a file's documents: single objects, `kind: List`, and lists of one kind.
pub fn manifest(file: &Path, text: &str) -> Manifest {
    let mut manifest = Manifest::default();
    match document::read(text) {
        Ok(documents) => documents.iter().for_each(|node| manifest.read(file, node, None)),
        Err(error) => {
            let whole = ManifestError::of_file(file.to_owned(), error.problem);
            manifest.errors.push(ManifestError { line: error.line, ..whole });
        }
    }
    manifest
}

/// apiVersion and kind.
#[derive(Clone, Copy)]
struct Type<'a> {
    api_version: &'a str,
    kind: &'a str,
}

impl<'a> Type<'a> {
    fn group(self) -> &'a str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    fn version(self) -> &'a str {
        self.api_version.split_once('/').map_or(self.api_version, |(_, version)| version)
    }
}

impl Manifest {
    /// `of` is the type that a list gives to items which name none.
    fn read(&mut self, file: &Path, node: &Node, of: Option<Type<'_>>) {
        let type_ = match type_of(node, of) {
            Ok(type_) => type_,
            Err(error) => return self.errors.extend(faults(file, node, None, vec![error])),
        };
        if let Some(items) = type_.kind.strip_suffix("List").zip(node.field("items")) {
            return self.read_list(file, items.1, Type { kind: items.0, ..type_ });
        }
        match object(type_, node) {
            Ok(Read::Object(object)) => {
                self.warnings.extend(faults(file, node, Some(type_.kind), annotations::meaningless(&object)));
                self.objects.push((object, node.line));
            }
            Ok(Read::Skipped { not_honoured }) => {
                let (group, kind) = (type_.group().to_owned(), type_.kind.to_owned());
                self.skipped.insert(Skipped { group, kind, not_honoured });
            }
            Err(errors) => self.errors.extend(faults(file, node, Some(type_.kind), errors)),
        }
    }

    fn read_list(&mut self, file: &Path, items: &Node, of: Type<'_>) {
        let of = Some(of).filter(|of| !of.kind.is_empty());
        if let Tree::Seq(items) = &items.tree {
            items.iter().for_each(|item| self.read(file, item, of));
        }
    }
}

fn faults(
    file: &Path,
    node: &Node,
    kind: Option<&str>,
    errors: Vec<FieldError>,
) -> impl Iterator<Item = ManifestError> {
    let metadata = node.field("metadata");
    let text = |name| metadata.and_then(|metadata| metadata.text(name));
    let object = kind.map(|kind| match text("name") {
        Some(name) if kind == "Namespace" => format!("{kind} {name}"),
        Some(name) => format!("{kind} {}/{name}", text("namespace").unwrap_or("default")),
        None => kind.to_owned(),
    });
    errors.into_iter().map(move |error| ManifestError {
        file: file.to_owned(),
        line: Some(node.line_of(&error.pointer)).filter(|line| *line > 0),
        object: object.clone(),
        field: error.path(),
        problem: error.problem,
    })
}

fn type_of<'a>(node: &'a Node, of: Option<Type<'a>>) -> Result<Type<'a>, FieldError> {
    if !matches!(node.tree, Tree::Map(_)) {
        return Err(FieldError::new(
            "",
            "this is no Kubernetes object; write one that begins with apiVersion and kind",
        ));
    }
    match (node.text("apiVersion"), node.text("kind"), of) {
        (Some(api_version), Some(kind), _) if !api_version.is_empty() && !kind.is_empty() => {
            Ok(Type { api_version, kind })
        }
        (None, None, Some(of)) => Ok(of),
        (None, ..) => Err(FieldError::new("/apiVersion", "missing; every object begins with apiVersion and kind")),
        _ => Err(FieldError::new("/kind", "missing; every object begins with apiVersion and kind")),
    }
}

enum Read {
    Object(Object),
    Skipped { not_honoured: bool },
}

/// Kinds that change what a mesh does and are not read yet.
const NOT_HONOURED: &[(&str, &str)] = &[
    (POLICY_GROUP, "EgressNetwork"),
    (POLICY_GROUP, "HTTPLocalRateLimitPolicy"),
    (GATEWAY_GROUP, "GRPCRoute"),
    (GATEWAY_GROUP, "TLSRoute"),
    (GATEWAY_GROUP, "TCPRoute"),
    (GATEWAY_GROUP, "UDPRoute"),
];

fn object(type_: Type<'_>, node: &Node) -> Result<Read, Vec<FieldError>> {
    let (group, kind) = (type_.group(), type_.kind);
    if NOT_HONOURED.contains(&(group, kind)) {
        return Ok(Read::Skipped { not_honoured: true });
    }
    let read: fn(Value) -> Result<Object, FieldError> = match (group, kind) {
        ("", "Namespace") => kubernetes::namespace,
        ("", "Node") => kubernetes::node,
        ("", "Service") => kubernetes::service,
        ("", "Pod") => kubernetes::pod,
        // Names instead of addresses; no resolver stands behind them yet.
        ("discovery.k8s.io", "EndpointSlice") if node.text("addressType") == Some("FQDN") => {
            return Ok(Read::Skipped { not_honoured: true });
        }
        ("discovery.k8s.io", "EndpointSlice") => kubernetes::endpoint_slice,
        (GATEWAY_GROUP, "HTTPRoute") => route::gateway,
        (POLICY_GROUP, "HTTPRoute") => route::policy,
        (POLICY_GROUP, "Server") => policy::server,
        (POLICY_GROUP, "ServerAuthorization") => policy::server_authorization,
        (POLICY_GROUP, "AuthorizationPolicy") => policy::authorization_policy,
        (POLICY_GROUP, "MeshTLSAuthentication") => policy::mesh_tls_authentication,
        (POLICY_GROUP, "NetworkAuthentication") => policy::network_authentication,
        (WORKLOAD_GROUP, "ExternalWorkload") => external_workload::external_workload,
        (PROFILE_GROUP, "ServiceProfile") => profile::service_profile,
        (POLICY_GROUP | WORKLOAD_GROUP | PROFILE_GROUP | "outrigger.dev", _) => {
            return Err(vec![unknown_kind(group, kind)]);
        }
        _ => return Ok(Read::Skipped { not_honoured: false }),
    };
    let value = node.to_value();
    let unknown = unknown_fields(type_, &value)?;
    if !unknown.is_empty() {
        return Err(unknown);
    }
    read(value).map(Read::Object).map_err(|error| vec![error])
}

fn unknown_kind(group: &str, kind: &str) -> FieldError {
    let known: Vec<_> =
        outrigger_crds::definitions().iter().filter(|d| d.group == group).map(|d| d.kind.as_str()).collect();
    let fix = match known.as_slice() {
        [] => "has no kinds".to_owned(),
        known => format!("has {}", known.join(", ")),
    };
    FieldError::new("/kind", format!("unknown kind {kind}; {group} {fix}"))
}

/// Fields that the version does not have: an error in our own groups, and where a route would match more without it.
fn unknown_fields(type_: Type<'_>, value: &Value) -> Result<Vec<FieldError>, Vec<FieldError>> {
    let (group, kind, version) = (type_.group(), type_.kind, type_.version());
    let served: &[&str] = match group {
        GATEWAY_GROUP => &["v1beta1", "v1"],
        "" | "discovery.k8s.io" => &["v1"],
        _ => &[],
    };
    let unknown_version = |served: &[&str]| {
        let fix = served.join(", ");
        Err(vec![FieldError::new("/apiVersion", format!("unknown version {version} of {kind}; write one of {fix}"))])
    };
    let definition = outrigger_crds::definitions().iter().find(|d| d.kind == kind && d.group == group);
    if let Some(definition) = definition {
        return match definition.version(version) {
            Some(schema) => Ok(schema.unknown_fields(value).iter().map(unknown_field).collect()),
            None => unknown_version(&definition.versions.iter().map(|v| v.name.as_str()).collect::<Vec<_>>()),
        };
    }
    if !served.contains(&version) {
        return unknown_version(served);
    }
    Ok(if group == GATEWAY_GROUP { route::unknown_matches(value) } else { Vec::new() })
}

pub(crate) fn unknown_field(unknown: &outrigger_crds::UnknownField) -> FieldError {
    let name = unknown.pointer.rsplit('/').next().unwrap_or_default();
    let near = unknown.known.iter().find(|known| is_near(name, known));
    let problem = match near {
        Some(near) => format!("unknown field; did you mean {near}?"),
        None => format!("unknown field; known here: {}", unknown.known.join(", ")),
    };
    FieldError::new(unknown.pointer.clone(), problem)
}

/// Equal but for case, or with at most two characters inserted, removed or changed (Levenshtein).
fn is_near(a: &str, b: &str) -> bool {
    if a.eq_ignore_ascii_case(b) {
        return true;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let changed = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()] <= 2 && b.len() > 3
}
