//! The end of a worker: no new connections, no new requests on old ones, and a time by which all must be done.

use std::cell::Cell;
use std::time::Duration;
use tokio::sync::Notify;

/// An idle HTTP connection is served for so long after draining began: a peer's proxy pools connections for three
/// seconds and may be sending a request on one just now.
pub(crate) const LINGER: Duration = Duration::from_secs(5);

/// Whether a worker drains; of one thread.
#[derive(Default)]
pub(crate) struct Drain {
    draining: Cell<bool>,
    began: Notify,
}

impl Drain {
    /// Tells every connection of the worker.
    pub(crate) fn begin(&self) {
        self.draining.set(true);
        self.began.notify_waiters();
    }

    pub(crate) fn draining(&self) -> bool {
        self.draining.get()
    }

    /// Returns once draining begins.
    pub(crate) async fn begins(&self) {
        if !self.draining() {
            self.began.notified().await;
        }
    }
}
