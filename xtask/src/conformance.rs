//! Which demands of the contract are proved by which tests: read off the tests' names, `a_1_7_…` for section A.1.7.

mod rows;

use anyhow::{Context, Result, ensure};
use rows::{Row, SECTIONS, Section};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// The page for `docs/conformance.md`, from the tests below `root`.
pub(crate) fn page(root: &Path) -> Result<String> {
    let mut tests = BTreeSet::new();
    collect(root, &mut tests)?;
    let strays: Vec<_> = tests.iter().filter(|test| names_no_section(test)).map(String::as_str).collect();
    ensure!(
        strays.is_empty(),
        "these tests name a section that is none (xtask/src/conformance/rows.rs): {}",
        strays.join(", ")
    );
    Ok(write(&tests))
}

fn write(tests: &BTreeSet<String>) -> String {
    let mut page = String::from(
        "# Conformance\n\n\
         What Linkerd's proxies and controllers rely on, demand by demand, and the tests that prove it of ours. The\n\
         sections are those that tests have in their names. This page is generated from `xtask/src/conformance/rows.rs`\n\
         and the tests: `cargo run -p xtask -- rows`.\n",
    );
    let mut unproved = String::new();
    for section in SECTIONS.iter().filter(|section| !section.rows.is_empty()) {
        let _ = write!(page, "\n## {} {}\n\n| what | tests |\n|---|---|\n", section.id, section.title);
        for row in section.rows {
            let proofs = proofs(section, row, tests);
            let _ = writeln!(page, "| {} | {} |", row.0, proofs.join("<br>"));
            if proofs.is_empty() {
                let _ = writeln!(unproved, "- {}: {}", section.id, row.0);
            }
        }
    }
    let unproved = if unproved.is_empty() { "None.\n" } else { &unproved };
    let _ = write!(page, "\n## Without a test\n\n{unproved}");
    page
}

fn proofs(section: &Section, (_, parts): &Row, tests: &BTreeSet<String>) -> Vec<String> {
    let proves = |test: &str| {
        parts.iter().any(|part| test == *part || (section_of(test) == Some(section.id) && test.contains(part)))
    };
    tests.iter().filter(|test| proves(test)).map(|test| format!("`{test}`")).collect()
}

/// The section in a test's name; the longest that fits.
fn section_of(test: &str) -> Option<&'static str> {
    let fits = |section: &&Section| {
        let prefix = section.id.to_ascii_lowercase().replace('.', "_");
        test.strip_prefix(&prefix).is_some_and(|rest| rest.starts_with('_'))
    };
    SECTIONS.iter().filter(fits).map(|section| section.id).max_by_key(|id| id.len())
}

fn names_no_section(test: &str) -> bool {
    let mut parts = test.split('_');
    let part = matches!(parts.next(), Some("a" | "b" | "c"));
    part && parts.next().is_some_and(|number| number.parse::<u8>().is_ok()) && section_of(test).is_none()
}

/// The names of all tests in the Rust files below a folder.
fn collect(folder: &Path, tests: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            collect(&path, tests)?;
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            tests.extend(tests_in(&text));
        }
    }
    Ok(())
}

/// The functions that a test attribute stands above.
fn tests_in(text: &str) -> Vec<String> {
    let (mut found, mut attributed) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[") {
            attributed |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| attributed) {
            found.push(rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect());
            attributed = false;
        } else if !line.starts_with("//") {
            attributed = false;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_by_their_attribute() {
        let text = "#[test]\nfn a_1_x() {}\nfn a_1_no_test() {}\n    #[tokio::test(start_paused = true)]\n    #[ignore]\n\
                    /// Why.\n    async fn b_2_y() {}\n#[test]\nconst X: u8 = 1;\nfn c_1_z() {}\n";
        assert_eq!(tests_in(text), ["a_1_x", "b_2_y"]);
    }

    #[test]
    fn the_longest_section_that_fits_is_meant() {
        assert_eq!(section_of("a_1_10_refusals"), Some("A.1.10"));
        assert_eq!(section_of("a_1_an_address"), Some("A.1"));
        assert_eq!(section_of("a_peer_is_known"), None);
        assert!(
            names_no_section("a_9_x")
                && !names_no_section("a_9x")
                && !names_no_section("a_peer")
                && !names_no_section("t_12_x")
        );
    }

    #[test]
    fn a_row_without_a_test_is_listed() {
        let all = SECTIONS.iter().flat_map(|section| section.rows).count();
        let listed = |page: &str| page.split_once("## Without a test").unwrap().1.matches("\n- ").count();
        assert_eq!(listed(&write(&BTreeSet::new())), all);
        let page = write(&["a_1_4_golden_bytes".to_owned()].into());
        assert_eq!(listed(&page), all - 1);
        assert!(page.contains("| its bytes | `a_1_4_golden_bytes` |"));
    }
}
