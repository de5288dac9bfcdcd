//! Where traffic to a destination goes: a Service, as its routes and annotations say, or straight to an address outside
//! the cluster (C.3). HTTPRoutes of Services and EgressNetworks are not read yet.

mod address;
mod annotations;
mod name;
mod service;
mod service_port;
mod watches;

pub(crate) use address::Addresses;
pub(crate) use annotations::invalid_annotations;
pub use service::OutboundService;
pub(crate) use watches::Watches;

use crate::Config;
use outrigger_cluster::{Key, World};
use outrigger_model::{
    Backend, Dispatch, Distribution, Endpoint, HttpRouting, Meta, OpaqueRoute, OpaqueRule, OutboundPolicy,
    OutboundProtocol, OutboundRoute, OutboundRule, Queue, RouteBackend, RouteMatch,
};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// How long a proxy waits for a connection's first bytes.
const DETECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What may wait in a proxy for an endpoint to be ready.
const QUEUE: Queue = Queue { capacity: 100, failfast: Duration::from_secs(3) };

/// What an outbound policy is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    pub subject: Subject,
    pub port: u16,
}

/// A Service by name, or an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Service(Key),
    Address(IpAddr),
}

/// Why there is no policy for a destination.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoPolicy {
    #[error("there is no Service {0} with endpoints of its own")]
    NoService(Key),
    #[error("no Service has the address {0}; GetProfile tells what is there")]
    NotAService(IpAddr),
    #[error("{ip} belongs to several Services: {services}")]
    Ambiguous { ip: IpAddr, services: String },
}

/// The policy of a destination: a function of the objects, of which `addresses` is an index.
pub(crate) fn outbound_policy(
    world: &World,
    config: &Config,
    addresses: &Addresses,
    destination: &Destination,
) -> Result<OutboundPolicy, NoPolicy> {
    let key = match &destination.subject {
        Subject::Service(key) => key,
        Subject::Address(ip) => match addresses.services(ip)[..] {
            [key] => key,
            [] if addresses.has_workload(ip) || config.is_in_cluster(*ip) => return Err(NoPolicy::NotAService(*ip)),
            [] => return Ok(egress_fallback(SocketAddr::new(*ip, destination.port))),
            ref keys => return Err(ambiguous(*ip, keys)),
        },
    };
    match world.services.get(key) {
        Some(service) if service.external_name.is_none() => {
            Ok(service_port::policy(world, config, service, destination.port))
        }
        _ => Err(NoPolicy::NoService(key.clone())),
    }
}

fn ambiguous(ip: IpAddr, services: &[&Key]) -> NoPolicy {
    let services: Vec<_> = services.iter().map(ToString::to_string).collect();
    NoPolicy::Ambiguous { ip, services: services.join(", ") }
}

/// An address outside the cluster that nothing is known of is reached as it is.
fn egress_fallback(addr: SocketAddr) -> OutboundPolicy {
    let meta = Meta::default_named("egress-fallback");
    let endpoint = Endpoint { weight: 1, ..Endpoint::unmeshed(addr) };
    let backend = Backend { meta: meta.clone(), queue: Some(QUEUE), dispatch: Dispatch::Forward(endpoint) };
    let rule = OutboundRule {
        matches: vec![RouteMatch::default()],
        backends: only(backend.clone()),
        ..OutboundRule::default()
    };
    let http = http_routing(meta.clone(), rule);
    OutboundPolicy { protocol: detect(http, opaque_route(meta.clone(), backend)), meta }
}

fn detect(http: HttpRouting, opaque: Arc<[OpaqueRoute]>) -> OutboundProtocol {
    OutboundProtocol::Detect { timeout: DETECT_TIMEOUT, http1: http.clone(), http2: http, opaque }
}

fn http_routing(meta: Meta, rule: OutboundRule) -> HttpRouting {
    let route = OutboundRoute { meta, hosts: Vec::new(), rules: vec![rule] };
    HttpRouting { routes: [route].into(), failure_accrual: None }
}

fn opaque_route(meta: Meta, backend: Backend) -> Arc<[OpaqueRoute]> {
    let rule = OpaqueRule { filters: Vec::new(), backends: only(backend) };
    [OpaqueRoute { meta, rule }].into()
}

fn only<F>(backend: Backend) -> Distribution<F> {
    Distribution::FirstAvailable([RouteBackend { backend, filters: Vec::new() }].into())
}
