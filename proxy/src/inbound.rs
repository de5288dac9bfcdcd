//! From the mesh to the application.

use crate::connect;
use crate::detect;
use crate::direct;
use crate::endpoint::{Endpoint, InFlight, Lease};
use crate::gate::Gate;
use crate::http::Connection;
use crate::http2;
use crate::link::Link;
use crate::listen::Accepted;
use crate::metrics::Direction;
use crate::port::{Policy, Port};
use crate::refused::Refused;
use crate::relay::relay;
use crate::worker::Worker;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use outrigger_model::{InboundProtocol, Peer, Refusal};
use outrigger_mtls::Alpn;
use outrigger_proxy_core::authorize::{Client, ClientTls};
use outrigger_proxy_core::detect::{Hello, Http};
use outrigger_proxy_core::route::Head;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection's journey: the policy of its port, TLS, what it speaks, who may come in, the application.
pub(crate) async fn serve(worker: &Rc<Worker>, accepted: Accepted) -> Result<(), Refused> {
    let config = &worker.config.inbound;
    let target = accepted.original_dst;
    if !config.ips.is_empty() && !config.ips.contains(&target.ip().to_canonical()) {
        return Err(Refusal::AddressNotOurs.into());
    }
    let timeout = config.side.detect_timeout;
    let client = Link::plain(accepted.stream);
    if target.port() == config.listen.port() {
        return direct::serve(worker, client, accepted.client, target.ip()).await;
    }
    let mut port = worker.port(target.port());
    let policy = port.resolved(timeout).await?;
    let mut arrival = Arrival { from: accepted.client, tls: Tls::None, to: target, port };
    if policy.policy.protocol == InboundProtocol::Opaque {
        return Box::pin(forward(worker, client, arrival)).await;
    }
    let (mut client, tls) = Box::pin(secure(worker, client, timeout)).await?;
    arrival.tls = tls;
    match protocol(&policy, &arrival.tls, &mut client).await {
        Http::Http1 => Box::pin(requests(worker, client, arrival)).await,
        Http::Http2 => Box::pin(requests_http2(worker, client, arrival)).await,
        Http::Unknown | Http::NeedMore => Box::pin(forward(worker, client, arrival)).await,
    }
}

/// A connection that has arrived: who it is from and what it is for.
pub(crate) struct Arrival {
    pub from: SocketAddr,
    pub tls: Tls,
    /// The application's address.
    pub to: SocketAddr,
    pub port: Port,
}

/// How the client secured the connection.
pub(crate) enum Tls {
    None,
    Anonymous,
    Authenticated(Peer),
}

impl Arrival {
    fn client(&self) -> Client<'_> {
        let tls = match &self.tls {
            Tls::None => ClientTls::None,
            Tls::Anonymous => ClientTls::Anonymous,
            Tls::Authenticated(peer) => ClientTls::Authenticated(peer),
        };
        Client { addr: self.from.ip(), tls }
    }

    fn peer(&self) -> Option<&Peer> {
        match &self.tls {
            Tls::Authenticated(peer) => Some(peer),
            Tls::None | Tls::Anonymous => None,
        }
    }
}

