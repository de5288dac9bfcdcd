//! Sending a request on: over an endpoint's shared HTTP/2 connection, or over an HTTP/1 connection of its own.

use super::body::Body;
use super::headers::{hop_by_hop, strip};
use super::orig_proto::{self, Original};
use crate::chosen::Chosen;
use crate::gate::Gate;
use crate::link::Stream;
use crate::refused::Refused;
use crate::worker::Worker;
use http::request::Parts;
use http::uri::Scheme;
use http::{HeaderValue, Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use outrigger_model::Refusal;
use std::error::Error;
use std::time::Instant;

/// A request that the upstream's connection gave back unsent may go to another one; so often.
const ATTEMPTS: usize = 3;

/// Why there is no response.
pub(super) enum Failed {
    Refused(Refused),
    /// The upstream reset the stream; its reason is the client's to know.
    Reset(hyper::Error),
}

impl<R: Into<Refused>> From<R> for Failed {
    fn from(refused: R) -> Self {
        Self::Refused(refused.into())
    }
}

/// Sends the request as HTTP/2, with prior knowledge. With the response: whether the client's connection had better end.
pub(crate) async fn as_http2(
    worker: &Worker,
    (gate, chosen): (&Gate, &Chosen),
    parts: Parts,
    body: Incoming,
) -> Result<(Response<Body>, bool), Failed> {
    let mut request = Request::from_parts(addressed(parts)?, body);
    for attempt in 1.. {
        let (mut sender, load) = gate.lease_http2(worker, chosen).await?;
        let endpoint = load.endpoint();
        if let Some(name) = chosen.canonical(endpoint).and_then(|name| HeaderValue::from_str(name).ok()) {
            request.headers_mut().insert("l5d-dst-canonical", name);
        }
        if let Err(error) = sender.ready().await {
            endpoint.http2.clear();
            if attempt < ATTEMPTS {
                continue;
            }
            return Err(Refused::new(Refusal::UpstreamClosed, error).into());
        }
        match sender.try_send_request(request).await {
            Ok(response) => {
                load.answered(Instant::now());
                let (mut head, body) = response.into_parts();
                let error = head.headers.get("l5d-proxy-error").map(HeaderValue::as_bytes);
                let tears_down = head.headers.get("l5d-proxy-connection").is_some_and(|value| value == "close");
                let torn_down = gate.heed(chosen, endpoint, error, tears_down);
                strip(&mut head.headers);
                return Ok((Response::from_parts(head, Body::from(body, load)), torn_down));
            }
            Err(mut error) => match error.take_message() {
                // Given back whole: nothing of it was sent.
                Some(unsent) if attempt < ATTEMPTS => {
                    endpoint.http2.clear();
                    request = unsent;
                }
                _ => return Err(unanswered(error.into_error())),
            },
        }
    }
    Err(Refusal::UpstreamClosed.into())
}

/// The head as h2 takes it: an authority comes with a scheme, and a request without an authority is sent only as if it
/// came from HTTP/1, which needs none (RFC 9113 §8.3.1).
fn addressed(mut parts: Parts) -> Result<Parts, Refused> {
    if parts.uri.authority().is_none() {
        parts.version = Version::HTTP_11;
    } else if parts.uri.scheme().is_none() {
        let mut uri = std::mem::take(&mut parts.uri).into_parts();
        uri.scheme = Some(Scheme::HTTP);
        parts.uri = Uri::from_parts(uri).map_err(|e| Refused::new(Refusal::RequestInvalid, e))?;
    }
    Ok(parts)
}

fn unanswered(error: hyper::Error) -> Failed {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    if cause.is_some_and(|cause| cause.is_reset() && cause.is_remote()) {
        return Failed::Reset(error);
    }
    Refused::new(Refusal::UpstreamClosed, error).into()
}

/// Sends the request to the application as the HTTP/1 that it was. A reset of the application's connection is a 502.
pub(crate) async fn as_http1(
    worker: &Worker,
    (gate, chosen): (&Gate, &Chosen),
    mut parts: Parts,
    body: Incoming,
    original: Original,
) -> Result<Response<Body>, Refused> {
    let restored = orig_proto::restore(&parts.uri, &mut parts.headers, original);
    parts.uri = restored.ok_or(Refusal::RequestInvalid)?;
    parts.version = original.version;
    let lease = gate.lease(worker, chosen, true).await?;
    let (link, load) = lease.into_parts();
    let closed = |error| Refused::new(Refusal::UpstreamClosed, error);
    let (mut sender, connection) =
        http1::Builder::new().handshake(TokioIo::new(Stream::new(link))).await.map_err(closed)?;
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    let response = sender.send_request(Request::from_parts(parts, body)).await.map_err(closed)?;
    load.answered(Instant::now());
    let (mut head, body) = response.into_parts();
    strip(&mut head.headers);
    hop_by_hop(&mut head.headers);
    orig_proto::mark(&mut head.headers, head.version);
    head.version = Version::HTTP_2;
    Ok(Response::from_parts(head, Body::from(body, load)))
}
