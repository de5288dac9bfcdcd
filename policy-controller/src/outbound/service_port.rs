//! The policy of a Service's port.

use super::annotations::{failure_accrual, penalty, retry, timeouts};
use super::{QUEUE, detect, http_routing, only, opaque_route};
use crate::Config;
use outrigger_cluster::{Protocol, Service, ServicePort, World};
use outrigger_model::{
    Backend, Dispatch, Distribution, HttpRouting, Load, Meta, OpaqueFilter, OpaqueRoute, OpaqueRule, OutboundPolicy,
    OutboundProtocol, OutboundRule, PathMatch, RouteMatch,
};
use std::time::Duration;

/// The group of Kubernetes' own kinds in messages; proxies refuse an empty one.
const CORE: &str = "core";

pub(super) fn policy(world: &World, config: &Config, service: &Service, port: u16) -> OutboundPolicy {
    let key = &service.meta.key;
    let meta = Meta::object(CORE, "Service", &key.namespace, &key.name).at_port(port);
    let declared = service.ports.iter().find(|declared| declared.port == port && declared.protocol == Protocol::Tcp);
    let protocol = match declared {
        Some(declared) => {
            let opaque = world.is_opaque(&service.meta, port, service.named_ports(), &config.opaque_ports);
            of_declared(service, declared, opaque, backend(config, service, meta.clone()))
        }
        None => undefined_port(),
    };
    OutboundPolicy { meta, protocol }
}

/// Nothing listens at a port that the Service does not declare. The policy stays: the port may be declared later.
fn undefined_port() -> OutboundProtocol {
    let rule = OpaqueRule { filters: vec![OpaqueFilter::Forbidden], backends: Distribution::Empty };
    OutboundProtocol::Opaque([OpaqueRoute { meta: Meta::default_named("undefined-port"), rule }].into())
}

fn of_declared(service: &Service, port: &ServicePort, is_opaque: bool, backend: Backend) -> OutboundProtocol {
    let opaque = || opaque_route(Meta::default_named("opaq"), backend.clone());
    let http = || http(service, backend.clone());
    // What the port says of itself goes before what lists of ports say.
    match port.app_protocol.as_deref().map(str::to_ascii_lowercase).as_deref() {
        Some("http") => OutboundProtocol::Http1(http()),
        Some("kubernetes.io/h2c") => OutboundProtocol::Http2(http()),
        // `linkerd.io/opaque`, `linkerd.io/tcp`, and what nobody here speaks.
        Some(_) => OutboundProtocol::Opaque(opaque()),
        None if is_opaque => OutboundProtocol::Opaque(opaque()),
        None => detect(http(), opaque()),
    }
}

fn backend(config: &Config, service: &Service, meta: Meta) -> Backend {
    let (name, port) = (config.service_name(&service.meta.key), meta.port.unwrap_or_default());
    let load = Load {
        default_rtt: Duration::from_millis(30),
        decay: Duration::from_secs(10),
        penalty: penalty(&service.meta).unwrap_or_default(),
    };
    Backend { meta, queue: Some(QUEUE), dispatch: Dispatch::Balancer { path: format!("{name}:{port}").into(), load } }
}

/// One route for every request. An annotation that cannot be read does nothing, as in Linkerd; it is a problem of the
/// Service's namespace.
fn http(service: &Service, backend: Backend) -> HttpRouting {
    let everything = RouteMatch { path: Some(PathMatch::Prefix("/".into())), ..RouteMatch::default() };
    let rule = OutboundRule {
        matches: vec![everything],
        backends: only(backend),
        timeouts: timeouts(&service.meta).unwrap_or_default(),
        retry: retry(&service.meta).unwrap_or_default(),
        ..OutboundRule::default()
    };
    let routing = http_routing(Meta::default_named("http"), rule);
    HttpRouting { failure_accrual: failure_accrual(&service.meta).unwrap_or_default(), ..routing }
}
