//! What a meshed HTTP/1.1 request costs: the direct path, a pair of Outrigger proxies and a pair of Envoys with mutual
//! TLS, in turns within one run, so that whatever else the machine does falls on all of them alike.

mod envoy;
mod outrigger;
mod path;
mod programs;
mod redirect;
mod report;
mod rounds;
mod serve;
mod usage;
mod wrk;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use outrigger_testkit::Network;

use crate::report::Setting;
use crate::rounds::Plan;

#[derive(Parser)]
#[command(version, about = "Compares a pair of Outrigger proxies with the direct path and with Envoy.")]
struct Args {
    /// The Envoy to compare with; without it Envoy is left out.
    #[arg(long)]
    envoy: Option<PathBuf>,
    /// How often each path is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each measurement takes.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// One round of a second, to see that it works; the results are printed and not kept.
    #[arg(long)]
    quick: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// The server behind every path: the same answer to each request.
    #[command(hide = true)]
    Serve { listen: SocketAddr },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match args.command {
        Some(Command::Serve { listen }) => serve::run(listen),
        None => compare(&args),
    };
    outcome.map_or_else(
        |error| {
            eprintln!("outrigger-bench: {error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn compare(args: &Args) -> Result<()> {
    let busy = usage::load_average()?;
    if busy > 0.5 {
        eprintln!("outrigger-bench: the machine is busy (load average {busy}): expect noise");
    }
    let plan = if args.quick { Plan::quick() } else { Plan::new(args.rounds, args.seconds) };
    let mut network = Network::new()?;
    let mut paths = vec![path::direct(&mut network)?, outrigger::path(&mut network)?];
    if let Some(program) = &args.envoy {
        paths.push(envoy::path(&mut network, program)?);
    }
    for path in &paths {
        path.check(&network)?;
    }
    let samples = rounds::run(&plan, &paths)?;
    ensure!(!samples.is_empty(), "nothing was measured");
    report::publish(&Setting { plan, envoy: args.envoy.clone(), busy }, &samples, args.quick)
}
