//! A body on its way from one link to the other, unchanged, as far as its framing says.

use crate::link::Link;
use outrigger_proxy_core::http1::{Body, Framing, Invalid};
use std::task::{Context, Poll, ready};

/// Why a body did not arrive.
#[derive(Debug)]
pub(super) enum Broken {
    /// Its sender ended or failed before the body did.
    Sender,
    /// Its receiver takes no more.
    Receiver,
    Malformed(Invalid),
}

/// Carries one body. What of it is already in the sender's inbox goes first.
pub(super) struct Pump {
    body: Body,
    /// Bytes of the sender's inbox that are being sent.
    sending: usize,
    sent: usize,
    ended: bool,
}

impl Pump {
    pub(super) fn new(framing: Framing) -> Self {
        Self { body: Body::new(framing), sending: 0, sent: 0, ended: false }
    }

    /// Whether all of it has arrived.
    pub(super) fn done(&self) -> bool {
        self.sending == 0 && (self.body.done() || self.ended)
    }

    /// How much of the inbox belongs to the body; for a caller that sends these bytes itself, with a head before them.
    pub(super) fn claim(&mut self, inbox: &[u8]) -> Result<usize, Broken> {
        if self.body.done() { Ok(0) } else { self.body.take(inbox).map_err(Broken::Malformed) }
    }

    /// Ready once the body has arrived.
    pub(super) fn poll(&mut self, from: &mut Link, to: &mut Link, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            if self.sending > 0 {
                let sent = ready!(to.poll_send(cx, &[], &from.inbox.data()[..self.sending], &mut self.sent));
                sent.map_err(|_| Broken::Receiver)?;
                from.inbox.consume(self.sending);
                (self.sending, self.sent) = (0, 0);
            }
            if self.done() {
                return Poll::Ready(Ok(()));
            }
            if from.inbox.is_empty() {
                match ready!(from.poll_fill(cx)) {
                    Ok(0) if self.body.until_close() => self.ended = true,
                    Ok(0) | Err(_) => return Poll::Ready(Err(Broken::Sender)),
                    Ok(_) => {}
                }
            }
            self.sending = self.claim(from.inbox.data())?;
        }
    }
}
