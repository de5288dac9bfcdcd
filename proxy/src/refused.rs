//! A refusal on its way to the log, the metric and the client.

use outrigger_model::Refusal;
use std::fmt;

/// Why a connection or request goes no further, and what was seen.
#[derive(Debug)]
pub(crate) struct Refused {
    pub refusal: Refusal,
    /// The particular cause, where the refusal's sentence does not say it all.
    pub detail: Option<Box<str>>,
}

impl Refused {
    pub(crate) fn new(refusal: Refusal, detail: impl fmt::Display) -> Self {
        Self { refusal, detail: Some(detail.to_string().into()) }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, detail: None }
    }
}

impl From<outrigger_mtls::TlsError> for Refused {
    fn from(error: outrigger_mtls::TlsError) -> Self {
        Self::new(error.refusal, error)
    }
}
