//! From the application into the mesh.

use crate::destination::{Destination, OutboundGate, label};
use crate::detect;
use crate::directory::Directory;
use crate::gate::Gate;
use crate::http::Connection;
use crate::http2;
use crate::link::Link;
use crate::listen::Accepted;
use crate::metrics::{Direction, Security};
use crate::refused::Refused;
use crate::relay::relay;
use crate::service::Service;
use crate::worker::Worker;
use outrigger_model::{OpaqueRoute, Refusal, TlsRoute};
use outrigger_proxy_core::detect::{Hello, Http};
use outrigger_proxy_core::outbound::{Plan, Protocol, Version};
use outrigger_proxy_core::route::best_for;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

/// A connection's journey: resolve where it was going, find out what it speaks, forward it.
pub(crate) async fn serve(directory: &Directory, accepted: Accepted) -> Result<(), Refused> {
    let worker = &directory.worker;
    let target = accepted.original_dst;
    if !redirected(&accepted) {
        return Err(Refusal::Loop.into());
    }
    let meter = worker.metrics.accepted(Direction::outbound, target, &Security::Plain("loopback"));
    let mut client = Link::plain(accepted.stream).metered(meter);
    let destination = directory.destination(target);
    let plan = destination.resolved(worker.config.outbound.side.detect_timeout).await?;
    let speaks = protocol(&plan, &mut client).await;
    let ends = (accepted.client, target);
    let gate = |version| Gate::Outbound(OutboundGate::new(destination.clone(), version));
    let label = label(&plan, target);
    match speaks {
        Http::Http1 => Box::pin(Connection::new(worker, client, gate(Version::Http1), &label, ends).serve()).await,
        Http::Http2 => {
            let connection = http2::Connection::new(worker, gate(Version::Http2), &label, ends);
            Box::pin(connection.serve(client)).await
        }
        Http::Unknown | Http::NeedMore => {
            let service = match &plan.protocol {
                Protocol::Tls(routes) => tls(worker, &mut client, &destination, routes).await?,
                _ => destination.opaque(worker, plan.opaque())?,
            };
            Box::pin(forward(worker, client, &service)).await
        }
    }
}

/// What to take the connection for: the policy's word, or its first bytes.
async fn protocol(plan: &Plan, client: &mut Link) -> Http {
    match &plan.protocol {
        Protocol::Detect { timeout, .. } => detect::protocol(client, *timeout).await,
        Protocol::Http1(_) => Http::Http1,
        Protocol::Http2(_) => Http::Http2,
        Protocol::Opaque(_) | Protocol::Tls(_) => Http::Unknown,
    }
}

/// Where TLS that the application speaks goes: by its server name, which must be there (A.2.6).
async fn tls(
    worker: &Worker,
    client: &mut Link,
    destination: &Destination,
    routes: &[TlsRoute],
) -> Result<Rc<Service>, Refused> {
    let hello = detect::tls(client, worker.config.outbound.side.detect_timeout).await?;
    let Hello::Tls { sni: Some(name) } = hello else {
        return Err(Refused::new(
            Refusal::ProtocolNotServed,
            "the policy routes TLS by name, and the client sent none",
        ));
    };
    let route = best_for(routes, &name).ok_or_else(|| Refused::new(Refusal::NoRoute, name))?;
    destination.opaque(worker, Some(&OpaqueRoute { meta: route.meta.clone(), rule: route.rule.clone() }))
}

async fn forward(worker: &Worker, client: Link, service: &Service) -> Result<(), Refused> {
    let mut lease = service.lease(worker, None, true).await?;
    lease.link = lease.link.opaque();
    let connected = Instant::now();
    let (answered, result) = relay(&mut client.opaque(), &mut lease.link).await;
    match result {
        // A peer that refuses our certificate, or the connection, says so after its handshake by ending it.
        Err(error) if !answered && connected.elapsed().as_secs() < 1 => {
            Err(Refused::new(Refusal::UpstreamClosed, error))
        }
        _ => Ok(()),
    }
}

/// Whether the rules brought the connection here. One that was made to our own port would come back to us for ever.
fn redirected(accepted: &Accepted) -> bool {
    let place = |addr: SocketAddr| (addr.ip().to_canonical(), addr.port());
    accepted.stream.local_addr().is_ok_and(|own| place(own) != place(accepted.original_dst))
}
