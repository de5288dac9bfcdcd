//! `outrigger diagnostics`: asks the controllers what a proxy would ask, and shows the answers.

mod controller;
mod endpoints;
mod outbound;
mod policy;
mod profile;

use anyhow::Result;

/// Ask the controllers' gRPC APIs what they tell proxies.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Endpoints(endpoints::Args),
    Policy(policy::Args),
    Profile(profile::Args),
}

pub(crate) async fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Endpoints(args) => endpoints::run(args).await,
        Command::Policy(args) => policy::run(args).await,
        Command::Profile(args) => profile::run(args).await,
    }
}
