//! From the mesh to the application.

use crate::admission::{Admission, Arrival, InboundGate, Tls, guard_loop};
use crate::detect;
use crate::directory::Directory;
use crate::gate::Gate;
use crate::http::Connection;
use crate::http2;
use crate::link::Link;
use crate::listen::Accepted;
use crate::metrics::{About, Decided};
use crate::port::Policy;
use crate::refused::Refused;
use crate::relay::relay;
use crate::worker::Worker;
use outrigger_model::{InboundProtocol, Refusal};
use outrigger_mtls::Alpn;
use outrigger_proxy_core::detect::{Hello, Http};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// A connection's journey: the policy of its port, TLS, what it speaks, who may come in, the application.
pub(crate) async fn serve(directory: &Directory, accepted: Accepted) -> Result<(), Refused> {
    let worker = &directory.worker;
    let target = accepted.original_dst;
    let timeout = worker.config.inbound.side.detect_timeout;
    let client = Link::plain(accepted.stream);
    let mut port = directory.port(target.port());
    let policy = port.resolved(timeout).await?;
    let mut arrival = Arrival { from: accepted.client, tls: Tls::Unread, to: target, port };
    if policy.policy.protocol == InboundProtocol::Opaque {
        let client = client.metered(arrival.meter(worker));
        return Box::pin(forward(worker, client, arrival)).await;
    }
    let (client, tls) = Box::pin(secure(worker, client, timeout)).await?;
    arrival.tls = tls;
    let mut client = client.metered(arrival.meter(worker));
    match protocol(&policy, &arrival.tls, &mut client).await {
        Http::Http1 => Box::pin(requests(directory, client, arrival)).await,
        Http::Http2 => Box::pin(requests_http2(directory, client, arrival)).await,
        Http::Unknown | Http::NeedMore => Box::pin(forward(worker, client, arrival)).await,
    }
}

/// Ends TLS if the client asks for our name; other TLS, and plaintext, pass as they are (A.1.2).
pub(crate) async fn secure(worker: &Worker, mut client: Link, timeout: Duration) -> Result<(Link, Tls), Refused> {
    let hello = detect::tls(&mut client, timeout).await?;
    match hello {
        Hello::Tls { sni: Some(name) } if name == worker.config.identity.server_name.as_str() => {}
        Hello::Tls { sni: Some(_) } => return Ok((client, Tls::Passed)),
        Hello::Tls { sni: None } | Hello::NotTls | Hello::NeedMore => return Ok((client, Tls::None)),
    }
    let accepted = accept(worker, client, Alpn::None, timeout).await?;
    let tls = accepted.peer.map_or(Tls::Anonymous, Tls::Authenticated);
    Ok((Link::tls(accepted.stream), tls))
}

/// Completes a client's TLS handshake with our SVID.
pub(crate) async fn accept(
    worker: &Worker,
    client: Link,
    alpn: Alpn,
    timeout: Duration,
) -> Result<outrigger_mtls::Accepted<crate::link::Prefixed>, Refused> {
    let current = worker.credentials.borrow().clone();
    let credentials = current.ok_or(Refusal::NoSvid)?;
    let stream = client.into_prefixed().ok_or(Refusal::HandshakeFailed)?;
    let handshake = tokio::time::timeout(timeout, outrigger_mtls::accept(&credentials, stream, alpn));
    let late = |_| Refused::new(Refusal::HandshakeFailed, "the client did not finish it in time");
    Ok(handshake.await.map_err(late)??)
}

/// What to take the connection for: the policy's word, or its first bytes.
async fn protocol(policy: &Policy, tls: &Tls, client: &mut Link) -> Http {
    match (&policy.policy.protocol, tls) {
        (InboundProtocol::Tls | InboundProtocol::Opaque, _) => Http::Unknown,
        (InboundProtocol::Http2 { .. } | InboundProtocol::Grpc { .. }, _) => Http::Http2,
        (InboundProtocol::Http1 { .. }, Tls::Unread | Tls::None | Tls::Passed) => Http::Http1,
        // Under TLS a peer's proxy may carry HTTP/1 in HTTP/2.
        (InboundProtocol::Http1 { .. }, _) => match detect::protocol(client, DETECT_UNDER_TLS).await {
            Http::Http2 => Http::Http2,
            _ => Http::Http1,
        },
        (InboundProtocol::Detect { timeout, .. }, _) => detect::protocol(client, *timeout).await,
    }
}

const DETECT_UNDER_TLS: Duration = Duration::from_secs(10);

/// Serves HTTP/2, each request on its own merits.
pub(crate) async fn requests_http2(directory: &Directory, client: Link, arrival: Arrival) -> Result<(), Refused> {
    let (gate, ends) = gate(directory, arrival);
    http2::Connection::new(&directory.worker, gate, &ends.1.to_string(), ends).serve(client).await
}

/// Serves HTTP/1, each request on its own merits.
pub(crate) async fn requests(directory: &Directory, client: Link, arrival: Arrival) -> Result<(), Refused> {
    let (gate, ends) = gate(directory, arrival);
    Connection::new(&directory.worker, client, gate, &ends.1.to_string(), ends).serve().await
}

/// What decides about an arrival's requests, and its two ends for the log.
fn gate(directory: &Directory, arrival: Arrival) -> (Gate, (SocketAddr, SocketAddr)) {
    let ends = (arrival.from, arrival.to);
    let application = directory.application(arrival.to);
    let admission = Admission::new(Rc::clone(&directory.worker), arrival);
    (Gate::Inbound(Box::new(InboundGate::new(application, admission))), ends)
}

/// Forwards bytes while the policy admits the client; ends the connection when it no longer does (A.3.3).
pub(crate) async fn forward(worker: &Worker, client: Link, mut arrival: Arrival) -> Result<(), Refused> {
    guard_loop(worker, arrival.to)?;
    let policy = arrival.port.current()?;
    admit(worker, &policy, &arrival, Decided::TcpDeny)?;
    let mut application = arrival.connect(worker).await?.opaque();
    let mut client = client.opaque();
    let relaying = relay(&mut client, &mut application);
    let mut relaying = std::pin::pin!(relaying);
    loop {
        tokio::select! {
            _ = &mut relaying => return Ok(()),
            () = arrival.port.changed() => {
                let admitted = arrival.port.current();
                let admitted = admitted.and_then(|policy| admit(worker, &policy, &arrival, Decided::TcpTerminate));
                admitted.map_err(|refused| Refused { refusal: Refusal::AuthorizationWithdrawn, ..refused })?;
            }
        }
    }
}

/// Counts whether the policy admits the connection; `denied` is what it is counted as if it does not.
fn admit(worker: &Worker, policy: &Policy, arrival: &Arrival, denied: Decided) -> Result<(), Refused> {
    let about = arrival.about(policy);
    match policy.admit_connection(arrival.client()) {
        Ok(authorization) => {
            let about = About { authorization: Some(&authorization.meta), ..about };
            if denied == Decided::TcpDeny {
                worker.metrics.decided(Decided::TcpAllow, &about).inc();
                arrival.audit(authorization);
            }
            Ok(())
        }
        Err(refused) => {
            worker.metrics.decided(denied, &about).inc();
            Err(refused)
        }
    }
}
