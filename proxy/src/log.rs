//! The log: where it goes, what of it is written, and how that changes while the proxy runs.

use crate::env::{Environment, LogFilter, LogFormat, Value};
use std::collections::BTreeMap;
use std::fmt::Display;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::Handle;

/// The running log's filter.
pub struct Log {
    show: Box<dyn Fn() -> String + Send + Sync>,
    set: Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>,
}

impl Log {
    /// Logs to standard error from now on, as `LOG` and `LOG_FORMAT` say. A mistake in them is named by
    /// [`crate::Config::from_env`]; until then the defaults hold.
    pub fn start(variables: &BTreeMap<String, String>) -> Self {
        let mut env = Environment::new(variables);
        let LogFilter(filter) = env.value("LOG");
        let format: LogFormat = env.value("LOG_FORMAT");
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        if format == LogFormat::Json {
            let builder = builder.json().with_filter_reloading();
            let log = Self::of(builder.reload_handle());
            builder.init();
            log
        } else {
            let builder = builder.with_filter_reloading();
            let log = Self::of(builder.reload_handle());
            builder.init();
            log
        }
    }

    /// By the filter's handle.
    pub(crate) fn of<S: 'static>(handle: Handle<EnvFilter, S>) -> Self {
        let shown = handle.clone();
        let gone = |error: &dyn Display| error.to_string();
        Self {
            show: Box::new(move || shown.with_current(ToString::to_string).unwrap_or_else(|error| gone(&error))),
            set: Box::new(move |filter| handle.reload(filter).map_err(|error| gone(&error))),
        }
    }

    /// What is logged now.
    pub(crate) fn filter(&self) -> String {
        (self.show)()
    }

    /// Changes what is logged; the error says what is wrong with the text.
    pub(crate) fn set_filter(&self, text: &str) -> Result<(), String> {
        let filter = LogFilter::parse(text).ok_or_else(|| format!("{text:?} is not {}", LogFilter::FORM))?;
        (self.set)(filter.0)
    }
}
