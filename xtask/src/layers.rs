//! The floors of ARCHITECTURE.md, checked against what `cargo metadata` says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

const FLOORS: &[&[&str]] = &[
    &["outrigger-model", "outrigger-crds"],
    &[
        "outrigger-admin",
        "outrigger-api",
        "outrigger-cluster",
        "outrigger-controller",
        "outrigger-mtls",
        "outrigger-proxy-core",
        "outrigger-proxy-init",
        "outrigger-testkit",
    ],
    &["outrigger-proxy", "outrigger-destination", "outrigger-policy"],
    &["outrigger", "outrigger-benches", "xtask"],
];

/// A product crate on the left links nothing on the right, however far down.
const NEVER: &[(&str, &[&str])] = &[
    ("outrigger-model", &["tokio", "prost", "kube-core"]),
    ("outrigger-proxy-core", &["tokio", "rustls", "tonic", "kube-core"]),
    ("outrigger-proxy", &["kube", "kube-core", "outrigger-cluster", "outrigger-crds"]),
    ("outrigger-mtls", &["kube", "kube-core"]),
];

/// Tests may use it from any floor.
const TESTKIT: &str = "outrigger-testkit";

/// A crate of the workspace and the names it asks for; `reaches` follows normal and build dependencies all the way.
#[derive(Debug, Default)]
struct Package {
    imports: BTreeSet<String>,
    imports_in_tests: BTreeSet<String>,
    reaches: BTreeSet<String>,
}

/// Runs `cargo metadata` and fails with every crossing of a floor.
pub(crate) fn check() -> Result<String> {
    let packages = workspace(&metadata()?)?;
    let found = violations(&packages);
    ensure!(found.is_empty(), "{} floors crossed:\n  {}", found.len(), found.join("\n  "));
    Ok(format!("layers: {} crates on {} floors, nothing crosses", packages.len(), FLOORS.len()))
}

fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|crates| crates.contains(&name)).map(|index| index + 1)
}

fn violations(packages: &BTreeMap<String, Package>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, package) in packages {
        let Some(own) = floor(name) else {
            found.push(format!("{name} stands on no floor: give it one in xtask/src/layers.rs"));
            continue;
        };
        for (imports, kind) in [(&package.imports, "imports"), (&package.imports_in_tests, "imports in tests")] {
            for other in imports.iter().filter(|other| packages.contains_key(*other)) {
                let excused = kind != "imports" && other == TESTKIT;
                if let Some(level) = floor(other).filter(|level| *level >= own && !excused) {
                    found.push(format!("{name} (floor {own}) {kind} {other} (floor {level})"));
                }
            }
        }
        for (_, banned) in NEVER.iter().filter(|(who, _)| who == name) {
            let reached = banned.iter().filter(|dependency| package.reaches.contains(**dependency));
            found.extend(reached.map(|dependency| format!("{name} must never see {dependency}")));
        }
    }
    found
}

fn metadata() -> Result<Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")
}

/// Where cargo keeps the sources of a dependency.
pub(crate) fn folder_of(name: &str) -> Result<PathBuf> {
    let metadata = metadata()?;
    let package = list(&metadata["packages"])?.iter().find(|package| package["name"] == name);
    let manifest = package.and_then(|package| package["manifest_path"].as_str()).map(Path::new);
    let folder = manifest.and_then(Path::parent).with_context(|| format!("cargo metadata knows no package {name}"))?;
    Ok(folder.to_owned())
}

fn workspace(metadata: &Value) -> Result<BTreeMap<String, Package>> {
    let names: BTreeMap<&str, &str> =
        list(&metadata["packages"])?.iter().filter_map(|p| Some((p["id"].as_str()?, p["name"].as_str()?))).collect();
    let graph = Graph::read(&metadata["resolve"]["nodes"])?;
    let mut packages = BTreeMap::new();
    for id in list(&metadata["workspace_members"])?.iter().filter_map(Value::as_str) {
        let named = |ids: Option<&BTreeSet<String>>| -> BTreeSet<String> {
            ids.into_iter().flatten().filter_map(|id| names.get(id.as_str())).map(|name| (*name).to_owned()).collect()
        };
        let name = names.get(id).context("a workspace member without a package")?;
        let package = Package {
            imports: named(graph.linked.get(id)),
            imports_in_tests: named(graph.tested.get(id)),
            reaches: named(Some(&graph.reach(id))),
        };
        packages.insert((*name).to_owned(), package);
    }
    Ok(packages)
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().context("cargo metadata has another form than version 1")
}

/// Package ids and the ids they depend on, apart for what is linked and what only tests use.
#[derive(Default)]
struct Graph {
    linked: BTreeMap<String, BTreeSet<String>>,
    tested: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn read(nodes: &Value) -> Result<Self> {
        let mut graph = Self::default();
        for node in list(nodes)? {
            let id = node["id"].as_str().context("a node without an id")?;
            for dependency in list(&node["deps"])? {
                let target = dependency["pkg"].as_str().context("a dependency without a package")?;
                for kind in list(&dependency["dep_kinds"])? {
                    let edges = if kind["kind"] == "dev" { &mut graph.tested } else { &mut graph.linked };
                    edges.entry(id.to_owned()).or_default().insert(target.to_owned());
                }
            }
        }
        Ok(graph)
    }

    fn reach(&self, start: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut queue = vec![start.to_owned()];
        while let Some(id) = queue.pop() {
            for next in self.linked.get(&id).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    queue.push(next.clone());
                }
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn tree(name: &str, package: Package) -> BTreeMap<String, Package> {
        let mut packages: BTreeMap<_, _> = FLOORS
            .iter()
            .flat_map(|crates| crates.iter())
            .map(|name| ((*name).to_owned(), Package::default()))
            .collect();
        packages.insert(name.to_owned(), package);
        packages
    }

    #[test]
    fn a_crate_may_import_only_lower_floors() {
        let lower = Package { imports: set(&["outrigger-model", "serde"]), ..Package::default() };
        assert_eq!(violations(&tree("outrigger-mtls", lower)), Vec::<String>::new());

        for other in ["outrigger-api", "outrigger-proxy"] {
            let package = Package { imports: set(&[other]), ..Package::default() };
            assert_eq!(violations(&tree("outrigger-mtls", package)).len(), 1, "{other}");
        }
    }

    #[test]
    fn tests_of_any_floor_may_use_the_testkit_and_nothing_else_above() {
        let package = Package { imports_in_tests: set(&["outrigger-testkit"]), ..Package::default() };
        assert_eq!(violations(&tree("outrigger-model", package)), Vec::<String>::new());

        let package = Package { imports_in_tests: set(&["outrigger-proxy"]), ..Package::default() };
        assert_eq!(violations(&tree("outrigger-model", package)).len(), 1);
    }

    #[test]
    fn the_proxy_never_sees_kube_however_far_down() {
        let package = Package { reaches: set(&["kube-core"]), ..Package::default() };
        assert_eq!(violations(&tree("outrigger-proxy", package)), ["outrigger-proxy must never see kube-core"]);
    }

    #[test]
    fn a_crate_without_a_floor_is_refused() {
        assert_eq!(violations(&tree("outrigger-new", Package::default())).len(), 1);
    }

    #[test]
    fn this_workspace_keeps_its_floors() {
        check().unwrap();
    }
}
