//! Outrigger's command line.

mod completion;
mod demo;
mod diagnostics;
mod duration;
mod identity;
mod output;
mod version;

use clap::{CommandFactory as _, Parser, Subcommand};
use std::io::IsTerminal as _;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Machines outside the cluster, full members of its mesh.
#[derive(Parser)]
#[command(name = "outrigger", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Args),
    Identity(identity::Args),
    Diagnostics(diagnostics::Args),
    Version(version::Args),
    Completion(completion::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let command = Cli::parse().command;
    log_to_stderr(&command);
    let outcome = match command {
        Command::Demo(args) => demo::run(args).await,
        Command::Identity(args) => identity::run(args).await.map(|()| ExitCode::SUCCESS),
        Command::Diagnostics(args) => diagnostics::run(args).await.map(|()| ExitCode::SUCCESS),
        Command::Version(args) => version::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Completion(args) => completion::run(&args, Cli::command()).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|e| {
        eprintln!("error: {e:#}");
        ExitCode::FAILURE
    })
}

/// A server tells what it does; a command that ends has its one error for that.
fn log_to_stderr(command: &Command) {
    let usual = if matches!(command, Command::Identity(_)) { "info" } else { "off" };
    let filter = EnvFilter::try_from_env("OUTRIGGER_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.with_ansi(std::io::stderr().is_terminal()).init();
}
