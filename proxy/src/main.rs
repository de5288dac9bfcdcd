//! `outrigger-proxy`: reads the environment, then carries traffic until it is told to stop.

use outrigger_proxy::{Config, InvalidEnvironment, Log, environment_page, run};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// EX_USAGE of sysexits.h, as the contract says for a bad environment (A.6).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        None => {}
        Some("--help" | "-h") => {
            print!("{}", environment_page());
            return ExitCode::SUCCESS;
        }
        Some(argument) => {
            eprintln!("{argument:?} is no argument; the environment configures the proxy: see --help");
            return ExitCode::from(USAGE);
        }
    }
    let variables = environment();
    let log = Log::start(&variables);
    let config = match Config::from_env(&variables) {
        Ok(config) => config,
        Err(InvalidEnvironment(mistakes)) => {
            for mistake in mistakes {
                tracing::error!(event = "environment.invalid", "{mistake}");
            }
            return ExitCode::from(USAGE);
        }
    };
    match run(config, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(event = "proxy.failed", "{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What is not UTF-8 is read so that it fails as a value instead of being passed over.
fn environment() -> BTreeMap<String, String> {
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect()
}
