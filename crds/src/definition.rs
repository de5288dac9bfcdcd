//! Every CustomResourceDefinition: the storage version from its Rust type, older versions as edits of it.

use crate::{
    AuthorizationPolicy, ExternalWorkload, HttpRoute, MeshTlsAuthentication, NetworkAuthentication, Server,
    ServerAuthorization, ServiceProfile,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::CustomResourceExt;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// One kind with all of its versions.
#[derive(Debug, Clone)]
pub struct Definition {
    pub group: String,
    pub kind: String,
    /// Oldest first; the last one is stored.
    pub versions: Vec<Version>,
    crd: Value,
}

/// One version of a kind: its name and its structural schema.
#[derive(Debug, Clone)]
pub struct Version {
    pub name: String,
    schema: Value,
}

/// A field that a version's schema does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownField {
    /// A JSON pointer (RFC 6901).
    pub pointer: String,
    /// The fields that the schema has in that place.
    pub known: Vec<String>,
}

/// Every kind, in the order of their names.
pub fn definitions() -> &'static [Definition] {
    static ALL: LazyLock<Vec<Definition>> = LazyLock::new(|| {
        let mut all = vec![
            external_workload(),
            server(),
            server_authorization(),
            http_route(),
            service_profile(),
            Definition::of::<AuthorizationPolicy>(vec![]),
            Definition::of::<MeshTlsAuthentication>(vec![]),
            Definition::of::<NetworkAuthentication>(vec![]),
        ];
        all.sort_by(|a, b| (&a.group, &a.kind).cmp(&(&b.group, &b.kind)));
        all
    });
    &ALL
}

/// v1alpha1 spells `meshTls`, and has its status in the object itself.
fn external_workload() -> Definition {
    let v1alpha1 = Older::served("v1alpha1", |version| {
        let spec = part(version, "/schema/openAPIV3Schema/properties/spec");
        spec.insert("required".into(), json!(["meshTls"]));
        let fields = part(version, "/schema/openAPIV3Schema/properties/spec/properties");
        let mesh_tls = fields.remove("meshTLS").unwrap_or_default();
        fields.insert("meshTls".into(), mesh_tls);
        version["subresources"] = Value::Null;
        version["additionalPrinterColumns"][0]["jsonPath"] = json!(".spec.meshTls.identity");
    });
    Definition::of::<ExternalWorkload>(vec![v1alpha1])
}

/// accessPolicy came with v1beta3, externalWorkloadSelector with v1beta2.
fn server() -> Definition {
    let no_access_policy = |version: &mut Value| {
        part(version, "/schema/openAPIV3Schema/properties/spec/properties").remove("accessPolicy");
        if let Some(columns) = version["additionalPrinterColumns"].as_array_mut() {
            columns.retain(|column| column["jsonPath"] != ".spec.accessPolicy");
        }
    };
    let pods_only = move |version: &mut Value| {
        no_access_policy(version);
        part(version, "/schema/openAPIV3Schema/properties/spec/properties").remove("externalWorkloadSelector");
        let spec = part(version, "/schema/openAPIV3Schema/properties/spec");
        spec.remove("oneOf");
        spec.insert("required".into(), json!(["podSelector", "port"]));
    };
    Definition::of::<Server>(vec![
        Older::deprecated("v1alpha1", pods_only),
        Older::deprecated("v1beta1", pods_only),
        Older::served("v1beta2", no_access_policy),
    ])
}

/// v1alpha1 has the same fields.
fn server_authorization() -> Definition {
    Definition::of::<ServerAuthorization>(vec![Older::deprecated("v1alpha1", |_| {})])
}

/// Weights of backends came with v1beta2, timeouts with v1beta3.
fn http_route() -> Definition {
    const RULE: &str = "/schema/openAPIV3Schema/properties/spec/properties/rules/items/properties";
    let no_timeouts = |version: &mut Value| {
        part(version, RULE).remove("timeouts");
    };
    let no_weights = move |version: &mut Value| {
        no_timeouts(version);
        part(version, &format!("{RULE}/backendRefs/items/properties")).remove("weight");
    };
    Definition::of::<HttpRoute>(vec![
        Older::served("v1alpha1", no_weights),
        Older::served("v1beta1", no_weights),
        Older::served("v1beta2", no_timeouts),
    ])
}

/// v1alpha1 has the same fields, and must have routes.
fn service_profile() -> Definition {
    Definition::of::<ServiceProfile>(vec![Older::served("v1alpha1", |version| {
        part(version, "/schema/openAPIV3Schema/properties/spec").insert("required".into(), json!(["routes"]));
    })])
}

/// An older version, made from the storage version.
struct Older {
    name: &'static str,
    deprecated: bool,
    edit: Box<dyn Fn(&mut Value)>,
}

impl Older {
    fn served(name: &'static str, edit: impl Fn(&mut Value) + 'static) -> Self {
        Self { name, deprecated: false, edit: Box::new(edit) }
    }

    fn deprecated(name: &'static str, edit: impl Fn(&mut Value) + 'static) -> Self {
        Self { name, deprecated: true, edit: Box::new(edit) }
    }

