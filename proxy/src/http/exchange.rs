//! One request and its response. Both bodies move at the same time: a response may begin before its request has ended.

use super::pump::{Broken, Pump};
use super::{Connection, Incoming};
use crate::chosen::Chosen;
use crate::endpoint::{Endpoint, Lease};
use crate::link::Link;
use crate::refused::Refused;
use outrigger_model::Refusal;
use outrigger_proxy_core::http1::{Framing, Method, Response, ResponseRewrite, append, fields};
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Instant;

/// What comes after a response.
pub(super) enum After {
    NextRequest,
    Close,
    /// The protocol has changed: bytes from now on.
    Tunnel(Lease),
}

/// Why there is no whole response.
pub(super) enum Failed {
    /// None of it was sent: the client can be told.
    Unanswered(Refused),
    /// The client waits for no answer any more.
    ClientGone,
    /// Part of it was sent; only the connection's end can tell the client.
    Broken(Refused),
}

/// A response's head, as it was read; as it goes back it stands in [`Connection::back`].
struct Head {
    status: u16,
    framing: Framing,
    /// Bytes of the head as it was read.
    length: usize,
    interim: bool,
    /// The client's connection, then the upstream's, can carry another request.
    keep: bool,
    upstream_keeps: bool,
}

/// Sends the request on and its response back.
pub(super) async fn run(
    conn: &mut Connection,
    incoming: &Incoming,
    chosen: &Chosen,
    started: Instant,
) -> Result<After, Failed> {
    conn.client.inbox.consume(incoming.length);
    let (mut lease, mut upload, head) = first_head(conn, incoming, chosen).await?;
    let now = Instant::now();
    lease.load.answered(now);
    conn.series.response(head.status, now.saturating_duration_since(started));
    let mut download = Pump::new(head.framing);
    let upstream = &mut lease.link;
    upstream.inbox.consume(head.length);
    let first = download.claim(upstream.inbox.data()).map_err(broken_response)?;
    let sent = conn.client.send(&conn.back, &upstream.inbox.data()[..first]).await;
    sent.map_err(|_| Failed::ClientGone)?;
    upstream.inbox.consume(first);
    if incoming.upgrade && (head.status == 101 || (incoming.method == Method::Connect && head.status / 100 == 2)) {
        return Ok(After::Tunnel(lease));
    }
    if !download.done() {
        bodies(&mut conn.client, upstream, &mut upload, &mut download).await?;
    }
    let whole = upload.pump.done() && !upload.broken;
    if head.upstream_keeps && whole {
        lease.give_back(now, conn.gate.side(&conn.worker.config).pool_size);
    }
    Ok(if head.keep && whole { After::NextRequest } else { After::Close })
}

/// The request's body, and whether the upstream has stopped taking it: it may still answer.
struct Upload {
    pump: Pump,
    broken: bool,
}

/// Sends the request and waits for its final response's head. A pooled connection that turns out to be dead is replaced
/// once, if sending the request again does no harm (RFC 9110 §9.2.2).
async fn first_head(
    conn: &mut Connection,
    incoming: &Incoming,
    chosen: &Chosen,
) -> Result<(Lease, Upload, Head), Failed> {
    let (mut fresh, mut named) = (false, false);
    loop {
        let mut lease = conn.gate.lease(&conn.worker, chosen, fresh).await.map_err(Failed::Unanswered)?;
        let mut upload = Upload { pump: Pump::new(incoming.framing), broken: false };
        if let Some(name) = chosen.canonical(lease.load.endpoint()).filter(|_| !named) {
            append(&mut conn.onward, "l5d-dst-canonical", name);
            named = true;
        }
        match attempt(conn, (incoming, chosen), &mut lease, &mut upload).await {
            Err(Failed::Unanswered(refused))
                if refused.refusal == Refusal::UpstreamClosed && lease.reused && incoming.repeatable && !fresh =>
            {
                conn.worker.metrics.retried();
                fresh = true;
            }
            result => return result.map(|head| (lease, upload, head)),
        }
    }
}

async fn attempt(
    conn: &mut Connection,
    request: (&Incoming, &Chosen),
    lease: &mut Lease,
    upload: &mut Upload,
) -> Result<Head, Failed> {
    let Lease { link: upstream, load, .. } = lease;
    let first = upload.pump.claim(conn.client.inbox.data()).map_err(broken_request)?;
    let sent = upstream.send(&conn.onward, &conn.client.inbox.data()[..first]).await;
    sent.map_err(|error| closed(&error))?;
    conn.client.inbox.consume(first);
    loop {
        if let Some(head) = read_head(conn, request, upstream, load.endpoint())? {
            if !head.interim {
                return Ok(head);
            }
            upstream.inbox.consume(head.length);
            conn.client.send(&conn.back, &[]).await.map_err(|_| Failed::ClientGone)?;
        } else {
            more_of_response(&mut conn.client, upstream, upload).await?;
        }
    }
}

