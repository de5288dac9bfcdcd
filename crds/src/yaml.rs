//! The CustomResourceDefinitions as YAML, as `crds/generated` holds them.

use crate::definitions;

const HEAD: &str = "# Generated from the types in crds/src by `cargo xtask crds`. Do not edit.\n";

/// Every generated file, by name, with its content.
pub fn files() -> Vec<(String, String)> {
    let file = |definition: &crate::Definition| {
        let name = definition.name();
        let (plural, group) = name.split_once('.').unwrap_or((name, ""));
        let yaml = serde_saphyr::to_string(definition.crd()).unwrap_or_default();
        (format!("{group}_{plural}.yaml"), format!("{HEAD}{yaml}"))
    };
    definitions().iter().map(file).collect()
}
