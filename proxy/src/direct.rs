//! Connections to the proxy's own port: mutual TLS, then a transport header that says what they are for (A.1.3).

use crate::admission::{Arrival, Tls};
use crate::detect;
use crate::directory::Directory;
use crate::inbound::{accept, forward, requests, requests_http2};
use crate::link::Link;
use crate::listen::Accepted;
use crate::refused::Refused;
use outrigger_model::Refusal;
use outrigger_mtls::Alpn;
use outrigger_proxy_core::header::Session;
use std::net::SocketAddr;

/// The journey of a connection that a peer's proxy made to ours on purpose.
pub(crate) async fn serve(directory: &Directory, accepted: Accepted) -> Result<(), Refused> {
    let worker = &directory.worker;
    let (from, ours) = (accepted.client, accepted.original_dst.ip());
    let client = Link::plain(accepted.stream);
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
    let mut port = directory.port(to.port());
    port.resolved(timeout).await?;
    let arrival = Arrival { from, tls: Tls::Authenticated(peer), to, port };
    let client = client.metered(arrival.meter(worker));
    match header.session {
        None => Box::pin(forward(worker, client, arrival)).await,
        Some(Session::Http1) => Box::pin(requests(directory, client, arrival)).await,
        Some(Session::Http2) => Box::pin(requests_http2(directory, client, arrival)).await,
    }
}
