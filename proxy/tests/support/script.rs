//! What a controller answers, question by question, and who asked.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use std::pin::Pin;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

/// What a controller does about one question, from now on and on streams that are open.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer<T> {
    Say(T),
    /// Ends the stream with this status.
    Fail(Code),
    /// Keeps the stream open and says nothing.
    Hang,
}

/// Answers by question; one that was not scripted gets the default.
pub(crate) struct Script<K, T> {
    answers: Mutex<HashMap<K, watch::Sender<Answer<T>>>>,
    default: fn(&K) -> Answer<T>,
    asked: Mutex<Vec<(K, String)>>,
}

pub(super) type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

impl<K: Eq + Hash + Clone, T: Clone + Send + Sync + 'static> Script<K, T> {
    pub(super) fn new(default: fn(&K) -> Answer<T>) -> Self {
        Self { answers: Mutex::default(), default, asked: Mutex::default() }
    }

    pub(crate) fn set(&self, question: K, answer: Answer<T>) {
        self.sender(question).send_replace(answer);
    }

    /// The questions in order, each with what the proxy said of itself.
    pub(crate) fn asked(&self) -> Vec<(K, String)> {
        self.asked.lock().clone()
    }

    /// How often the question was asked.
    pub(crate) fn count(&self, question: &K) -> usize {
        self.asked.lock().iter().filter(|(asked, _)| asked == question).count()
    }

    fn sender(&self, question: K) -> watch::Sender<Answer<T>> {
        let default = self.default;
        self.answers.lock().entry(question).or_insert_with_key(|key| watch::channel(default(key)).0).clone()
    }

    /// The stream for one question; `messages` says how one answer follows from the one before.
    pub(super) fn stream<M: Send + 'static>(
        &self,
        question: K,
        by: String,
        mut messages: impl FnMut(T) -> Vec<M> + Send + 'static,
    ) -> Messages<M> {
        self.asked.lock().push((question.clone(), by));
        let mut answers = self.sender(question).subscribe();
        let (sender, receiver) = mpsc::channel(16);
        tokio::spawn(async move {
            loop {
                let next = match answers.borrow_and_update().clone() {
                    Answer::Say(value) => messages(value).into_iter().map(Ok).collect(),
                    Answer::Fail(code) => vec![Err(Status::new(code, "as the test says"))],
                    Answer::Hang => Vec::new(),
                };
                for message in next {
                    let last = message.is_err();
                    if sender.send(message).await.is_err() || last {
                        return;
                    }
                }
                tokio::select! {
                    changed = answers.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                }
            }
        });
        Box::pin(ReceiverStream::new(receiver))
    }
}
