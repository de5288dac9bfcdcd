//! `outrigger identity serve`: the embedded SPIFFE Workload API, for the demo, tests and small meshes.

use anyhow::Result;
use outrigger_model::TrustDomain;
use outrigger_mtls::workload_api::{Config, serve};
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Issue and serve SVIDs.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Serve(Serve),
}

/// Serve the SPIFFE Workload API on a unix socket to the local users that the entries name.
#[derive(clap::Args)]
struct Serve {
    /// The unix socket to listen on.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// A YAML file: entries: [{uid: 2102, spiffeId: "spiffe://…", dnsNames: ["…"]}]; followed for changes.
    #[arg(long, value_name = "FILE")]
    entries: PathBuf,
    #[arg(long, value_name = "DOMAIN")]
    trust_domain: TrustDomain,
    /// Holds ca.crt and ca.key; both are made on the first start.
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,
    /// How long an SVID lives; the next one is sent at half of that.
    #[arg(long, default_value = "1h", value_parser = crate::duration::parse)]
    ttl: Duration,
    /// The group that may open the socket, beside our own user.
    #[arg(long, value_name = "GID")]
    group: Option<u32>,
}

pub(crate) async fn run(args: Args) -> Result<()> {
    let Command::Serve(Serve { socket, entries, trust_domain, state_dir, ttl, group }) = args.command;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    };
    Ok(serve(Config { socket, entries, trust_domain, state_dir, ttl, group }, stop).await?)
}
