//! Serving HTTP/1: one request after another, each decided, sent on and answered.

mod exchange;
mod pump;

use crate::drain::LINGER;
use crate::endpoint::{InFlight, Lease};
use crate::inbound::InboundGate;
use crate::link::Link;
use crate::metrics::{Direction, RequestSeries};
use crate::refused::Refused;
use crate::relay::relay;
use crate::service::Service;
use crate::worker::Worker;
use exchange::{After, Failed};
use hyper::client::conn::http2::SendRequest;
use outrigger_model::Refusal;
use outrigger_proxy_core::header::Session;
use outrigger_proxy_core::http1::{Framing, Invalid, Method, Request, RequestRewrite, fields, refuse, status};
use outrigger_proxy_core::route::Head;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::time::{timeout, timeout_at};

/// A request's head, once begun, may take so long.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Who decides about requests, and where they go.
pub(crate) enum Gate {
    Outbound(Rc<Service>),
    Inbound(Box<InboundGate>),
}

impl Gate {
    pub(crate) fn admit(&self, request: &impl Head) -> Result<(), Refused> {
        match self {
            Self::Outbound(_) => Ok(()),
            Self::Inbound(gate) => gate.admit(request),
        }
    }

    pub(crate) fn client_id(&self) -> Option<&str> {
        match self {
            Self::Outbound(_) => None,
            Self::Inbound(gate) => gate.client_id.as_deref(),
        }
    }

    pub(crate) async fn lease(&self, worker: &Worker, fresh: bool) -> Result<Lease, Refused> {
        match self {
            Self::Outbound(service) => service.lease(worker, Some(Session::Http1), fresh).await,
            Self::Inbound(gate) => gate.lease(worker, fresh).await,
        }
    }

    /// An HTTP/2 connection that others may share.
    pub(crate) async fn lease_http2(
        &self,
        worker: &Worker,
    ) -> Result<(SendRequest<hyper::body::Incoming>, InFlight), Refused> {
        match self {
            Self::Outbound(service) => service.lease_http2(worker).await,
            Self::Inbound(gate) => gate.lease_http2(worker).await,
        }
    }

    pub(crate) fn direction(&self) -> Direction {
        match self {
            Self::Outbound(_) => Direction::outbound,
            Self::Inbound(_) => Direction::inbound,
        }
    }

    /// Whether the client may be told why: our own application may, and a meshed peer (A.1.9).
    pub(crate) fn explains(&self) -> bool {
        matches!(self, Self::Outbound(_)) || self.client_id().is_some()
    }
}

/// A connection that carries HTTP/1 requests.
pub(crate) struct Connection {
    pub worker: Rc<Worker>,
    pub client: Link,
    pub gate: Gate,
    pub series: Rc<RequestSeries>,
    /// Where from and where to, for the log.
    pub ends: (SocketAddr, SocketAddr),
    /// The head of the request that goes on, and of the response that goes back.
    onward: Vec<u8>,
    back: Vec<u8>,
}

/// A request, read and decided. Its head as it goes on stands in [`Connection::onward`].
struct Incoming {
    method: Method,
    framing: Framing,
    /// Bytes of its head.
    length: usize,
    keep_alive: bool,
    http10: bool,
    upgrade: bool,
    repeatable: bool,
    verdict: Result<(), Refused>,
}

impl Connection {
    pub(crate) fn new(
        worker: &Rc<Worker>,
        client: Link,
        gate: Gate,
        authority: &str,
        ends: (SocketAddr, SocketAddr),
    ) -> Self {
        let series = worker.metrics.requests(gate.direction(), authority);
        Self { worker: Rc::clone(worker), client, gate, series, ends, onward: Vec::new(), back: Vec::new() }
    }

    /// Serves until the client ends the connection, a request cannot be framed, or the worker drains.
    pub(crate) async fn serve(mut self) -> Result<(), Refused> {
        while let Some(incoming) = self.next().await {
            let started = Instant::now();
            self.series.request();
            match self.answer(incoming, started).await? {
                After::NextRequest => {}
                After::Close => break,
                After::Tunnel(mut lease) => {
                    let (carried, _) = relay(&mut self.client, &mut lease.link).await;
                    self.worker.metrics.carried(self.gate.direction(), carried.from_client, carried.to_client);
                    return Ok(());
                }
            }
        }
        self.client.end().await;
        Ok(())
    }

