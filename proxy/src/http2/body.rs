//! A response's body on its way back, which keeps its endpoint's load counted until it has ended.

use crate::endpoint::InFlight;
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Empty, or what an upstream sends.
pub(crate) struct Body {
    from: Option<Incoming>,
    load: Option<InFlight>,
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self { from: None, load: None }
    }

    pub(crate) fn from(incoming: Incoming, load: InFlight) -> Self {
        Self { from: Some(incoming), load: Some(load) }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let Some(from) = &mut this.from else { return Poll::Ready(None) };
        let polled = Pin::new(&mut *from).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) || (matches!(polled, Poll::Ready(Some(Ok(_)))) && from.is_end_stream()) {
            this.load = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.from.as_ref().is_none_or(hyper::body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.from.as_ref().map_or_else(|| SizeHint::with_exact(0), hyper::body::Body::size_hint)
    }
}
