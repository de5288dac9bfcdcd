//! Bytes both ways until both sides have ended; an end on one side is passed on as one (half-close).

use crate::link::Link;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

#[derive(Default)]
struct Direction {
    /// Bytes of the inbox that are being sent; 0: reading.
    sending: usize,
    sent: usize,
    ended: bool,
    done: bool,
    /// Something was carried.
    begun: bool,
}

impl Direction {
    fn poll(&mut self, from: &mut Link, to: &mut Link, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.done {
            if self.sending == 0 {
                self.sending = from.inbox.len();
            }
            if self.sending > 0 {
                ready!(to.poll_send(cx, &[], &from.inbox.data()[..self.sending], &mut self.sent))?;
                from.inbox.consume(self.sending);
                self.begun = true;
                (self.sending, self.sent) = (0, 0);
            } else if self.ended {
                ready!(to.poll_close(cx))?;
                self.done = true;
            } else {
                self.ended = ready!(from.poll_fill(cx))? == 0;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Relays until both directions have ended or one has failed. What is already in an inbox goes first. With the result:
/// whether anything was carried to the client.
pub(crate) async fn relay(client: &mut Link, upstream: &mut Link) -> (bool, io::Result<()>) {
    let (mut up, mut down) = (Direction::default(), Direction::default());
    let result = poll_fn(|cx| {
        let up = up.poll(client, upstream, cx)?;
        let down = down.poll(upstream, client, cx)?;
        if up.is_ready() && down.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    });
    let result = result.await;
    (down.begun, result)
}
