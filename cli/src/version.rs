//! `outrigger version`: the client's version.

use crate::output::{Format, print_json};
use anyhow::Result;
use std::io::Write as _;

/// Print the version of this command.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let client = env!("CARGO_PKG_VERSION");
    match args.output {
        Format::Table => Ok(writeln!(std::io::stdout(), "client {client}")?),
        Format::Json => print_json(&serde_json::json!({ "client": client })),
    }
}
