//! Playing from set-up to removal, whatever happens in between.

use super::report::{Outcome, Report};
use super::world::{Stage, World};
use super::{Play, acts, binaries, issuer, progress::Progress, requirements};
use anyhow::{Context as _, Result};
use outrigger_testkit::{Network, Program};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;
use tokio::signal::unix::{SignalKind, signal};

impl Play {
    /// The program as it has to be started: with --keep it stays after our end.
    pub(crate) fn lasting(&self, program: Program) -> Program {
        if self.keep { program.outlives_us() } else { program }
    }
}

/// Plays and removes everything, also after SIGINT, SIGTERM or SIGHUP.
pub(crate) async fn play(play: Play) -> Result<ExitCode> {
    requirements::check()?;
    if play.spire_socket.is_some() {
        eprintln!("The SPIRE server must have these entries:\n{}", issuer::spire_commands());
    }
    let stage = Arc::new(Stage::default());
    let (output, playing) = (play.output, stage.clone());
    let playing = tokio::task::spawn_blocking(move || perform(&play, &playing));
    tokio::select! {
        report = playing => {
            let report = report.context("the demo broke off").flatten();
            let removed = remove(&stage);
            let report = report?;
            removed?;
            report.print(output)?;
            Ok(if report.all_held() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        code = interrupted() => {
            remove(&stage)?;
            // The play's thread cannot be cancelled; without its processes it has nothing left to do.
            std::process::exit(code?);
        }
    }
}

/// Removes what was kept, and what a crash left.
pub(crate) fn remove_kept() -> Result<()> {
    let removed = Network::remove_kept()?;
    binaries::remove_stale_copies();
    eprintln!("removed {} networks", removed.len());
    Ok(())
}

fn perform(play: &Play, stage: &Stage) -> Result<Report> {
    let (started, progress) = (Instant::now(), Progress::new());
    let mut world = World::set_up(play, stage, &progress)?;
    let mut outcomes = Vec::new();
    for act in acts::ALL.iter().filter(|act| play.acts.is_empty() || play.acts.contains(&act.number)) {
        progress.step(&format!("act {}: {}", act.number, act.name));
        let outcome = act.perform(&mut world);
        progress.say(&line(&outcome));
        outcomes.push(outcome);
    }
    if play.keep {
        world.restore()?;
        progress.say(&world.how_to_look_around());
        stage.lock().take().map_or(Ok(()), Network::keep)?;
    }
    Ok(Report { acts: outcomes, seconds: started.elapsed().as_secs_f64() })
}

fn line(outcome: &Outcome) -> String {
    let Outcome { act, name, expected, seen, ok, .. } = outcome;
    let verdict = if *ok { "held" } else { "DID NOT HOLD" };
    format!("act {act}, {name}: {verdict}\n  expected: {expected}\n  seen:     {seen}")
}

fn remove(stage: &Stage) -> Result<()> {
    if let Some(network) = stage.lock().take() {
        network.remove()?;
        binaries::remove_stale_copies();
    }
    Ok(())
}

/// Waits for a signal that asks us to end; the exit code that tells of it.
async fn interrupted() -> Result<i32> {
    let (mut interrupt, mut terminate, mut hangup) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let number = tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
        _ = hangup.recv() => SignalKind::hangup(),
    };
    Ok(128 + number.as_raw_value())
}
