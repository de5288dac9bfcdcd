//! HTTP routes of an inbound port.

use super::authorization::{authorizations_to_proto, route_authorizations};
use crate::http_route::{
    fail_from_proto, fail_to_proto, headers_from_proto, headers_to_proto, host_from_proto, hosts_to_proto,
    match_from_proto, match_to_proto, redirect_from_proto, redirect_to_proto,
};
use crate::meta::{meta_from_proto, meta_to_proto};
use crate::{InvalidMessage, all};
use linkerd2_proxy_api::inbound::http_route::filter;
use linkerd2_proxy_api::inbound::{self, http_route as route};
use outrigger_model::{Filter, InboundRoute, RouteRule};

pub(super) fn routes_to_proto(routes: &[InboundRoute]) -> Vec<inbound::HttpRoute> {
    let rule = |rule: &RouteRule| route::Rule {
        matches: rule.matches.iter().map(match_to_proto).collect(),
        filters: rule.filters.iter().map(|filter| route::Filter { kind: filter_to_proto(filter) }).collect(),
    };
    let one = |route: &InboundRoute| inbound::HttpRoute {
        metadata: Some(meta_to_proto(&route.meta)),
        hosts: hosts_to_proto(&route.hosts),
        authorizations: authorizations_to_proto(&route.authorizations),
        rules: route.rules.iter().map(rule).collect(),
    };
    routes.iter().map(one).collect()
}

pub(super) fn route_from_proto(message: inbound::HttpRoute) -> Result<InboundRoute, InvalidMessage> {
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

fn filter_to_proto(filter: &Filter) -> Option<filter::Kind> {
    match filter {
        Filter::RequestHeaders(headers) => Some(filter::Kind::RequestHeaderModifier(headers_to_proto(headers))),
        Filter::Redirect(redirect) => Some(filter::Kind::Redirect(redirect_to_proto(redirect))),
        Filter::Fail { status, message, ratio } => {
            Some(filter::Kind::FailureInjector(fail_to_proto(*status, message, *ratio)))
        }
        // Proxies answer every request that meets a filter without a kind with an error, and these have none here.
        Filter::ResponseHeaders(_) | Filter::FailGrpc { .. } | Filter::Unknown => None,
    }
}

fn filter_from_proto(filter: route::Filter) -> Result<Filter, InvalidMessage> {
    match filter.kind {
        Some(filter::Kind::RequestHeaderModifier(headers)) => {
            headers_from_proto(headers).map(Filter::RequestHeaders).map_err(|e| e.within("request_header_modifier"))
        }
        Some(filter::Kind::Redirect(redirect)) => redirect_from_proto(redirect).map_err(|e| e.within("redirect")),
        Some(filter::Kind::FailureInjector(fail)) => fail_from_proto(fail).map_err(|e| e.within("failure_injector")),
        None => Ok(Filter::Unknown),
    }
}
