//! A refusal on its way to the log, the metric and the client.

use outrigger_model::Refusal;
use outrigger_proxy_core::filter::Answer;
use outrigger_proxy_core::reply::Reply;
use std::fmt;

/// Why a connection or request goes no further, and what was seen.
#[derive(Debug)]
pub(crate) struct Refused {
    pub refusal: Refusal,
    /// The particular cause, where the refusal's sentence does not say it all.
    pub detail: Option<Box<str>>,
    /// What the route's filter answers, if one refused.
    pub answer: Option<Box<Answer>>,
}

impl Refused {
    pub(crate) fn new(refusal: Refusal, detail: impl fmt::Display) -> Self {
        Self { refusal, detail: Some(detail.to_string().into()), answer: None }
    }

    /// A filter of the route answers; `route` names it.
    pub(crate) fn by_filter(answer: Answer, route: impl fmt::Display) -> Self {
        let refused = match &answer {
            Answer::Redirect { .. } => Self::new(Refusal::Redirected, route),
            Answer::Fail { .. } | Answer::FailGrpc { .. } => Self::new(Refusal::AnsweredByRoute, route),
            Answer::Invalid(why) => Self::new(Refusal::PolicyInvalid, format_args!("{route}: {why}")),
        };
        Self { answer: Some(Box::new(answer)), ..refused }
    }

    /// What a client is answered.
    pub(crate) fn reply(&self) -> Reply<'_> {
        Reply::new(self.refusal, self.answer.as_deref())
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, detail: None, answer: None }
    }
}

impl From<outrigger_mtls::TlsError> for Refused {
    fn from(error: outrigger_mtls::TlsError) -> Self {
        Self::new(error.refusal, error)
    }
}
