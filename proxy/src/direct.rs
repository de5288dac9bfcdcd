//! Connections to the proxy's own port: mutual TLS, then a transport header that says what they are for (A.1.3).

use crate::detect;
use crate::inbound::{Arrival, Tls, accept, forward, requests, requests_http2};
use crate::link::Link;
use crate::refused::Refused;
use crate::worker::Worker;
use outrigger_model::Refusal;
use outrigger_mtls::Alpn;
use outrigger_proxy_core::header::Session;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// The journey of a connection that a peer's proxy made to ours on purpose.
pub(crate) async fn serve(worker: &Rc<Worker>, client: Link, from: SocketAddr, ours: IpAddr) -> Result<(), Refused> {
    let timeout = worker.config.inbound.side.detect_timeout;
    let accepted = Box::pin(accept(worker, client, Alpn::TransportHeader, timeout)).await?;
    let peer = accepted.peer.ok_or(Refusal::ClientCertificateRequired)?;
    if !accepted.transport_header {
        return Err(Refusal::TransportHeaderNotNegotiated.into());
    }
    let mut client = Link::tls(accepted.stream);
    let header = detect::header(&mut client, timeout).await?;
    if let Some(name) = header.name {
        return Err(Refused::new(Refusal::GatewayNotServed, name));
    }
    let to = SocketAddr::new(ours, header.port.get());
    let mut port = worker.port(to.port());
    port.resolved(timeout).await?;
    let arrival = Arrival { from, tls: Tls::Authenticated(peer), to, port };
    match header.session {
        None => Box::pin(forward(worker, client, arrival)).await,
        Some(Session::Http1) => Box::pin(requests(worker, client, arrival)).await,
        Some(Session::Http2) => Box::pin(requests_http2(worker, client, arrival)).await,
    }
}
