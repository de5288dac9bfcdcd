//! From the application into the mesh.

use crate::detect;
use crate::http::{Connection, Gate};
use crate::http2;
use crate::link::Link;
use crate::listen::Accepted;
use crate::metrics::Direction;
use crate::refused::Refused;
use crate::relay::relay;
use crate::service::Service;
use crate::worker::Worker;
use outrigger_model::Refusal;
use outrigger_proxy_core::detect::Http;
use std::rc::Rc;
use std::time::Instant;

/// A connection's journey: resolve where it was going, find out what it speaks, forward it.
pub(crate) async fn serve(worker: &Rc<Worker>, accepted: Accepted) -> Result<(), Refused> {
    let target = accepted.original_dst;
    if worker.config.outbound.listen.contains(&target) {
        return Err(Refusal::Loop.into());
    }
    let mut client = Link::plain(accepted.stream);
    let timeout = worker.config.outbound.side.detect_timeout;
    let service = worker.destination(target);
    let known = service.resolved(timeout).await?;
    let speaks = if known.opaque { Http::Unknown } else { detect::protocol(&mut client, timeout).await };
    let authority = known.authority.as_deref().map_or_else(|| target.to_string(), str::to_owned);
    let ends = (accepted.client, target);
    match speaks {
        Http::Http1 => {
            Box::pin(Connection::new(worker, client, Gate::Outbound(service), &authority, ends).serve()).await
        }
        Http::Http2 => {
            let connection = http2::Connection::new(worker, Gate::Outbound(service), &authority, ends);
            Box::pin(connection.serve(client)).await
        }
        Http::Unknown | Http::NeedMore => Box::pin(forward(worker, client, &service)).await,
    }
}

async fn forward(worker: &Worker, client: Link, service: &Service) -> Result<(), Refused> {
    let mut lease = service.lease(worker, None, true).await?;
    lease.link = lease.link.opaque();
    let connected = Instant::now();
    let (carried, result) = relay(&mut client.opaque(), &mut lease.link).await;
    worker.metrics.carried(Direction::outbound, carried.from_client, carried.to_client);
    match result {
        // A peer that refuses our certificate, or the connection, says so after its handshake by ending it.
        Err(error) if carried.to_client == 0 && connected.elapsed().as_secs() < 1 => {
            Err(Refused::new(Refusal::UpstreamClosed, error))
        }
        _ => Ok(()),
    }
}
