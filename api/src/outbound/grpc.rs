//! Outbound gRPC routes, which are HTTP routes here; of those, the ones that say no more than a gRPC route can become
//! one again.

use super::distribution::grpc_route as distribution;
use super::rule::{timeouts_from_proto, timeouts_to_proto, waits_from_proto, waits_to_proto};
use crate::grpc_route::{fail_from_proto, fail_to_proto, match_from_proto, match_to_proto};
use crate::http_route::{headers_from_proto, headers_to_proto, host_from_proto, hosts_to_proto};
use crate::meta::{meta_from_proto, meta_to_proto};
use crate::{InvalidMessage, all};
use linkerd2_proxy_api::outbound;
use linkerd2_proxy_api::outbound::grpc_route::{self as route, filter, retry};
use outrigger_model::{Filter, GrpcConditions, OutboundRoute, OutboundRule, Ratio, Retry, RetryOn};

/// `INTERNAL`.
const INTERNAL: u16 = 13;

/// `None`: one of the routes says something that gRPC routes cannot.
pub(super) fn routes_to_proto(routes: &[OutboundRoute]) -> Option<Vec<outbound::GrpcRoute>> {
    let one = |route: &OutboundRoute| {
        Some(outbound::GrpcRoute {
            metadata: Some(meta_to_proto(&route.meta)),
            hosts: hosts_to_proto(&route.hosts),
            rules: route.rules.iter().map(rule_to_proto).collect::<Option<_>>()?,
        })
    };
    routes.iter().map(one).collect()
}

pub(super) fn route_from_proto(message: outbound::GrpcRoute) -> Result<OutboundRoute, InvalidMessage> {
    Ok(OutboundRoute {
        meta: meta_from_proto(message.metadata)?,
        hosts: all("hosts", message.hosts, host_from_proto)?,
        rules: all("rules", message.rules, rule_from_proto)?,
    })
}

#[allow(deprecated, reason = "older proxies read no other timeout")]
fn rule_to_proto(rule: &OutboundRule) -> Option<route::Rule> {
    let (timeouts, request_timeout) = timeouts_to_proto(&rule.timeouts);
    Some(route::Rule {
        matches: rule.matches.iter().map(match_to_proto).collect::<Option<_>>()?,
        filters: rule.filters.iter().map(filter_to_proto).collect::<Option<_>>()?,
        backends: Some(distribution::to_proto(&rule.backends, filter_to_proto)?),
        request_timeout,
        timeouts: Some(timeouts),
        retry: rule.retry.as_ref().and_then(retry_to_proto),
        allow_l5d_request_headers: rule.allow_l5d_headers,
    })
}

#[allow(deprecated, reason = "older controllers send no other timeout")]
fn rule_from_proto(rule: route::Rule) -> Result<OutboundRule, InvalidMessage> {
    Ok(OutboundRule {
        matches: all("matches", rule.matches, match_from_proto)?,
        filters: all("filters", rule.filters, filter_from_proto)?,
        backends: distribution::from_proto(rule.backends, filter_from_proto)?,
        timeouts: timeouts_from_proto(rule.timeouts, rule.request_timeout)?,
        retry: rule.retry.map(retry_from_proto).transpose().map_err(|e| e.within("retry"))?,
        allow_l5d_headers: rule.allow_l5d_request_headers,
    })
}

fn filter_to_proto(filter: &Filter) -> Option<route::Filter> {
    let refuse = || fail_to_proto(INTERNAL, "the route has a filter that is not supported", Ratio::ALL);
    let kind = match filter {
        Filter::RequestHeaders(headers) => filter::Kind::RequestHeaderModifier(headers_to_proto(headers)),
        Filter::FailGrpc { code, message, ratio } => {
            filter::Kind::FailureInjector(fail_to_proto(*code, message, *ratio))
        }
        Filter::Unknown => filter::Kind::FailureInjector(refuse()),
        Filter::ResponseHeaders(_) | Filter::Redirect(_) | Filter::Fail { .. } => return None,
    };
    Some(route::Filter { kind: Some(kind) })
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

/// A retry on HTTP statuses is nothing a gRPC route can say; without it a request is sent once.
fn retry_to_proto(of: &Retry) -> Option<route::Retry> {
    let RetryOn::Grpc(on) = of.on else { return None };
    let (timeout, backoff) = waits_to_proto(of.timeout, of.backoff);
    Some(route::Retry {
        max_retries: of.max_retries,
        max_request_bytes: of.max_request_bytes,
        conditions: Some(retry::Conditions {
            cancelled: on.cancelled,
            deadine_exceeded: on.deadline_exceeded,
            resource_exhausted: on.resource_exhausted,
            internal: on.internal,
            unavailable: on.unavailable,
        }),
        timeout,
        backoff,
    })
}

fn retry_from_proto(message: route::Retry) -> Result<Retry, InvalidMessage> {
    let on = message.conditions.ok_or_else(|| InvalidMessage::new("conditions", "it is missing"))?;
    let (timeout, backoff) = waits_from_proto(message.timeout, message.backoff)?;
    Ok(Retry {
        max_retries: message.max_retries,
        max_request_bytes: message.max_request_bytes,
        on: RetryOn::Grpc(GrpcConditions {
            cancelled: on.cancelled,
            deadline_exceeded: on.deadine_exceeded,
            resource_exhausted: on.resource_exhausted,
            internal: on.internal,
            unavailable: on.unavailable,
        }),
        timeout,
        backoff,
    })
}
