//! gRPC routes of an inbound port, which are HTTP routes here; of those, the ones that say no more than a gRPC route can
//! become one again.

use super::authorization::{authorizations_to_proto, route_authorizations};
use crate::grpc_route::{fail_from_proto, fail_to_proto, match_from_proto, match_to_proto};
use crate::http_route::{headers_from_proto, headers_to_proto, host_from_proto, hosts_to_proto};
use crate::meta::{meta_from_proto, meta_to_proto};
use crate::{InvalidMessage, all};
use linkerd2_proxy_api::inbound::GrpcRoute;
use linkerd2_proxy_api::inbound::grpc_route::{self as route, filter};
use outrigger_model::{Filter, InboundRoute, RouteRule};

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

fn filter_to_proto(filter: &Filter) -> Option<route::Filter> {
    match filter {
        Filter::RequestHeaders(headers) => {
            Some(route::Filter { kind: Some(filter::Kind::RequestHeaderModifier(headers_to_proto(headers))) })
        }
        Filter::Unknown => Some(route::Filter { kind: None }),
        Filter::FailGrpc { code, message, ratio } => {
            let injector = fail_to_proto(*code, message, *ratio);
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