/// Ends TLS if the client asks for our name; other TLS, and plaintext, pass as they are (A.1.2).
async fn secure(worker: &Worker, mut client: Link, timeout: Duration) -> Result<(Link, Tls), Refused> {
    let hello = detect::tls(&mut client, timeout).await?;
    let ours =
        matches!(&hello, Hello::Tls { sni: Some(name) } if *name == *worker.config.identity.server_name.as_str());
    if !ours {
        return Ok((client, Tls::None));
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
        (InboundProtocol::Http1 { .. }, Tls::None) => Http::Http1,
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
pub(crate) async fn requests_http2(worker: &Rc<Worker>, client: Link, arrival: Arrival) -> Result<(), Refused> {
    let (gate, ends) = gate(worker, arrival);
    http2::Connection::new(worker, gate, &ends.1.to_string(), ends).serve(client).await
}

/// Serves HTTP/1, each request on its own merits.
pub(crate) async fn requests(worker: &Rc<Worker>, client: Link, arrival: Arrival) -> Result<(), Refused> {
    let (gate, ends) = gate(worker, arrival);
    Connection::new(worker, client, gate, &ends.1.to_string(), ends).serve().await
}

/// What decides about an arrival's requests, and its two ends for the log.
fn gate(worker: &Worker, arrival: Arrival) -> (Gate, (SocketAddr, SocketAddr)) {
    let ends = (arrival.from, arrival.to);
    let application = worker.application(arrival.to);
    let client_id = arrival.peer().map(|peer| peer.identity().as_str().into());
    let admission = RefCell::new(Admission { policy: None, always: false, port: arrival.port.clone() });
    (Gate::Inbound(Box::new(InboundGate { application, client_id, admission, arrival })), ends)
}

/// Forwards bytes while the policy admits the client; ends the connection when it no longer does (A.3.3).
pub(crate) async fn forward(worker: &Worker, client: Link, mut arrival: Arrival) -> Result<(), Refused> {
    guard_loop(worker, arrival.to)?;
    arrival.port.current()?.admit_connection(arrival.client())?;
    let mut application = connect::application(arrival.to, &worker.config.inbound.side).await?.opaque();
    let mut client = client.opaque();
    let relaying = relay(&mut client, &mut application);
    let mut relaying = std::pin::pin!(relaying);
    let (carried, _) = loop {
        tokio::select! {
            done = &mut relaying => break done,
            () = arrival.port.changed() => {
                let admitted = arrival.port.current().and_then(|policy| {
                    policy.admit_connection(arrival.client()).map(|_| ())
                });
                admitted.map_err(|refused| Refused { refusal: Refusal::AuthorizationWithdrawn, ..refused })?;
            }
        }
    };
    worker.metrics.carried(Direction::inbound, carried.from_client, carried.to_client);
    Ok(())
}

fn guard_loop(worker: &Worker, target: SocketAddr) -> Result<(), Refused> {
    let own = target.port() == worker.config.inbound.listen.port();
    if own { Err(Refused::new(Refusal::Loop, target)) } else { Ok(()) }
}

/// What an HTTP connection asks before each request.
pub(crate) struct InboundGate {
    application: Rc<Endpoint>,
    /// For `l5d-client-id`.
    pub client_id: Option<Box<str>>,
    admission: RefCell<Admission>,
    arrival: Arrival,
}

/// The policy as the connection last read it.
struct Admission {
    port: Port,
    policy: Option<Arc<Policy>>,
    /// This policy admits every request of this client: no route of it decides.
    always: bool,
}

impl InboundGate {
    /// Whether the request may go on; the newest policy decides.
    pub(crate) fn admit(&self, request: &impl Head) -> Result<(), Refused> {
        let mut admission = self.admission.borrow_mut();
        if admission.policy.is_none() || admission.port.has_changed() {
            let policy = admission.port.current()?;
            let client = self.arrival.client();
            admission.always = !policy.decides_by_route() && policy.admit_connection(client).is_ok();
            admission.policy = Some(policy);
        }
        let policy = admission.policy.as_ref().ok_or(Refusal::PolicyUnknown)?;
        if admission.always && policy.takes_every_request() {
            return Ok(());
        }
        policy.admit_request(self.arrival.client(), request).map(|_| ())
    }

    /// A connection to the application.
    pub(crate) async fn lease(&self, worker: &Worker, fresh: bool) -> Result<Lease, Refused> {
        guard_loop(worker, self.arrival.to)?;
        let pooled = if fresh { None } else { self.application.checkout() };
        let reused = pooled.is_some();
        let link = match pooled {
            Some(link) => link,
            None => connect::application(self.arrival.to, &worker.config.inbound.side).await?,
        };
        Ok(Lease { link, reused, load: self.load() })
    }

    /// The application's HTTP/2 connection.
    pub(crate) async fn lease_http2(&self, worker: &Worker) -> Result<(SendRequest<Incoming>, InFlight), Refused> {
        let shared = || self.application.http2.shared().map(|sender| (sender, self.load()));
        if let Some(shared) = shared() {
            return Ok(shared);
        }
        let _opening = self.application.http2.to_open().await;
        match shared() {
            Some(shared) => Ok(shared),
            None => http2::open(worker, self.lease(worker, true).await?).await,
        }
    }

    fn load(&self) -> InFlight {
        InFlight::new(Rc::clone(&self.application), Instant::now(), false)
    }
}
