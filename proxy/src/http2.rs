//! Serving HTTP/2, gRPC with it: each request decided, sent on as HTTP/2, or as the HTTP/1 it once was (A.1.8).

mod body;
mod orig_proto;
mod reply;
mod settings;
mod upstream;

use crate::drain::LINGER;
use crate::gate::Gate;
use crate::link::{Link, Stream};
use crate::metrics::RequestSeries;
use crate::refused::Refused;
use crate::worker::Worker;
use body::Body;
use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use outrigger_proxy_core::route::Head;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;
use upstream::Failed;

/// What every request of one connection shares.
pub(crate) struct Connection {
    worker: Rc<Worker>,
    gate: Gate,
    series: Rc<RequestSeries>,
    ends: (SocketAddr, SocketAddr),
}

impl Connection {
    pub(crate) fn new(worker: &Rc<Worker>, gate: Gate, authority: &str, ends: (SocketAddr, SocketAddr)) -> Rc<Self> {
        let series = worker.metrics.requests(gate.direction(), authority);
        Rc::new(Self { worker: Rc::clone(worker), gate, series, ends })
    }

    /// Serves until the client ends the connection or the worker drains (GOAWAY, then the streams that are open).
    pub(crate) async fn serve(self: Rc<Self>, client: Link) -> Result<(), Refused> {
        let service = service_fn(|request| {
            let connection = Rc::clone(&self);
            async move { connection.answer(request).await }
        });
        let server = settings::server(&self.gate.side(&self.worker.config).http2);
        let serving = server.serve_connection(TokioIo::new(Stream::new(client)), service);
        let mut serving = std::pin::pin!(serving);
        let served = tokio::select! {
            served = &mut serving => served,
            () = self.worker.drain.begins() => {
                serving.as_mut().graceful_shutdown();
                tokio::time::timeout(self.worker.config.process.grace.max(LINGER), serving).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = served {
            tracing::debug!(event = "http2.ended", %error);
        }
        Ok(())
    }

    /// Answers a request; an error resets its stream.
    async fn answer(self: Rc<Self>, request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
        let started = Instant::now();
        self.series.request();
        let grpc = reply::is_grpc(request.headers());
        let response = match self.forward(request).await {
            Ok(response) => response,
            Err(Failed::Reset(error)) => return Err(error),
            Err(Failed::Refused(refused)) => {
                let (from, to) = self.ends;
                self.worker.refused(self.gate.direction(), from, to, &refused);
                reply::refuse(&refused.reply(), grpc, self.gate.audience(&self.worker.config))
            }
        };
        self.series.response(response.status().as_u16(), started.elapsed());
        Ok(response)
    }

    /// Decides on a request and sends it on, in the version that it began as.
    async fn forward(&self, request: Request<Incoming>) -> Result<Response<Body>, Failed> {
        let _place = self.worker.place(self.gate.direction())?;
        let (mut parts, body) = request.into_parts();
        let original = match &self.gate {
            Gate::Inbound(_) => orig_proto::take(&mut parts.headers),
            Gate::Outbound(_) => None,
        };
        let chosen = self.gate.decide(&self.worker, &Http2Head(&parts))?;
        strip(&mut parts.headers);
        if let Some(value) = self.gate.client_id().and_then(|id| HeaderValue::from_str(id).ok()) {
            parts.headers.insert(CLIENT_ID, value);
        }
        match original {
            Some(original) => Ok(upstream::as_http1(&self.worker, (&self.gate, &chosen), parts, body, original).await?),
            None => upstream::as_http2(&self.worker, (&self.gate, &chosen), parts, body).await,
        }
    }
}

const CLIENT_ID: HeaderName = HeaderName::from_static("l5d-client-id");

/// Removes what only a proxy may set (A.1.9).
pub(crate) fn strip(headers: &mut HeaderMap) {
    for name in ["l5d-client-id", "l5d-orig-proto", "l5d-proxy-error", "l5d-proxy-connection"] {
        headers.remove(name);
    }
}

struct Http2Head<'a>(&'a Parts);

impl Head for Http2Head<'_> {
    fn method(&self) -> &str {
        self.0.method.as_str()
    }

    fn scheme(&self) -> &str {
        self.0.uri.scheme_str().unwrap_or("http")
    }

    /// Of `:authority`, else of the Host field.
    fn authority(&self) -> Option<&str> {
        let authority = self.0.uri.authority().map(|authority| authority.as_str());
        authority.or_else(|| self.0.headers.get("host")?.to_str().ok())
    }

    fn path(&self) -> &str {
        self.0.uri.path()
    }

    fn query(&self) -> &str {
        self.0.uri.query().unwrap_or("")
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0.headers.get_all(name).iter().map(|value| value.as_bytes())
    }
}

#[cfg(test)]
mod tests;
