//! The documentation of the environment, as `--help` prints it and docs/environment.md holds it.

use super::PREFIX;
use super::variables::{Effect, VARIABLES, Variable};
use std::fmt::Write as _;

/// The table of every variable, in Markdown.
pub fn page() -> String {
    let mut page = format!(
        "# The proxy's environment\n\n\
         `outrigger-proxy` reads its whole configuration from variables whose names begin with `{PREFIX}`; the table\n\
         leaves that out. A value that cannot be read ends the program with exit code 64, with one line for each mistake.\n\
         An empty value counts as unset. Lists are separated by commas. A variable that is set and has no effect, or is\n\
         unknown, is said in one warning.\n\n\
         This page is what `outrigger-proxy --help` prints.\n"
    );
    let mut group = "";
    for variable in VARIABLES {
        if variable.group != group {
            group = variable.group;
            let _ = write!(
                page,
                "\n## {group}\n\n| variable | default | form | meaning | state |\n|---|---|---|---|---|\n"
            );
        }
        line(&mut page, variable);
    }
    page.push_str(
        "\n`HOSTNAME` and `OTEL_RESOURCE_ATTRIBUTES`, which have no prefix, describe spans: no effect yet.\n",
    );
    page
}

fn line(page: &mut String, variable: &Variable) {
    let names: Vec<_> = variable.names().map(|name| format!("`{name}`")).collect();
    let default = if variable.default.is_empty() { "–".to_owned() } else { format!("`{}`", variable.default) };
    let state = match variable.effect {
        Effect::Now => "works",
        Effect::Later => "accepted, no effect yet",
        Effect::Never => "accepted, no effect",
    };
    let Variable { form, meaning, .. } = variable;
    let _ = writeln!(page, "| {} | {default} | {form} | {meaning} | {state} |", names.join(", "));
}
