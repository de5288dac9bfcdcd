//! Matches of gRPC routes, inbound and outbound. A gRPC method is a path, so they become those of HTTP routes; of HTTP
//! matches, those that say no more than a gRPC match can become one again.

use crate::http_route::{header_match_from_proto, header_match_to_proto, ratio_from_proto, ratio_to_proto};
use crate::{InvalidMessage, all};
use linkerd2_proxy_api::grpc_route::{GrpcFailureInjector, GrpcRouteMatch, GrpcRpcMatch};
use outrigger_model::{Filter, PathMatch, Ratio, RouteMatch};

/// `None`: it asks for something that gRPC matches cannot.
pub(crate) fn match_to_proto(matched: &RouteMatch) -> Option<GrpcRouteMatch> {
    if matched.method.is_some() || !matched.query.is_empty() {
        return None;
    }
    let rpc = match matched.path.as_ref() {
        None => None,
        Some(PathMatch::Prefix(path)) if &**path == "/" => None,
        Some(PathMatch::Prefix(path)) => Some(GrpcRpcMatch { service: segment(path)?, method: String::new() }),
        Some(PathMatch::Exact(path)) => {
            let (service, method) = path.split_at(path.rfind('/')?);
            Some(GrpcRpcMatch { service: segment(service)?, method: segment(method)? })
        }
        Some(PathMatch::Regex(_)) => return None,
    };
    Some(GrpcRouteMatch { rpc, headers: matched.headers.iter().map(header_match_to_proto).collect() })
}

/// The one segment of `/segment`.
fn segment(path: &str) -> Option<String> {
    path.strip_prefix('/').filter(|name| !name.is_empty() && !name.contains('/')).map(str::to_owned)
}

pub(crate) fn match_from_proto(message: GrpcRouteMatch) -> Result<RouteMatch, InvalidMessage> {
    let GrpcRpcMatch { service, method } = message.rpc.unwrap_or_default();
    let path = match (service.as_str(), method.as_str()) {
        ("", "") => None,
        (service, "") => Some(PathMatch::Prefix(format!("/{service}").into())),
        ("", method) => Some(PathMatch::Regex(format!("/[^/]+/{}", escaped(method)).into())),
        (service, method) => Some(PathMatch::Exact(format!("/{service}/{method}").into())),
    };
    let headers = all("headers", message.headers, header_match_from_proto)?;
    Ok(RouteMatch { path, headers, ..RouteMatch::default() })
}

/// A regular expression that matches exactly this text.
fn escaped(text: &str) -> String {
    let escape = |c: char| if r"\.+*?()|[]{}^$".contains(c) { format!(r"\{c}") } else { c.to_string() };
    text.chars().map(escape).collect()
}

pub(crate) fn fail_to_proto(code: u16, message: &str, ratio: Ratio) -> GrpcFailureInjector {
    GrpcFailureInjector { code: code.into(), message: message.to_owned(), ratio: ratio_to_proto(ratio) }
}

pub(crate) fn fail_from_proto(fail: GrpcFailureInjector) -> Result<Filter, InvalidMessage> {
    let code = u16::try_from(fail.code).map_err(|_| InvalidMessage::new("code", "it is above 65535"))?;
    Ok(Filter::FailGrpc { code, message: fail.message.into(), ratio: ratio_from_proto(fail.ratio)? })
}