    /// Answers one request: by the upstream's response, or by a refusal of our own.
    async fn answer(&mut self, mut incoming: Incoming, started: Instant) -> Result<After, Refused> {
        let verdict = std::mem::replace(&mut incoming.verdict, Ok(()));
        let outcome = match verdict {
            Ok(()) => exchange::run(self, &incoming, started).await,
            Err(refused) => Err(Failed::Unanswered(refused)),
        };
        match outcome {
            Ok(after) => Ok(after),
            Err(Failed::ClientGone) => Ok(After::Close),
            Err(Failed::Broken(refused)) => Err(refused),
            Err(Failed::Unanswered(refused)) => Ok(self.turn_away(&refused, &incoming, started).await),
        }
    }

    async fn turn_away(&mut self, refused: &Refused, incoming: &Incoming, started: Instant) -> After {
        let (from, to) = self.ends;
        self.worker.refused(self.gate.direction(), from, to, refused);
        self.series.response(status(refused.refusal).0, started.elapsed());
        // A body that nobody reads would be taken for the next request.
        let keep = incoming.keep_alive && incoming.framing == Framing::None && !ends_connection(refused.refusal);
        if keep {
            self.client.inbox.consume(incoming.length);
        }
        refuse(&mut self.back, refused.refusal, self.gate.explains(), !keep);
        let sent = self.client.send(&self.back, &[]).await;
        if keep && sent.is_ok() { After::NextRequest } else { After::Close }
    }

    /// The next request; none once the client has ended the connection or the worker drains.
    async fn next(&mut self) -> Option<Incoming> {
        let mut deadline = None;
        loop {
            if !self.client.inbox.is_empty() {
                if let Some(incoming) = self.read() {
                    return Some(incoming);
                }
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + HEAD_TIMEOUT);
                match timeout_at(deadline.into(), self.client.fill()).await {
                    Ok(Ok(1..)) => {}
                    Ok(Ok(0) | Err(_)) => return None,
                    Err(_) => return Some(Incoming::refused(Refusal::RequestTimeout)),
                }
            } else if !self.first_bytes().await {
                return None;
            }
        }
    }

    /// Waits for a request to begin. `false`: there will be none.
    async fn first_bytes(&mut self) -> bool {
        if !self.worker.drain.draining() {
            tokio::select! {
                filled = self.client.fill() => return matches!(filled, Ok(1..)),
                () = self.worker.drain.begins() => {}
            }
        }
        matches!(timeout(LINGER, self.client.fill()).await, Ok(Ok(1..)))
    }

    /// Reads a request's head from the inbox and decides on it; none while it is incomplete.
    fn read(&mut self) -> Option<Incoming> {
        let mut room = fields();
        match Request::parse(self.client.inbox.data(), &mut room) {
            Ok(None) => None,
            Ok(Some(request)) => {
                let rewrite = RequestRewrite { client_id: self.gate.client_id() };
                request.write(&mut self.onward, rewrite);
                Some(Incoming {
                    method: request.method.into(),
                    framing: request.framing,
                    length: request.length,
                    keep_alive: request.keep_alive(),
                    http10: request.is_http10(),
                    upgrade: request.upgrade().is_some() || request.method == "CONNECT",
                    repeatable: request.repeatable(),
                    verdict: self.gate.admit(&request),
                })
            }
            Err(Invalid::TooLarge) => Some(Incoming::refused(Refusal::RequestHeadTooLarge)),
            Err(invalid) => Some(Incoming::refused(Refused::new(Refusal::RequestInvalid, invalid))),
        }
    }
}

impl Incoming {
    /// A head that is no request; nothing after it can be read either.
    fn refused(refused: impl Into<Refused>) -> Self {
        Self {
            method: Method::Other,
            framing: Framing::None,
            length: 0,
            keep_alive: false,
            http10: false,
            upgrade: false,
            repeatable: false,
            verdict: Err(refused.into()),
        }
    }
}

/// Whether the refusal says that nothing behind it works, so that the client had better connect anew (A.1.10).
fn ends_connection(refusal: Refusal) -> bool {
    !matches!(refusal, Refusal::RequestUnauthorized | Refusal::NoRoute | Refusal::RateLimited)
}

#[cfg(test)]
pub(crate) mod tests;