/// Reads a response's head from the upstream's inbox and writes the one that goes back.
fn read_head(
    conn: &mut Connection,
    (incoming, chosen): (&Incoming, &Chosen),
    upstream: &Link,
    endpoint: &Endpoint,
) -> Result<Option<Head>, Failed> {
    if upstream.inbox.is_empty() {
        return Ok(None);
    }
    let invalid = |why: &dyn std::fmt::Display| Failed::Unanswered(Refused::new(Refusal::ResponseInvalid, why));
    let mut room = fields();
    let parsed = Response::parse(upstream.inbox.data(), &mut room, incoming.method).map_err(|e| invalid(&e))?;
    let Some(response) = parsed else { return Ok(None) };
    if response.status == 101 && !incoming.upgrade {
        return Err(invalid(&"the upstream changed the protocol unasked"));
    }
    if incoming.http10 && response.framing == Framing::Chunked {
        return Err(invalid(&"the upstream sent a chunked body to an HTTP/1.0 client"));
    }
    let torn_down = conn.gate.heed(chosen, endpoint, response.proxy_error(), response.tears_down());
    let open = incoming.keep_alive && response.framing != Framing::Close;
    let keep = open && !torn_down && !conn.worker.drain.draining();
    let rewrite = match (keep, incoming.http10) {
        (false, _) => ResponseRewrite::Close,
        (true, true) => ResponseRewrite::KeepAlive10,
        (true, false) => ResponseRewrite::KeepAlive,
    };
    response.write(&mut conn.back, rewrite);
    Ok(Some(Head {
        status: response.status,
        framing: response.framing,
        length: response.length,
        interim: response.interim(),
        keep,
        upstream_keeps: response.keep_alive(),
    }))
}

/// Waits for bytes of the response, while the request's body moves on and the client stays.
async fn more_of_response(client: &mut Link, upstream: &mut Link, upload: &mut Upload) -> Result<(), Failed> {
    let filled = poll_fn(|cx| {
        if !upload.pump.done() && !upload.broken {
            match upload.pump.poll(client, upstream, cx) {
                Poll::Ready(Err(Broken::Receiver)) => upload.broken = true,
                Poll::Ready(Err(broken)) => return Poll::Ready(Err(broken_request(broken))),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        } else if client.inbox.is_empty() && matches!(client.poll_fill(cx), Poll::Ready(Ok(0) | Err(_))) {
            return Poll::Ready(Err(Failed::ClientGone));
        }
        upstream.poll_fill(cx).map(Ok)
    });
    match filled.await? {
        Ok(0) => Err(closed(&"the connection ended")),
        Ok(_) => Ok(()),
        Err(error) => Err(closed(&error)),
    }
}

/// Moves what is left of both bodies; returns once the response's has arrived.
async fn bodies(
    client: &mut Link,
    upstream: &mut Link,
    upload: &mut Upload,
    download: &mut Pump,
) -> Result<(), Failed> {
    poll_fn(|cx| {
        if !upload.pump.done()
            && !upload.broken
            && let Poll::Ready(Err(_)) = upload.pump.poll(client, upstream, cx)
        {
            upload.broken = true;
        }
        download.poll(upstream, client, cx).map_err(broken_response)
    })
    .await
}

fn closed(detail: &dyn std::fmt::Display) -> Failed {
    Failed::Unanswered(Refused::new(Refusal::UpstreamClosed, detail))
}

fn broken_request(broken: Broken) -> Failed {
    match broken {
        Broken::Sender => Failed::ClientGone,
        Broken::Receiver => closed(&io::Error::from(io::ErrorKind::BrokenPipe)),
        Broken::Malformed(invalid) => Failed::Unanswered(Refused::new(Refusal::RequestInvalid, invalid)),
    }
}

fn broken_response(broken: Broken) -> Failed {
    match broken {
        Broken::Receiver => Failed::ClientGone,
        Broken::Sender => Failed::Broken(Refused::new(Refusal::UpstreamClosed, "in the middle of a response")),
        Broken::Malformed(invalid) => Failed::Broken(Refused::new(Refusal::ResponseInvalid, invalid)),
    }
}
