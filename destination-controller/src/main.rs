//! `outrigger-destination`: see [`outrigger_destination`].

mod run;

use clap::Parser;
use outrigger_controller::program;
use outrigger_destination::args::Args;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse();
    program("outrigger-destination", &args.controller.clone(), async |stop| run::run(args, stop).await)
}
