//! `InboundServerPolicies`: a port's policy (linkerd.md A.3.3, C.2).
//!
//! What a message says and the model cannot becomes either an error or something that refuses, never something that
//! admits.

mod authorization;
mod grpc;
mod http;
mod limit;

use crate::duration::{duration_from_proto, duration_to_proto};
use crate::{InvalidMessage, all};
use authorization::{authorization_from_proto, authorizations_to_proto, meta_from_labels};
use limit::{limit_from_proto, limit_to_proto, take_limit};
use linkerd2_proxy_api::inbound::{self, proxy_protocol as wire};
use outrigger_model::{InboundPolicy, InboundProtocol, InboundRoute, RateLimit};
use std::sync::Arc;

/// A policy as `WatchPort` sends it.
///
/// A Server message has no field for its object's namespace, so that part of `meta` does not travel. An authorization
/// without networks admits nobody and is left out: proxies refuse the whole message over it.
pub fn policy_to_proto(policy: &InboundPolicy) -> inbound::Server {
    inbound::Server {
        protocol: Some(inbound::ProxyProtocol {
            kind: Some(protocol_to_proto(&policy.protocol, policy.rate_limit.as_ref())),
        }),
        server_ips: Vec::new(),
        authorizations: authorizations_to_proto(&policy.authorizations),
        labels: authorization::labels(&policy.meta),
    }
}

/// A policy from a `WatchPort` message.
///
/// An error means that the policy is not understood: the port must then refuse.
pub fn policy_from_proto(server: inbound::Server) -> Result<InboundPolicy, InvalidMessage> {
    let kind = server.protocol.and_then(|p| p.kind);
    let mut kind = kind.ok_or_else(|| InvalidMessage::new("protocol.kind", "it is missing or of an unknown kind"))?;
    let rate_limit =
        take_limit(&mut kind).map(limit_from_proto).transpose().map_err(|e| e.within("local_rate_limit"))?;
    Ok(InboundPolicy {
        meta: meta_from_labels(server.labels, "server")?,
        protocol: protocol_from_proto(kind).map_err(|e| e.within("protocol"))?,
        authorizations: all("authorizations", server.authorizations, authorization_from_proto)?,
        rate_limit,
    })
}

fn protocol_to_proto(protocol: &InboundProtocol, limit: Option<&RateLimit>) -> wire::Kind {
    let routes = http::routes_to_proto;
    let local_rate_limit = limit.map(limit_to_proto);
    match protocol {
        InboundProtocol::Detect { timeout, routes: list } => wire::Kind::Detect(wire::Detect {
            timeout: Some(duration_to_proto(*timeout)),
            http_routes: routes(list),
            http_local_rate_limit: local_rate_limit,
        }),
        InboundProtocol::Http1 { routes: list } => {
            wire::Kind::Http1(wire::Http1 { routes: routes(list), local_rate_limit })
        }
        InboundProtocol::Http2 { routes: list } => {
            wire::Kind::Http2(wire::Http2 { routes: routes(list), local_rate_limit })
        }
        // gRPC messages can say neither every HTTP route nor a rate limit. Rather than lose what restricts, the port is
        // named HTTP/2, which gRPC is.
        InboundProtocol::Grpc { routes: list } => match grpc::routes_to_proto(list) {
            Some(routes) if local_rate_limit.is_none() => wire::Kind::Grpc(wire::Grpc { routes }),
            _ => wire::Kind::Http2(wire::Http2 { routes: routes(list), local_rate_limit }),
        },
        InboundProtocol::Opaque => wire::Kind::Opaque(wire::Opaque {}),
        InboundProtocol::Tls => wire::Kind::Tls(wire::Tls {}),
    }
}

fn protocol_from_proto(kind: wire::Kind) -> Result<InboundProtocol, InvalidMessage> {
    Ok(match kind {
        wire::Kind::Detect(detect) => InboundProtocol::Detect {
            timeout: duration_from_proto("detect.timeout", detect.timeout)?,
            routes: http_routes("detect.http_routes", detect.http_routes)?,
        },
        wire::Kind::Http1(http1) => InboundProtocol::Http1 { routes: http_routes("http1.routes", http1.routes)? },
        wire::Kind::Http2(http2) => InboundProtocol::Http2 { routes: http_routes("http2.routes", http2.routes)? },
        wire::Kind::Grpc(grpc) => {
            InboundProtocol::Grpc { routes: all("grpc.routes", grpc.routes, grpc::route_from_proto)? }
        }
        wire::Kind::Opaque(_) => InboundProtocol::Opaque,
        wire::Kind::Tls(_) => InboundProtocol::Tls,
    })
}

fn http_routes(field: &str, routes: Vec<inbound::HttpRoute>) -> Result<Arc<[InboundRoute]>, InvalidMessage> {
    all(field, routes, http::route_from_proto)
}

#[cfg(test)]
mod tests;
