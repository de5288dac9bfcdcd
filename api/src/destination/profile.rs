//! `DestinationProfile`: which service or endpoint stands behind an address, and how a ServiceProfile says to call it.

use super::{endpoint_from_proto, endpoint_to_proto, labels_from_proto, labels_to_proto};
use crate::duration::{duration_from_proto, duration_to_proto, optional_from_proto};
use crate::http_route::{method_from_proto, method_to_proto};
use crate::meta::{meta_from_proto, meta_to_proto};
use crate::{InvalidMessage, all};
use linkerd2_proxy_api::destination as pb;
use outrigger_model::{
    Profile, ProfileRoute, RequestMatch, ResponseClass, ResponseMatch, RetryBudget, WeightedAuthority,
};
use pb::{request_match::Match as Request, response_match::Match as Response};
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// A profile as `GetProfile` sends it (B.4).
pub fn profile_to_proto(profile: &Profile) -> pb::DestinationProfile {
    pb::DestinationProfile {
        fully_qualified_name: profile.service.as_deref().unwrap_or_default().to_owned(),
        opaque_protocol: profile.opaque,
        endpoint: profile.endpoint.as_ref().map(endpoint_to_proto),
        routes: profile.routes.iter().map(route_to_proto).collect(),
        retry_budget: profile.retry_budget.map(budget_to_proto),
        dst_overrides: profile.overrides.iter().map(override_to_proto).collect(),
        parent_ref: profile.parent.as_ref().map(meta_to_proto),
        profile_ref: profile.source.as_ref().map(meta_to_proto),
    }
}

/// Reads a profile. An error means that the destination must be refused, not that it is unmeshed. A profile with
/// neither service nor endpoint is the controller's word for a port that the service does not declare (B.2).
///
/// Routes, overrides and a budget that cannot be read are logged and left out, as in Linkerd's proxy: they change how a
/// destination is called, not which one it is, and without them it can still be.
pub fn profile_from_proto(message: pb::DestinationProfile) -> Result<Profile, InvalidMessage> {
    let endpoint = message.endpoint.map(|e| endpoint_from_proto(e, &HashMap::new())).transpose();
    let budget = message.retry_budget.map(budget_from_proto).transpose();
    Ok(Profile {
        service: Some(message.fully_qualified_name).filter(|name| !name.is_empty()).map(Arc::from),
        opaque: message.opaque_protocol,
        endpoint: endpoint.map_err(|e| e.within("endpoint"))?,
        routes: readable("routes", message.routes, route_from_proto),
        retry_budget: budget.map_err(|e| e.within("retry_budget")).unwrap_or_else(left_out),
        overrides: readable("dst_overrides", message.dst_overrides, override_from_proto),
        parent: message.parent_ref.and_then(|meta| meta_from_proto(Some(meta)).ok()),
        source: message.profile_ref.and_then(|meta| meta_from_proto(Some(meta)).ok()),
    })
}

fn readable<In, Out>(field: &str, list: Vec<In>, read: impl Fn(In) -> Result<Out, InvalidMessage>) -> Arc<[Out]> {
    let one = |(at, item)| read(item).map_err(|e| e.within(&format!("{field}[{at}]")));
    let read = list.into_iter().enumerate().map(one);
    read.filter_map(|read| read.map(Some).unwrap_or_else(left_out)).collect()
}

fn left_out<T>(error: InvalidMessage) -> Option<T> {
    tracing::warn!(event = "profile.part_left_out", %error, "the controller sent what cannot be read");
    None
}

fn route_to_proto(route: &ProfileRoute) -> pb::Route {
    let class = |class: &ResponseClass| pb::ResponseClass {
        condition: Some(response_to_proto(&class.condition)),
        is_failure: class.failure,
    };
    pb::Route {
        condition: Some(request_to_proto(&route.condition)),
        response_classes: route.response_classes.iter().map(class).collect(),
        metrics_labels: labels_to_proto(&route.labels),
        is_retryable: route.retryable,
        timeout: route.timeout.map(duration_to_proto),
    }
}

pub(super) fn route_from_proto(message: pb::Route) -> Result<ProfileRoute, InvalidMessage> {
    let class = |class: pb::ResponseClass| {
        let condition = class.condition.ok_or_else(|| InvalidMessage::new("condition", "it is missing"))?;
        let condition = response_from_proto(condition).map_err(|e| e.within("condition"))?;
        Ok(ResponseClass { condition, failure: class.is_failure })
    };
    let condition = message.condition.ok_or_else(|| InvalidMessage::new("condition", "it is missing"))?;
    Ok(ProfileRoute {
        condition: request_from_proto(condition).map_err(|e| e.within("condition"))?,
        labels: Arc::new(labels_from_proto(message.metrics_labels.iter())),
        response_classes: all("response_classes", message.response_classes, class)?,
        retryable: message.is_retryable,
        timeout: optional_from_proto("timeout", message.timeout)?,
    })
}

