//! Serving HTTP/1: one request after another, each decided, sent on and answered.

mod exchange;
mod pump;

use crate::chosen::Chosen;
use crate::drain::LINGER;
use crate::gate::Gate;
use crate::link::Link;
use crate::metrics::RequestSeries;
use crate::refused::Refused;
use crate::relay::relay;
use crate::worker::Worker;
use exchange::{After, Failed};
use outrigger_model::Refusal;
use outrigger_proxy_core::http1::{Body, Framing, Invalid, Method, Request, RequestRewrite, fields, refuse};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::time::{timeout, timeout_at};

/// A request's head, once begun, may take so long.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

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
        while let Some((incoming, verdict)) = self.next().await {
            let started = Instant::now();
            self.series.request();
            match self.answer(incoming, verdict, started).await? {
                After::NextRequest => {}
                After::Close => break,
                After::Tunnel(mut lease) => {
                    let _ = relay(&mut self.client, &mut lease.link).await;
                    return Ok(());
                }
            }
        }
        self.client.end().await;
        Ok(())
    }

    /// Answers one request: by the upstream's response, or by a refusal of our own.
    async fn answer(
        &mut self,
        incoming: Incoming,
        verdict: Result<Chosen, Refused>,
        started: Instant,
    ) -> Result<After, Refused> {
        let chosen = match verdict {
            Ok(chosen) => chosen,
            Err(refused) => {
                let rest = self.whole(&incoming);
                return Ok(self.turn_away(&refused, rest, started).await);
            }
        };
        match exchange::run(self, &incoming, &chosen, started).await {
            Ok(after) => Ok(after),
            Err(Failed::ClientGone) => Ok(After::Close),
            Err(Failed::Broken(refused)) => Err(refused),
            Err(Failed::Unanswered(refused)) => Ok(self.turn_away(&refused, None, started).await),
        }
    }

    /// The bytes of a request that has arrived whole and that another may follow. A body that nobody reads would be
    /// taken for the next request.
    fn whole(&self, incoming: &Incoming) -> Option<usize> {
        let mut body = Body::new(incoming.framing);
        let taken = body.take(self.client.inbox.data().get(incoming.length..)?).ok()?;
        (incoming.keep_alive && body.done()).then_some(incoming.length + taken)
    }

    /// Answers instead of the upstream. `rest`: the bytes of the request, after which another may be read.
    async fn turn_away(&mut self, refused: &Refused, rest: Option<usize>, started: Instant) -> After {
        let (from, to) = self.ends;
        self.worker.refused(self.gate.direction(), from, to, refused);
        let reply = refused.reply();
        self.series.response(reply.status, started.elapsed());
        let keep = rest.filter(|_| !reply.fatal);
        refuse(&mut self.back, &reply, self.gate.audience(&self.worker.config), keep.is_none());
        self.client.inbox.consume(keep.unwrap_or(0));
        let sent = self.client.send(&self.back, &[]).await;
        if keep.is_some() && sent.is_ok() { After::NextRequest } else { After::Close }
    }

    /// The next request; none once the client has ended the connection or the worker drains.
    async fn next(&mut self) -> Option<(Incoming, Result<Chosen, Refused>)> {
        let mut deadline = None;
        loop {
            if !self.client.inbox.is_empty() {
                if let Some(read) = self.read() {
                    return Some(read);
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
    fn read(&mut self) -> Option<(Incoming, Result<Chosen, Refused>)> {
        let mut room = fields();
        match Request::parse(self.client.inbox.data(), &mut room) {
            Ok(None) => None,
            Ok(Some(request)) => {
                let verdict = self.gate.decide(&self.worker, &request);
                if let Ok(chosen) = &verdict {
                    let rewrite = RequestRewrite { client_id: self.gate.client_id(), changes: chosen.changes() };
                    request.write(&mut self.onward, rewrite);
                }
                let incoming = Incoming {
                    method: request.method.into(),
                    framing: request.framing,
                    length: request.length,
                    keep_alive: request.keep_alive(),
                    http10: request.is_http10(),
                    upgrade: request.upgrade().is_some() || request.method == "CONNECT",
                    repeatable: request.repeatable(),
                };
                Some((incoming, verdict))
            }
            Err(Invalid::TooLarge) => Some(Incoming::refused(Refusal::RequestHeadTooLarge)),
            Err(invalid) => Some(Incoming::refused(Refused::new(Refusal::RequestInvalid, invalid))),
        }
    }
}

impl Incoming {
    /// A head that is no request; nothing after it can be read either.
    fn refused(refused: impl Into<Refused>) -> (Self, Result<Chosen, Refused>) {
        let incoming = Self {
            method: Method::Other,
            framing: Framing::None,
            length: 0,
            keep_alive: false,
            http10: false,
            upgrade: false,
            repeatable: false,
        };
        (incoming, Err(refused.into()))
    }
}

#[cfg(test)]
pub(crate) mod tests;
