//! The pause before a stream is opened again.

use outrigger_proxy_core::balance::Backoff;

/// Counts failures in a row; a stream that delivered something starts anew.
pub(super) struct Retry {
    backoff: Backoff,
    failures: u32,
}

impl Retry {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self { backoff, failures: 0 }
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    pub(super) async fn pause(&mut self) {
        self.failures = self.failures.saturating_add(1);
        tokio::time::sleep(self.backoff.delay(self.failures, rand::random())).await;
    }
}
