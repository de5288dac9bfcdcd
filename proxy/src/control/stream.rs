//! A controller, and its streams within their limits (A.2.1).

use crate::config::StreamLimits;
use crate::metrics::{Calls, OpenCall};
use std::future::pending;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

/// The way to one of the controllers.
#[derive(Clone)]
pub(super) struct Controller {
    pub channel: Channel,
    pub limits: StreamLimits,
    pub calls: Calls,
}

impl Controller {
    /// A stream, once `call` has opened it.
    pub(super) async fn open<T>(
        &self,
        call: impl Future<Output = Result<Response<Streaming<T>>, Status>>,
    ) -> Result<Stream<T>, Status> {
        let (opened, mut call_open) = (Instant::now(), self.calls.open());
        let answered = match self.limits.initial {
            Some(initial) => timeout(initial, call).await.unwrap_or_else(|_| Err(silent(initial))),
            None => call.await,
        };
        let inner = answered.inspect_err(|status| call_open.ended = status.code())?.into_inner();
        Ok(Stream { inner, limits: self.limits, opened, spoken: false, call: call_open })
    }
}

/// A controller's stream.
pub(super) struct Stream<T> {
    inner: Streaming<T>,
    limits: StreamLimits,
    opened: Instant,
    /// It has said something.
    spoken: bool,
    call: OpenCall,
}

impl<T> Stream<T> {
    /// The next message; none once the controller ends the stream, or it has lasted long enough.
    pub(super) async fn message(&mut self) -> Result<Option<T>, Status> {
        self.next().await.inspect_err(|status| self.call.ended = status.code())
    }

    async fn next(&mut self) -> Result<Option<T>, Status> {
        let first = self.limits.initial.filter(|_| !self.spoken).map(|limit| self.opened + limit);
        let idle = self.limits.idle.filter(|_| self.spoken).map(|limit| Instant::now() + limit);
        let end = self.limits.lifetime.map(|limit| self.opened + limit);
        let message = tokio::select! {
            message = self.inner.message() => message?,
            () = until(first) => return Err(silent(self.limits.initial.unwrap_or_default())),
            () = until(idle) => None,
            () = until(end) => None,
        };
        self.spoken = true;
        Ok(message)
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

fn silent(limit: Duration) -> Status {
    Status::deadline_exceeded(format!("it said nothing for {limit:?}"))
}

#[cfg(test)]
mod tests;
