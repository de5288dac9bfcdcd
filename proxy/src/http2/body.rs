//! A response's body on its way back, which keeps its endpoint's load counted until it has ended.

use crate::endpoint::InFlight;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use hyper::body::{Frame, Incoming, SizeHint};
use outrigger_model::Refusal;
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Empty, or what an upstream sends.
pub(crate) struct Body {
    from: Option<Incoming>,
    load: Option<InFlight>,
    /// The client awaits a gRPC status, also when the upstream is gone.
    grpc: bool,
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self { from: None, load: None, grpc: false }
    }

    pub(crate) fn from(incoming: Incoming, load: InFlight) -> Self {
        Self { from: Some(incoming), load: Some(load), grpc: false }
    }

    /// Of a gRPC call.
    pub(crate) fn of_grpc(self) -> Self {
        Self { grpc: true, ..self }
    }
}

/// The upstream's connection is gone, as opposed to the stream that the upstream has reset.
fn is_lost(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    !cause.is_some_and(|cause| cause.is_reset() && cause.is_remote())
}

/// `UNAVAILABLE` (A.1.10).
fn unavailable() -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("14"));
    trailers.insert("grpc-message", HeaderValue::from_static(Refusal::UpstreamClosed.sentence()));
    Frame::trailers(trailers)
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
        match polled {
            Poll::Ready(Some(Err(error))) if this.grpc && is_lost(&error) => {
                tracing::info!(event = "http2.body_lost", %error);
                (this.from, this.load) = (None, None);
                Poll::Ready(Some(Ok(unavailable())))
            }
            polled => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.from.as_ref().is_none_or(hyper::body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.from.as_ref().map_or_else(|| SizeHint::with_exact(0), hyper::body::Body::size_hint)
    }
}
