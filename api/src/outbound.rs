//! `OutboundPolicies`: where traffic to a destination goes (linkerd.md A.2.2, C.3).
//!
//! A message whose mandatory parts are missing or make no sense is an error as a whole: every request to the destination
//! must then be refused. A filter of an unknown kind refuses what meets it.

mod accrual;
mod backend;
mod distribution;
mod grpc;
mod http;
mod opaque;
mod rule;

use crate::destination::address_from_proto;
use crate::duration::{duration_from_proto, duration_to_proto};
use crate::meta::{meta_from_proto, meta_to_proto};
use crate::{InvalidMessage, all};
use accrual::{accrual_from_proto, accrual_to_proto};
use linkerd2_proxy_api::outbound::{self, proxy_protocol as wire, traffic_spec};
use outrigger_model::{HttpRouting, OpaqueRoute, OutboundPolicy, OutboundProtocol, Target, Traffic};
use std::sync::Arc;

/// What a proxy asks for.
pub fn traffic_to_proto(traffic: &Traffic) -> outbound::TrafficSpec {
    let target = match &traffic.target {
        Target::Addr(addr) => traffic_spec::Target::Addr((*addr).into()),
        Target::Authority(name) => traffic_spec::Target::Authority(name.to_string()),
    };
    outbound::TrafficSpec { source_workload: traffic.source.to_string(), target: Some(target) }
}

/// Reads what a proxy asks for; the source is not looked into.
pub fn traffic_from_proto(spec: outbound::TrafficSpec) -> Result<Traffic, InvalidMessage> {
    let target = match spec.target {
        None => return Err(InvalidMessage::new("target", "it is missing or of an unknown kind")),
        Some(traffic_spec::Target::Addr(addr)) => Target::Addr(address_from_proto(Some(&addr))?),
        Some(traffic_spec::Target::Authority(name)) => Target::Authority(name.into()),
    };
    Ok(Traffic { source: spec.source_workload.into(), target })
}

/// A policy as `Get` and `Watch` send it.
pub fn policy_to_proto(policy: &OutboundPolicy) -> outbound::OutboundPolicy {
    outbound::OutboundPolicy {
        metadata: Some(meta_to_proto(&policy.meta)),
        protocol: Some(outbound::ProxyProtocol { kind: Some(protocol_to_proto(&policy.protocol)) }),
    }
}

/// Reads a policy. An error means that it is not understood: everything sent to the destination must be refused.
pub fn policy_from_proto(message: outbound::OutboundPolicy) -> Result<OutboundPolicy, InvalidMessage> {
    let kind = message.protocol.and_then(|p| p.kind);
    let kind = kind.ok_or_else(|| InvalidMessage::new("protocol.kind", "it is missing or of an unknown kind"))?;
    Ok(OutboundPolicy {
        meta: meta_from_proto(message.metadata)?,
        protocol: protocol_from_proto(kind).map_err(|e| e.within("protocol"))?,
    })
}

fn protocol_to_proto(protocol: &OutboundProtocol) -> wire::Kind {
    match protocol {
        OutboundProtocol::Detect { timeout, http1, http2, opaque } => wire::Kind::Detect(wire::Detect {
            timeout: Some(duration_to_proto(*timeout)),
            opaque: Some(wire::Opaque { routes: opaque::routes_to_proto(opaque) }),
            http1: Some(http1_to_proto(http1)),
            http2: Some(http2_to_proto(http2)),
        }),
        OutboundProtocol::Http1(http1) => wire::Kind::Http1(http1_to_proto(http1)),
        OutboundProtocol::Http2(http2) => wire::Kind::Http2(http2_to_proto(http2)),
        // gRPC messages cannot say every HTTP route; gRPC is HTTP/2, whose messages can.
        OutboundProtocol::Grpc(routing) => match grpc::routes_to_proto(&routing.routes) {
            Some(routes) => wire::Kind::Grpc(wire::Grpc { routes, failure_accrual: accrual(routing) }),
            None => wire::Kind::Http2(http2_to_proto(routing)),
        },
        OutboundProtocol::Opaque(routes) => {
            wire::Kind::Opaque(wire::Opaque { routes: opaque::routes_to_proto(routes) })
        }
        OutboundProtocol::Tls(routes) => wire::Kind::Tls(wire::Tls { routes: opaque::tls_routes_to_proto(routes) }),
    }
}

fn http1_to_proto(routing: &HttpRouting) -> wire::Http1 {
    wire::Http1 { routes: http::routes_to_proto(&routing.routes), failure_accrual: accrual(routing) }
}

fn http2_to_proto(routing: &HttpRouting) -> wire::Http2 {
    wire::Http2 { routes: http::routes_to_proto(&routing.routes), failure_accrual: accrual(routing) }
}

fn accrual(routing: &HttpRouting) -> Option<outbound::FailureAccrual> {
    routing.failure_accrual.as_ref().map(accrual_to_proto)
}

fn protocol_from_proto(kind: wire::Kind) -> Result<OutboundProtocol, InvalidMessage> {
    Ok(match kind {
        wire::Kind::Detect(detect) => detect_from_proto(detect).map_err(|e| e.within("detect"))?,
        wire::Kind::Http1(http1) => OutboundProtocol::Http1(http1_from_proto(http1)?),
        wire::Kind::Http2(http2) => OutboundProtocol::Http2(http2_from_proto(http2)?),
        wire::Kind::Grpc(grpc) => {
            let routes = all("grpc.routes", grpc.routes, grpc::route_from_proto)?;
            OutboundProtocol::Grpc(routing("grpc", routes, grpc.failure_accrual)?)
        }
        wire::Kind::Opaque(opaque) => OutboundProtocol::Opaque(opaque_from_proto(opaque)?),
        wire::Kind::Tls(tls) => OutboundProtocol::Tls(all("tls.routes", tls.routes, opaque::tls_route_from_proto)?),
    })
}

fn detect_from_proto(detect: wire::Detect) -> Result<OutboundProtocol, InvalidMessage> {
    let missing = |field| move || InvalidMessage::new(field, "it is missing");
    Ok(OutboundProtocol::Detect {
        timeout: duration_from_proto("timeout", detect.timeout)?,
        http1: http1_from_proto(detect.http1.ok_or_else(missing("http1"))?)?,
        http2: http2_from_proto(detect.http2.ok_or_else(missing("http2"))?)?,
        opaque: opaque_from_proto(detect.opaque.ok_or_else(missing("opaque"))?)?,
    })
}

fn http1_from_proto(http1: wire::Http1) -> Result<HttpRouting, InvalidMessage> {
    routing("http1", all("http1.routes", http1.routes, http::route_from_proto)?, http1.failure_accrual)
}

fn http2_from_proto(http2: wire::Http2) -> Result<HttpRouting, InvalidMessage> {
    routing("http2", all("http2.routes", http2.routes, http::route_from_proto)?, http2.failure_accrual)
}

fn opaque_from_proto(opaque: wire::Opaque) -> Result<Arc<[OpaqueRoute]>, InvalidMessage> {
    all("opaque.routes", opaque.routes, opaque::route_from_proto)
}

fn routing(
    field: &str,
    routes: Arc<[outrigger_model::OutboundRoute]>,
    accrual: Option<outbound::FailureAccrual>,
) -> Result<HttpRouting, InvalidMessage> {
    let failure_accrual = accrual.map(accrual_from_proto).transpose();
    let failure_accrual = failure_accrual.map_err(|e| e.within("failure_accrual").within(field))?;
    Ok(HttpRouting { routes, failure_accrual })
}

#[cfg(test)]
mod tests;
