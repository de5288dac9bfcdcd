//! `outrigger-proxy`: reads the environment, then carries traffic until it is told to stop.

use outrigger_proxy::{Config, InvalidEnvironment, run};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// EX_USAGE of sysexits.h, as the contract says for a bad environment (A.6).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    if let Err(error) = log() {
        eprintln!("{error}");
        return ExitCode::from(USAGE);
    }
    let config = match Config::from_env(|name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(InvalidEnvironment(mistakes)) => {
            for mistake in mistakes {
                tracing::error!(event = "environment.invalid", "{mistake}");
            }
            return ExitCode::from(USAGE);
        }
    };
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(event = "proxy.failed", "{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Logs to standard error as `LINKERD2_PROXY_LOG` and `LINKERD2_PROXY_LOG_FORMAT` say.
fn log() -> Result<(), String> {
    let filter = std::env::var("LINKERD2_PROXY_LOG").unwrap_or_else(|_| "warn,linkerd=info,outrigger=info".into());
    // Linkerd's targets begin with `linkerd`, ours with `outrigger`: a filter written for one holds for the other.
    let filter = filter.replace("linkerd=", "outrigger=");
    let filter = EnvFilter::try_new(&filter)
        .map_err(|error| format!("LINKERD2_PROXY_LOG: {filter:?} is not a list of target=level: {error}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match std::env::var("LINKERD2_PROXY_LOG_FORMAT").as_deref() {
        Err(_) | Ok("" | "plain") => builder.init(),
        Ok("json") => builder.json().init(),
        Ok(other) => return Err(format!("LINKERD2_PROXY_LOG_FORMAT: {other:?} is neither plain nor json")),
    }
    Ok(())
}
