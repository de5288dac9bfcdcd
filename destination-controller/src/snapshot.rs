//! An answer at one moment, and the encoded messages that lead to it: made once, sent to every stream.

use bytes::Bytes;
use outrigger_api::destination::{change_to_updates, no_endpoints, profile_to_proto};
use outrigger_model::{EndpointSet, Labels, Profile};
use prost::Message;
use std::sync::{Arc, OnceLock};
use tonic::{Code, Status};

/// What a topic's answer is.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Of `Get`; the labels are those of the whole set.
    Endpoints {
        set: EndpointSet,
        labels: Labels,
    },
    /// Of `GetProfile`.
    Profile(Box<Profile>),
    Denied(Denial),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    pub code: Code,
    pub message: String,
}

impl Answer {
    /// There is no answer, for this reason.
    pub(crate) fn denied(code: Code, message: String) -> Self {
        Self::Denied(Denial { code, message })
    }
}

impl From<Denial> for Status {
    fn from(denial: Denial) -> Self {
        Self::new(denial.code, denial.message)
    }
}

/// An answer, its place in the topic's history, and its messages.
#[derive(Debug)]
pub struct Snapshot {
    /// Grows with every snapshot of the index, so that no two have the same.
    revision: u64,
    answer: Answer,
    /// The snapshot that this one replaced, and the messages from there to here.
    step: Option<(u64, Messages)>,
    whole: OnceLock<Messages>,
}

/// Encoded messages, or the reason why the stream ends instead.
pub type Messages = Result<Arc<[Bytes]>, Denial>;

impl Snapshot {
    pub(crate) fn first(revision: u64, answer: Answer) -> Self {
        Self { revision, answer, step: None, whole: OnceLock::new() }
    }

    /// The next answer of the same topic; `None` if it is the same one.
    pub(crate) fn next(&self, revision: u64, answer: Answer) -> Option<Self> {
        (answer != self.answer).then(|| {
            let step = Some((self.revision, messages(Some(&self.answer), &answer)));
            Self { revision, answer, step, whole: OnceLock::new() }
        })
    }

    /// The answer itself.
    pub fn answer(&self) -> &Answer {
        &self.answer
    }

    /// What a stream has to send that last sent `last`. A stream that fell behind gets one difference over all that it
    /// missed.
    pub fn since(&self, last: Option<&Self>) -> Messages {
        match (last, &self.step) {
            (None, _) => self.whole.get_or_init(|| messages(None, &self.answer)).clone(),
            (Some(last), _) if last.revision == self.revision => Ok(Arc::default()),
            (Some(last), Some((previous, step))) if last.revision == *previous => step.clone(),
            (Some(last), _) => messages(Some(&last.answer), &self.answer),
        }
    }
}

/// A stream's first message must not empty what the proxy still knows from before (destination.proto), so an answer
/// that is denied from the start is an error. An established `Get` learns that its Service is gone and stays.
fn messages(last: Option<&Answer>, now: &Answer) -> Messages {
    let updates = match (last, now) {
        (Some(last), now) if last == now => Vec::new(),
        (_, Answer::Profile(profile)) => return Ok([profile_to_proto(profile).encode_to_vec().into()].into()),
        (None | Some(Answer::Profile(_)), Answer::Denied(denial)) => return Err(denial.clone()),
        (Some(Answer::Denied(_)), Answer::Denied(_)) => Vec::new(),
        (Some(Answer::Endpoints { .. }), Answer::Denied(_)) => vec![no_endpoints(false)],
        (_, Answer::Endpoints { set, .. }) if set.is_empty() => vec![no_endpoints(true)],
        (Some(Answer::Endpoints { set: last, .. }), Answer::Endpoints { set, labels }) => {
            change_to_updates(&last.change_to(set), labels)
        }
        (_, Answer::Endpoints { set, labels }) => change_to_updates(&EndpointSet::default().change_to(set), labels),
    };
    Ok(updates.iter().map(|update| update.encode_to_vec().into()).collect())
}
