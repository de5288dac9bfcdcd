//! What the demo is doing, on stderr: a spinner on a terminal, plain lines elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

/// Tells of steps and finished acts.
pub(crate) struct Progress {
    started: Instant,
    spinner: Option<ProgressBar>,
}

impl Progress {
    /// A spinner if stderr is a terminal.
    pub(crate) fn new() -> Self {
        let spinner = std::io::stderr().is_terminal().then(|| {
            let spinner = ProgressBar::new_spinner().with_style(ProgressStyle::default_spinner());
            spinner.enable_steady_tick(Duration::from_millis(100));
            spinner
        });
        Self { started: Instant::now(), spinner }
    }

    /// What is being done now; on a terminal the next step replaces it.
    pub(crate) fn step(&self, what: &str) {
        match &self.spinner {
            Some(spinner) => spinner.set_message(what.to_owned()),
            None => eprintln!("[{:5.1} s] {what}", self.started.elapsed().as_secs_f64()),
        }
    }

    /// A line that stays.
    pub(crate) fn say(&self, line: &str) {
        match &self.spinner {
            Some(spinner) => spinner.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}
