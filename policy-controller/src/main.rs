//! `outrigger-policy`: see [`outrigger_policy`].

mod run;

use clap::Parser;
use outrigger_controller::program;
use outrigger_policy::Args;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse();
    program("outrigger-policy", &args.controller.clone(), async |stop| run::run(args, stop).await)
}
