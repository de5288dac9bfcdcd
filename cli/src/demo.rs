//! `outrigger demo`: the guide "Adding non-Kubernetes workloads", played on network namespaces, each act checked.

mod acts;
mod admin;
mod app;
mod binaries;
mod issuer;
mod layout;
mod load;
mod manifests;
mod progress;
mod report;
mod requirements;
mod running;
mod stage;
mod traffic;
mod wire;
mod world;

use crate::output::Format;
use anyhow::Result;
use std::path::PathBuf;
use std::process::ExitCode;

/// Play the mesh of the guide on network namespaces, act by act.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    play: Play,
}

#[derive(clap::Args)]
pub(crate) struct Play {
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Play only this act; may be given several times.
    #[arg(long = "act", value_name = "N", value_parser = clap::value_parser!(u8).range(1..=acts::LAST))]
    acts: Vec<u8>,
    /// Leave everything up at the end, and say how to look around.
    #[arg(long, env = "KEEP", value_parser = clap::builder::FalseyValueParser::new())]
    keep: bool,
    /// Remove what was kept, and what a crash left, then end.
    #[arg(long, alias = "clean", conflicts_with_all = ["acts", "keep"])]
    remove: bool,
    /// The Workload API of a real SPIRE agent, instead of the demo's own issuer.
    #[arg(long, value_name = "PATH", requires = "trust_anchors")]
    spire_socket: Option<PathBuf>,
    /// The PEM trust anchors of that agent's trust domain.
    #[arg(long, value_name = "FILE", requires = "spire_socket")]
    trust_anchors: Option<PathBuf>,
}

/// The programs that run inside the namespaces.
#[derive(clap::Subcommand)]
enum Part {
    #[command(hide = true)]
    App(app::Args),
    #[command(hide = true)]
    Load(load::Args),
}

pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    match args.part {
        Some(Part::App(args)) => app::run(args).await.map(|()| ExitCode::SUCCESS),
        Some(Part::Load(args)) => load::run(args).await.map(|()| ExitCode::SUCCESS),
        None if args.play.remove => stage::remove_kept().map(|()| ExitCode::SUCCESS),
        None => stage::play(args.play).await,
    }
}
