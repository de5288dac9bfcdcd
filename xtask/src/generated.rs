//! Files in the tree that are made from code: written by a verb, compared by the same verb with `--check`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use outrigger_model::Refusal;

use crate::layers;

/// A folder or file of the tree and what has to be in it.
pub(crate) struct Generated {
    files: Vec<(PathBuf, Vec<u8>)>,
    /// A folder that holds generated files and nothing else.
    folder: Option<PathBuf>,
}

/// The YAML of every CustomResourceDefinition, from the Rust types.
pub(crate) fn crds() -> Generated {
    let folder = root().join("crds/generated");
    let files =
        outrigger_crds::yaml::files().into_iter().map(|(name, text)| (folder.join(name), text.into())).collect();
    Generated { files, folder: Some(folder) }
}

/// The table of refusals for operators, from `model::Refusal`.
pub(crate) fn refusals() -> Generated {
    Generated { files: vec![(root().join("docs/refusals.md"), refusals_page().into())], folder: None }
}

/// What Linkerd's messages are called, for gRPC reflection: its .proto files, without their comments.
pub(crate) fn descriptors() -> Result<Generated> {
    let folder = layers::folder_of("linkerd2-proxy-api")?.join("proto");
    let set = protox::Compiler::new([folder])?
        .include_imports(true)
        .open_files(["destination.proto", "inbound.proto", "outbound.proto"])?
        .encode_file_descriptor_set();
    Ok(Generated { files: vec![(root().join("api/generated/descriptors.bin"), set)], folder: None })
}

/// The table of what the contract demands and which tests prove it, from the tests' names.
pub(crate) fn rows() -> Result<Generated> {
    let page = crate::conformance::page(&root())?;
    Ok(Generated { files: vec![(root().join("docs/conformance.md"), page.into_bytes())], folder: None })
}

pub(crate) fn write(generated: &Generated) -> Result<String> {
    for (path, content) in &generated.files {
        let parent = path.parent().context("a generated file without a folder")?;
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    for path in strays(generated)? {
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(format!("{} files written", generated.files.len()))
}

pub(crate) fn check(generated: &Generated, verb: &str) -> Result<String> {
    let differs = |(path, content): &&(PathBuf, Vec<u8>)| fs::read(path).ok().as_ref() != Some(content);
    let stale = generated.files.iter().filter(differs).map(|(path, _)| path.clone());
    let stale: Vec<String> = stale.chain(strays(generated)?).map(|path| shown(&path)).collect();
    ensure!(stale.is_empty(), "not what the code generates: {}; run: cargo run -p xtask -- {verb}", stale.join(", "));
    Ok(format!("{verb}: {} files are as generated", generated.files.len()))
}

/// Files in a generated folder that nothing generates any more.
fn strays(generated: &Generated) -> Result<Vec<PathBuf>> {
    let Some(folder) = generated.folder.as_ref().filter(|folder| folder.is_dir()) else { return Ok(Vec::new()) };
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    Ok(paths.into_iter().filter(|path| !generated.files.iter().any(|(known, _)| known == path)).collect())
}

fn refusals_page() -> String {
    let mut page = String::from(
        "# Refusals\n\n\
         Nothing but these closes a connection or ends a request on purpose. The number (`number=`) and the label\n\
         (`reason=`) are in the log line, the label in the metrics; numbers are never reused. This page is generated from `model::Refusal`:\n\
         `cargo run -p xtask -- refusals`.\n",
    );
    let mut group = 0;
    for refusal in Refusal::ALL {
        if refusal.number() / 100 != group {
            group = refusal.number() / 100;
            let _ = write!(page, "\n## {}\n\n| number | label | what happened |\n|---|---|---|\n", title(group));
        }
        let _ = writeln!(page, "| {} | `{}` | {} |", refusal.number(), refusal.label(), refusal.sentence());
    }
    page
}

fn title(group: u16) -> &'static str {
    match group {
        1 => "1xx: accepting",
        2 => "2xx: identity",
        3 => "3xx: inbound policy",
        4 => "4xx: HTTP",
        5 => "5xx: outbound",
        _ => "others",
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_missing_or_left_over_file_is_named() {
        let folder = std::env::temp_dir().join(format!("xtask-generated-{}", std::process::id()));
        let generated =
            Generated { files: vec![(folder.join("a.yaml"), "a: 1\n".into())], folder: Some(folder.clone()) };
        assert!(check(&generated, "crds").unwrap_err().to_string().contains("a.yaml"));

        write(&generated).unwrap();
        check(&generated, "crds").unwrap();

        fs::write(folder.join("b.yaml"), "").unwrap();
        assert!(check(&generated, "crds").unwrap_err().to_string().contains("b.yaml"));
        write(&generated).unwrap();
        check(&generated, "crds").unwrap();
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn every_refusal_is_on_the_page() {
        let page = refusals_page();
        assert!(Refusal::ALL.iter().all(|refusal| page.contains(&format!(
            "| {} | `{}` |",
            refusal.number(),
            refusal.label()
        ))));
    }

    #[test]
    fn the_page_in_the_tree_is_the_generated_one() {
        check(&refusals(), "refusals").unwrap();
    }

    #[test]
    fn the_descriptors_in_the_tree_are_those_of_the_crate_that_is_used() {
        check(&descriptors().unwrap(), "descriptors").unwrap();
    }
}
