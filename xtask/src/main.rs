//! `cargo run -p xtask -- VERB`: what cargo and clippy do not check.

mod conformance;
mod generated;
mod layers;

use std::process::ExitCode;

const USAGE: &str =
    "usage: xtask layers | crds [--check] | refusals [--check] | descriptors [--check] | rows [--check]";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["layers"] => layers::check(),
        ["crds"] => generated::write(&generated::crds()),
        ["crds", "--check"] => generated::check(&generated::crds(), "crds"),
        ["refusals"] => generated::write(&generated::refusals()),
        ["refusals", "--check"] => generated::check(&generated::refusals(), "refusals"),
        ["descriptors"] => generated::descriptors().and_then(|files| generated::write(&files)),
        ["descriptors", "--check"] => {
            generated::descriptors().and_then(|files| generated::check(&files, "descriptors"))
        }
        ["rows"] => generated::rows().and_then(|page| generated::write(&page)),
        ["rows", "--check"] => generated::rows().and_then(|page| generated::check(&page, "rows")),
        _ => Err(anyhow::anyhow!(USAGE)),
    };
    match outcome {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
