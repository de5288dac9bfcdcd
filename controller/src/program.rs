//! The program around a controller: log, threads, signals, readiness, and the end.

use crate::Flags;
use std::convert::Infallible;
use std::fmt;
use std::io::IsTerminal;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

/// From the end of the streams to the end of their connections, at most.
const DRAIN: Duration = Duration::from_secs(10);

/// Resolves when the program is told to end.
pub type Stop = Pin<Box<dyn Future<Output = ()>>>;

/// Runs a controller on all cores until SIGTERM or SIGINT; an error is its last line.
pub fn program<E: fmt::Display>(name: &str, flags: &Flags, run: impl AsyncFnOnce(Stop) -> Result<(), E>) -> ExitCode {
    let ran = log(flags).and_then(|()| {
        let runtime = Builder::new_multi_thread().enable_all().build();
        runtime.map_err(|error| format!("cannot start threads: {error}"))?.block_on(async {
            let stop = signals().map_err(|error| format!("cannot follow signals: {error}"))?;
            run(stop).await.map_err(|error| format!("{error:#}"))
        })
    });
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn log(flags: &Flags) -> Result<(), String> {
    let filter = EnvFilter::try_new(&flags.log_level);
    let filter = filter.map_err(|error| format!("--log-level {:?}: {error}", flags.log_level))?;
    let stderr = std::io::stderr;
    let logger =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(stderr().is_terminal()).with_writer(stderr);
    if flags.log_format == "json" {
        logger.json().init()
    } else {
        logger.init()
    }
    Ok(())
}

fn signals() -> std::io::Result<Stop> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(Box::pin(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }))
}

/// Says why a controller is not ready: it has no objects yet, or no SVID. `None`: it needs no SVID.
pub fn readiness<C>(
    complete: impl Fn() -> bool,
    credentials: Option<watch::Receiver<Option<C>>>,
) -> impl Fn() -> Result<(), String> {
    move || {
        if !complete() {
            return Err("the manifests are not read yet".to_owned());
        }
        match &credentials {
            Some(credentials) if credentials.borrow().is_none() => {
                Err("the Workload API has sent no SVID yet".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// Runs the parts until `stop` resolves, then sets `drain`, which ends every stream with OK, and waits for `serving`.
/// An error of a part ends the others at once.
pub async fn until_stopped<E>(
    showing: impl Future<Output = Infallible>,
    following: impl Future<Output = Result<Infallible, E>>,
    serving: impl Future<Output = Result<(), E>>,
    stop: impl Future<Output = ()>,
    drain: &watch::Sender<bool>,
) -> Result<(), E> {
    tokio::pin!(serving);
    tokio::select! {
        never = showing => match never {},
        result = following => match result? {},
        result = &mut serving => return result,
        () = stop => {}
    }
    tracing::info!(event = "controller.draining", "ending every stream");
    drain.send_replace(true);
    tokio::time::timeout(DRAIN, serving).await.unwrap_or(Ok(()))
}
