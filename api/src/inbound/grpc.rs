//! gRPC routes. A gRPC method is a path, so they become HTTP routes; of HTTP routes, those that say no more than a
//! gRPC route can become one again.

use super::all;
use super::authorization::{authorizations_to_proto, meta_from_proto, meta_to_proto, route_authorizations};
use super::http::{
    header_match_from_proto, header_match_to_proto, headers_from_proto, headers_to_proto, host_from_proto,
    hosts_to_proto, ratio_from_proto, ratio_to_proto,
};
use crate::InvalidMessage;
use linkerd2_proxy_api::grpc_route::{GrpcFailureInjector, GrpcRouteMatch, GrpcRpcMatch};
use linkerd2_proxy_api::inbound::GrpcRoute;
use linkerd2_proxy_api::inbound::grpc_route::{self as route, filter};
use outrigger_model::{Filter, InboundRoute, PathMatch, RouteMatch, RouteRule};

/// `None`: one of the routes says something that gRPC routes cannot.
pub(super) fn routes_to_proto(routes: &[InboundRoute]) -> Option<Vec<GrpcRoute>> {
    let rule = |rule: &RouteRule| {
        Some(route::Rule {
            matches: rule.matches.iter().map(match_to_proto).collect::<Option<_>>()?,
            filters: rule.filters.iter().map(filter_to_proto).collect::<Option<_>>()?,
        })
    };
    let one = |route: &InboundRoute| {
        Some(GrpcRoute {
            metadata: Some(meta_to_proto(&route.meta)),
            hosts: hosts_to_proto(&route.hosts),
            authorizations: authorizations_to_proto(&route.authorizations),
            rules: route.rules.iter().map(rule).collect::<Option<_>>()?,
        })
    };
    routes.iter().map(one).collect()
}

pub(super) fn route_from_proto(message: GrpcRoute) -> Result<InboundRoute, InvalidMessage> {
    Ok(InboundRoute {
        meta: meta_from_proto(message.metadata)?,
        hosts: all("hosts", message.hosts, host_from_proto)?,
        authorizations: route_authorizations(message.authorizations)?,
        rules: all("rules", message.rules, |rule: route::Rule| {
            Ok(RouteRule {
                matches: all("matches", rule.matches, match_from_proto)?,
                filters: all("filters", rule.filters, filter_from_proto)?,
            })
        })?,
    })
}

fn match_to_proto(matched: &RouteMatch) -> Option<GrpcRouteMatch> {
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

fn match_from_proto(message: GrpcRouteMatch) -> Result<RouteMatch, InvalidMessage> {
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

fn filter_to_proto(filter: &Filter) -> Option<route::Filter> {
    match filter {
        Filter::RequestHeaders(headers) => {
            Some(route::Filter { kind: Some(filter::Kind::RequestHeaderModifier(headers_to_proto(headers))) })
        }
        Filter::Unknown => Some(route::Filter { kind: None }),
        Filter::FailGrpc { code, message, ratio } => {
            let (code, message) = ((*code).into(), message.to_string());
            let injector = GrpcFailureInjector { code, message, ratio: ratio_to_proto(*ratio) };
            Some(route::Filter { kind: Some(filter::Kind::FailureInjector(injector)) })
        }
        Filter::ResponseHeaders(_) | Filter::Redirect(_) | Filter::Fail { .. } => None,
    }
}

fn filter_from_proto(filter: route::Filter) -> Result<Filter, InvalidMessage> {
    match filter.kind {
        Some(filter::Kind::RequestHeaderModifier(headers)) => {
            headers_from_proto(headers).map(Filter::RequestHeaders).map_err(|e| e.within("request_header_modifier"))
        }
        Some(filter::Kind::FailureInjector(fail)) => fail_from_proto(fail).map_err(|e| e.within("failure_injector")),
        None => Ok(Filter::Unknown),
    }
}

fn fail_from_proto(fail: GrpcFailureInjector) -> Result<Filter, InvalidMessage> {
    let code = u16::try_from(fail.code).map_err(|_| InvalidMessage::new("code", "it is above 65535"))?;
    Ok(Filter::FailGrpc { code, message: fail.message.into(), ratio: ratio_from_proto(fail.ratio)? })
}