    fn version(&self, storage: &Value, group: &str, kind: &str) -> Value {
        let mut version = storage.clone();
        (self.edit)(&mut version);
        if self.deprecated {
            let newest = storage["name"].as_str().unwrap_or_default();
            version["deprecated"] = json!(true);
            version["deprecationWarning"] =
                json!(format!("{group}/{} {kind} is deprecated; use {group}/{newest}", self.name));
        }
        version["name"] = json!(self.name);
        version["storage"] = json!(false);
        version
    }
}

impl Definition {
    fn of<T: CustomResourceExt>(older: Vec<Older>) -> Self {
        let mut crd = serde_json::to_value(T::crd()).unwrap_or_default();
        tidy(&mut crd);
        let text = |at: &str| crd.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (group, kind) = (text("/spec/group"), text("/spec/names/kind"));
        let mut storage = crd["spec"]["versions"][0].take();
        part(&mut storage, "/schema/openAPIV3Schema").remove("title");
        let mut versions: Vec<_> = older.iter().map(|o| o.version(&storage, &group, &kind)).collect();
        versions.push(storage);
        versions.iter_mut().for_each(drop_nulls);
        let parsed = versions.iter().map(|version| Version {
            name: version["name"].as_str().unwrap_or_default().to_owned(),
            schema: version["schema"]["openAPIV3Schema"].clone(),
        });
        let parsed = parsed.collect();
        crd["spec"]["versions"] = Value::Array(versions);
        Self { group, kind, versions: parsed, crd }
    }

    /// The CustomResourceDefinition's name, `plural.group`.
    pub fn name(&self) -> &str {
        self.crd["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// The CustomResourceDefinition as `kubectl apply` takes it.
    pub fn crd(&self) -> &Value {
        &self.crd
    }

    /// A version by its name.
    pub fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.name == name)
    }
}

impl Version {
    /// Fields of the object that the version does not have; Kubernetes would drop them silently.
    pub fn unknown_fields(&self, object: &Value) -> Vec<UnknownField> {
        static META: LazyLock<Value> = LazyLock::new(|| {
            let settings = SchemaSettings::openapi3().with(|s| s.inline_subschemas = true);
            settings.into_generator().into_root_schema_for::<ObjectMeta>().to_value()
        });
        let mut unknown = Vec::new();
        for (name, value) in object.as_object().into_iter().flatten() {
            match name.as_str() {
                "apiVersion" | "kind" => {}
                "metadata" => walk(&META, value, "/metadata", &mut unknown),
                name => match self.schema["properties"].get(name) {
                    Some(schema) => walk(schema, value, &format!("/{name}"), &mut unknown),
                    None => unknown.push(UnknownField { pointer: format!("/{name}"), known: self.top_level() }),
                },
            }
        }
        unknown
    }

    fn top_level(&self) -> Vec<String> {
        let own = self.schema["properties"].as_object().into_iter().flat_map(Map::keys).map(String::as_str);
        ["apiVersion", "kind", "metadata"].into_iter().chain(own).map(str::to_owned).collect()
    }
}

fn walk(schema: &Value, value: &Value, at: &str, unknown: &mut Vec<UnknownField>) {
    match (value, schema["properties"].as_object()) {
        (Value::Object(fields), Some(known)) => {
            for (name, value) in fields {
                let pointer = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                match known.get(name) {
                    Some(schema) => walk(schema, value, &pointer, unknown),
                    None => unknown.push(UnknownField { pointer, known: known.keys().cloned().collect() }),
                }
            }
        }
        (Value::Array(items), _) => {
            for (index, item) in items.iter().enumerate() {
                walk(&schema["items"], item, &format!("{at}/{index}"), unknown);
            }
        }
        _ => {}
    }
}

/// The object at a JSON pointer of a storage version, which our own types made.
fn part<'a>(version: &'a mut Value, pointer: &str) -> &'a mut Map<String, Value> {
    match version.pointer_mut(pointer) {
        Some(Value::Object(fields)) => fields,
        _ => unreachable!("the storage version has no object at {pointer}"),
    }
}

/// Takes out what Rust's types add and Kubernetes warns of: formats of unsigned integers, limits as fractions, and
/// `nullable`, which would let an explicit null through where the field may only be absent.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            // A field may itself be called `format`; a schema's own is text.
            if fields.get("format").and_then(Value::as_str).is_some_and(|f| f.starts_with("uint")) {
                fields.insert("format".into(), json!("int32"));
            }
            if fields.get("nullable") == Some(&Value::Bool(true)) {
                fields.remove("nullable");
            }
            for limit in ["minimum", "maximum"] {
                if let Some(whole) = fields.get(limit).and_then(Value::as_f64).filter(|n| n.fract() == 0.0) {
                    fields.insert(limit.into(), json!(whole as i64));
                }
            }
            fields.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn drop_nulls(version: &mut Value) {
    if let Value::Object(fields) = version {
        fields.retain(|_, value| !value.is_null());
    }
}