fn request_to_proto(condition: &RequestMatch) -> pb::RequestMatch {
    let seq = |list: &[RequestMatch]| pb::request_match::Seq { matches: list.iter().map(request_to_proto).collect() };
    let condition = match condition {
        RequestMatch::All(list) => Request::All(seq(list)),
        RequestMatch::Any(list) => Request::Any(seq(list)),
        RequestMatch::Not(not) => Request::Not(Box::new(request_to_proto(not))),
        RequestMatch::Path(regex) => Request::Path(pb::PathMatch { regex: regex.to_string() }),
        RequestMatch::Method(method) => Request::Method(method_to_proto(method)),
    };
    pb::RequestMatch { r#match: Some(condition) }
}

fn request_from_proto(message: pb::RequestMatch) -> Result<RequestMatch, InvalidMessage> {
    let condition =
        message.r#match.ok_or_else(|| InvalidMessage::new("match", "it is missing or of an unknown kind"))?;
    Ok(match condition {
        Request::All(seq) => RequestMatch::All(all("all", seq.matches, request_from_proto)?),
        Request::Any(seq) => RequestMatch::Any(all("any", seq.matches, request_from_proto)?),
        Request::Not(not) => RequestMatch::Not(Box::new(request_from_proto(*not).map_err(|e| e.within("not"))?)),
        Request::Path(path) => RequestMatch::Path(path.regex.into()),
        Request::Method(method) => RequestMatch::Method(method_from_proto(method)?),
    })
}

fn response_to_proto(condition: &ResponseMatch) -> pb::ResponseMatch {
    let seq =
        |list: &[ResponseMatch]| pb::response_match::Seq { matches: list.iter().map(response_to_proto).collect() };
    let condition = match condition {
        ResponseMatch::All(list) => Response::All(seq(list)),
        ResponseMatch::Any(list) => Response::Any(seq(list)),
        ResponseMatch::Not(not) => Response::Not(Box::new(response_to_proto(not))),
        ResponseMatch::Status(range) => {
            Response::Status(pb::HttpStatusRange { min: (*range.start()).into(), max: (*range.end()).into() })
        }
    };
    pb::ResponseMatch { r#match: Some(condition) }
}

fn response_from_proto(message: pb::ResponseMatch) -> Result<ResponseMatch, InvalidMessage> {
    let condition =
        message.r#match.ok_or_else(|| InvalidMessage::new("match", "it is missing or of an unknown kind"))?;
    Ok(match condition {
        Response::All(seq) => ResponseMatch::All(all("all", seq.matches, response_from_proto)?),
        Response::Any(seq) => ResponseMatch::Any(all("any", seq.matches, response_from_proto)?),
        Response::Not(not) => ResponseMatch::Not(Box::new(response_from_proto(*not).map_err(|e| e.within("not"))?)),
        Response::Status(range) => ResponseMatch::Status(statuses_from_proto(&range)?),
    })
}

/// One bound alone is a single status (destination.proto, `HttpStatusRange`).
fn statuses_from_proto(range: &pb::HttpStatusRange) -> Result<RangeInclusive<u16>, InvalidMessage> {
    let (min, max) = match (range.min, range.max) {
        (0, max) => (max, max),
        (min, 0) => (min, min),
        both => both,
    };
    let status = |status: u32| u16::try_from(status).ok().filter(|status| (100..1000).contains(status));
    match (status(min), status(max)) {
        (Some(min), Some(max)) if min <= max => Ok(min..=max),
        _ => Err(InvalidMessage::new("status", format!("{min} to {max} is no range of HTTP statuses"))),
    }
}

fn budget_to_proto(budget: RetryBudget) -> pb::RetryBudget {
    pb::RetryBudget {
        retry_ratio: budget.ratio,
        min_retries_per_second: budget.min_per_second,
        ttl: Some(duration_to_proto(budget.ttl)),
    }
}

pub(super) fn budget_from_proto(message: pb::RetryBudget) -> Result<RetryBudget, InvalidMessage> {
    let budget = RetryBudget {
        ratio: message.retry_ratio,
        min_per_second: message.min_retries_per_second,
        ttl: duration_from_proto("ttl", message.ttl)?,
    };
    let wrong = budget.mistake().map(|(field, why)| InvalidMessage::new(field, why));
    wrong.map_or(Ok(budget), Err)
}

fn override_to_proto(to: &WeightedAuthority) -> pb::WeightedDst {
    pb::WeightedDst { authority: to.authority.to_string(), weight: to.weight, backend_ref: None }
}

pub(super) fn override_from_proto(message: pb::WeightedDst) -> Result<WeightedAuthority, InvalidMessage> {
    let pb::WeightedDst { authority, weight, .. } = message;
    let parsed = authority.parse::<http::uri::Authority>();
    parsed.map_err(|e| InvalidMessage::new("authority", format!("{authority:?}: {e}")))?;
    if weight == 0 {
        return Err(InvalidMessage::new("weight", "it is zero"));
    }
    Ok(WeightedAuthority { authority: authority.into(), weight })
}
