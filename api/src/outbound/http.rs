//! Outbound HTTP routes.

use super::distribution::http_route as distribution;
use super::rule::{timeouts_from_proto, timeouts_to_proto, waits_from_proto, waits_to_proto};
use crate::http_route::{
    fail_from_proto, fail_to_proto, headers_from_proto, headers_to_proto, host_from_proto, hosts_to_proto,
    match_from_proto, match_to_proto, redirect_from_proto, redirect_to_proto,
};
use crate::meta::{meta_from_proto, meta_to_proto};
use crate::{InvalidMessage, all};
use linkerd2_proxy_api::http_route::{RequestHeaderModifier, ResponseHeaderModifier};
use linkerd2_proxy_api::outbound::http_route::{self as route, filter, retry};
use linkerd2_proxy_api::outbound::{self};
use outrigger_model::{Filter, OutboundRoute, OutboundRule, Ratio, Retry, RetryOn};
use std::ops::RangeInclusive;

pub(super) fn routes_to_proto(routes: &[OutboundRoute]) -> Vec<outbound::HttpRoute> {
    let one = |route: &OutboundRoute| outbound::HttpRoute {
        metadata: Some(meta_to_proto(&route.meta)),
        hosts: hosts_to_proto(&route.hosts),
        rules: route.rules.iter().map(rule_to_proto).collect(),
    };
    routes.iter().map(one).collect()
}

pub(super) fn route_from_proto(message: outbound::HttpRoute) -> Result<OutboundRoute, InvalidMessage> {
    Ok(OutboundRoute {
        meta: meta_from_proto(message.metadata)?,
        hosts: all("hosts", message.hosts, host_from_proto)?,
        rules: all("rules", message.rules, rule_from_proto)?,
    })
}

#[allow(deprecated, reason = "older proxies read no other timeout")]
fn rule_to_proto(rule: &OutboundRule) -> route::Rule {
    let (timeouts, request_timeout) = timeouts_to_proto(&rule.timeouts);
    route::Rule {
        matches: rule.matches.iter().map(match_to_proto).collect(),
        filters: rule.filters.iter().map(filter_to_proto).collect(),
        backends: distribution::to_proto(&rule.backends, |filter| Some(filter_to_proto(filter))),
        request_timeout,
        timeouts: Some(timeouts),
        retry: rule.retry.as_ref().and_then(retry_to_proto),
        allow_l5d_request_headers: rule.allow_l5d_headers,
    }
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

/// Stock proxies refuse a whole policy over a filter without a kind; what cannot be said becomes one that refuses.
fn filter_to_proto(filter: &Filter) -> route::Filter {
    let refuse = || fail_to_proto(500, "the route has a filter that is not supported", Ratio::ALL);
    let kind = match filter {
        Filter::RequestHeaders(headers) => filter::Kind::RequestHeaderModifier(headers_to_proto(headers)),
        Filter::ResponseHeaders(headers) => {
            let RequestHeaderModifier { add, set, remove } = headers_to_proto(headers);
            filter::Kind::ResponseHeaderModifier(ResponseHeaderModifier { add, set, remove })
        }
        Filter::Redirect(redirect) => filter::Kind::Redirect(redirect_to_proto(redirect)),
        Filter::Fail { status, message, ratio } => {
            filter::Kind::FailureInjector(fail_to_proto(*status, message, *ratio))
        }
        Filter::FailGrpc { .. } | Filter::Unknown => filter::Kind::FailureInjector(refuse()),
    };
    route::Filter { kind: Some(kind) }
}

fn filter_from_proto(filter: route::Filter) -> Result<Filter, InvalidMessage> {
    match filter.kind {
        Some(filter::Kind::RequestHeaderModifier(headers)) => {
            headers_from_proto(headers).map(Filter::RequestHeaders).map_err(|e| e.within("request_header_modifier"))
        }
        Some(filter::Kind::ResponseHeaderModifier(ResponseHeaderModifier { add, set, remove })) => {
            let headers = headers_from_proto(RequestHeaderModifier { add, set, remove });
            headers.map(Filter::ResponseHeaders).map_err(|e| e.within("response_header_modifier"))
        }
        Some(filter::Kind::Redirect(redirect)) => redirect_from_proto(redirect).map_err(|e| e.within("redirect")),
        Some(filter::Kind::FailureInjector(fail)) => fail_from_proto(fail).map_err(|e| e.within("failure_injector")),
        None => Ok(Filter::Unknown),
    }
}

/// A retry on gRPC statuses is nothing an HTTP route can say; without it a request is sent once.
fn retry_to_proto(of: &Retry) -> Option<route::Retry> {
    let RetryOn::Statuses(statuses) = &of.on else { return None };
    let range = |range: &RangeInclusive<u16>| retry::conditions::StatusRange {
        start: (*range.start()).into(),
        end: (*range.end()).into(),
    };
    let (timeout, backoff) = waits_to_proto(of.timeout, of.backoff);
    Some(route::Retry {
        max_retries: of.max_retries,
        max_request_bytes: of.max_request_bytes,
        conditions: Some(retry::Conditions { status_ranges: statuses.iter().map(range).collect() }),
        timeout,
        backoff,
    })
}

fn retry_from_proto(message: route::Retry) -> Result<Retry, InvalidMessage> {
    let conditions = message.conditions.ok_or_else(|| InvalidMessage::new("conditions", "it is missing"))?;
    let range = |range: retry::conditions::StatusRange| {
        let bounds = (u16::try_from(range.start), u16::try_from(range.end));
        let valid = if let (Ok(start), Ok(end)) = bounds { Some(start..=end) } else { None };
        let valid = valid.filter(|range| !range.is_empty());
        valid.ok_or_else(|| InvalidMessage::new("end", "it is below start, or above 65535"))
    };
    let (timeout, backoff) = waits_from_proto(message.timeout, message.backoff)?;
    Ok(Retry {
        max_retries: message.max_retries,
        max_request_bytes: message.max_request_bytes,
        on: RetryOn::Statuses(all("conditions.status_ranges", conditions.status_ranges, range)?),
        timeout,
        backoff,
    })
}
