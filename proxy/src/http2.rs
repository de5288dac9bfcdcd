//! Serving HTTP/2, gRPC with it: each request decided, sent on as HTTP/2, or as the HTTP/1 it once was (A.1.8).

mod body;
mod headers;
pub(crate) mod orig_proto;
pub(crate) mod reply;
pub(crate) mod settings;
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
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use orig_proto::Original;
use outrigger_proxy_core::route::Head;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;
use tokio::sync::Notify;
use upstream::Failed;

/// What every request of one connection shares.
pub(crate) struct Connection {
    worker: Rc<Worker>,
    gate: Gate,
    series: Rc<RequestSeries>,
    ends: (SocketAddr, SocketAddr),
    /// The client had better connect anew (A.1.10).
    closing: Notify,
}

impl Connection {
    pub(crate) fn new(worker: &Rc<Worker>, gate: Gate, authority: &str, ends: (SocketAddr, SocketAddr)) -> Rc<Self> {
        let series = worker.metrics.requests(gate.direction(), authority);
        Rc::new(Self { worker: Rc::clone(worker), gate, series, ends, closing: Notify::new() })
    }

    /// Serves until the client ends the connection; until the worker drains or a refusal is of more than its request
    /// (GOAWAY, then the streams that are open).
    pub(crate) async fn serve(self: Rc<Self>, client: Link) -> Result<(), Refused> {
        let service = service_fn(|request| {
            let connection = Rc::clone(&self);
            async move { connection.answer(request).await }
        });
        let server = settings::server(&self.gate.side(&self.worker.config).http2);
        let serving = server.serve_connection(TokioIo::new(Stream::new(client)), service);
        let mut serving = std::pin::pin!(serving);
        let ends = async {
            tokio::select! {
                () = self.worker.drain.begins() => {}
                () = self.closing.notified() => {}
            }
        };
        let served = tokio::select! {
            served = &mut serving => served,
            () = ends => {
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
    async fn answer(self: Rc<Self>, mut request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
        let started = Instant::now();
        self.series.request();
        let original = match &self.gate {
            Gate::Inbound(_) => orig_proto::take(request.headers_mut()),
            Gate::Outbound(_) => None,
        };
        let grpc = original.is_none() && reply::is_grpc(request.headers());
        let response = match self.forward(request, original).await {
            Ok(response) if grpc => response.map(Body::of_grpc),
            Ok(response) => response,
            Err(Failed::Reset(error)) => return Err(error),
            Err(Failed::Refused(refused)) => self.refuse(&refused, original, grpc),
        };
        self.series.response(response.status().as_u16(), started.elapsed());
        Ok(response)
    }

    fn refuse(&self, refused: &Refused, original: Option<Original>, grpc: bool) -> Response<Body> {
        let (from, to) = self.ends;
        self.worker.refused(self.gate.direction(), from, to, refused);
        let reply = refused.reply();
        if reply.fatal {
            self.closing.notify_one();
        }
        let mut response = reply::refuse(&reply, grpc, self.gate.audience(&self.worker.config)).map(|()| Body::empty());
        if let Some(original) = original {
            orig_proto::mark(response.headers_mut(), original.version);
        }
        response
    }

    /// Decides on a request and sends it on, in the version that it began as.
    async fn forward(&self, request: Request<Incoming>, original: Option<Original>) -> Result<Response<Body>, Failed> {
        let _place = self.worker.place(self.gate.direction())?;
        let (mut parts, body) = request.into_parts();
        let chosen = self.gate.decide(&self.worker, &RequestHead(&parts))?;
        headers::strip(&mut parts.headers);
        headers::change(&mut parts.headers, chosen.changes());
        if let Some(value) = self.gate.client_id().and_then(|id| HeaderValue::from_str(id).ok()) {
            parts.headers.insert(CLIENT_ID, value);
        }
        match original {
            Some(original) => Ok(upstream::as_http1(&self.worker, (&self.gate, &chosen), parts, body, original).await?),
            None => {
                let (response, torn_down) =
                    upstream::as_http2(&self.worker, (&self.gate, &chosen), parts, body).await?;
                if torn_down {
                    self.closing.notify_one();
                }
                Ok(response)
            }
        }
    }
}

const CLIENT_ID: HeaderName = HeaderName::from_static("l5d-client-id");

/// A request's head, of hyper's.
pub(crate) struct RequestHead<'a>(pub &'a Parts);

impl Head for RequestHead<'_> {
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
pub(crate) mod tests;
