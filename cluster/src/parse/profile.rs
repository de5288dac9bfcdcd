//! linkerd.io ServiceProfile.

use super::route::regex;
use super::values::{duration, namespaced, typed};
use crate::error::FieldError;
use crate::{Object, Override, PortSet, ServiceProfile};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use outrigger_crds::{self as crds, OneOrMany};
use outrigger_model::{DnsName, Labels, ProfileRoute, RequestMatch, ResponseClass, ResponseMatch, RetryBudget};
use serde_json::Value;
use std::ops::RangeInclusive;
use std::sync::Arc;

pub(super) fn service_profile(value: Value) -> Result<Object, FieldError> {
    let raw: crds::ServiceProfile = typed(value)?;
    let spec = raw.spec;
    let overrides = each(&spec.dst_overrides, "/spec/dstOverrides", over)?;
    Ok(Object::ServiceProfile(Arc::new(ServiceProfile {
        meta: namespaced(raw.metadata)?,
        routes: each(&spec.routes, "/spec/routes", route)?.into(),
        retry_budget: spec.retry_budget.as_ref().map(|raw| retry_budget(raw, "/spec/retryBudget")).transpose()?,
        overrides: overrides.into_iter().filter(|to| to.weight > 0).collect(),
        opaque_ports: opaque_ports(&spec.opaque_ports.unwrap_or_default())?,
    })))
}

/// Every element of a list that may be absent, with its place.
fn each<In, Out>(
    list: &Option<Vec<In>>,
    at: &str,
    read: impl Fn(&In, &str) -> Result<Out, FieldError>,
) -> Result<Vec<Out>, FieldError> {
    list.iter().flatten().enumerate().map(|(index, raw)| read(raw, &format!("{at}/{index}"))).collect()
}

fn route(raw: &crds::ProfileRoute, at: &str) -> Result<ProfileRoute, FieldError> {
    let labels = Labels::from([("route".into(), raw.name.as_str().into())]);
    Ok(ProfileRoute {
        condition: request(&raw.condition, &format!("{at}/condition"))?,
        labels: Arc::new(labels),
        response_classes: each(&raw.response_classes, &format!("{at}/responseClasses"), response_class)?,
        retryable: raw.is_retryable == Some(true),
        timeout: raw.timeout.as_deref().map(|text| duration(text, &format!("{at}/timeout"))).transpose()?,
    })
}

fn request(raw: &crds::RequestCondition, at: &str) -> Result<RequestMatch, FieldError> {
    let mut parts = Vec::new();
    if raw.all.is_some() {
        parts.push(RequestMatch::All(each(&raw.all, &format!("{at}/all"), request)?));
    }
    if raw.any.is_some() {
        parts.push(RequestMatch::Any(each(&raw.any, &format!("{at}/any"), request)?));
    }
    if let Some(text) = &raw.method {
        parts.push(RequestMatch::Method(method(text, &format!("{at}/method"))?));
    }
    for not in negated(&raw.not, &format!("{at}/not"), request)? {
        parts.push(RequestMatch::Not(Box::new(not)));
    }
    if let Some(text) = &raw.path_regex {
        parts.push(RequestMatch::Path(regex(text, &format!("{at}/pathRegex"))?));
    }
    one_of(parts, RequestMatch::All, at, "pathRegex, method, all, any or not")
}

fn response_class(raw: &crds::ResponseClass, at: &str) -> Result<ResponseClass, FieldError> {
    let condition = response(&raw.condition, &format!("{at}/condition"))?;
    Ok(ResponseClass { condition, failure: raw.is_failure == Some(true) })
}

fn response(raw: &crds::ResponseCondition, at: &str) -> Result<ResponseMatch, FieldError> {
    let mut parts = Vec::new();
    if raw.all.is_some() {
        parts.push(ResponseMatch::All(each(&raw.all, &format!("{at}/all"), response)?));
    }
    if raw.any.is_some() {
        parts.push(ResponseMatch::Any(each(&raw.any, &format!("{at}/any"), response)?));
    }
    if let Some(range) = &raw.status {
        parts.push(ResponseMatch::Status(statuses(range, &format!("{at}/status"))?));
    }
    for not in negated(&raw.not, &format!("{at}/not"), response)? {
        parts.push(ResponseMatch::Not(Box::new(not)));
    }
    one_of(parts, ResponseMatch::All, at, "status, all, any or not")
}

fn negated<In, Out>(
    raw: &Option<OneOrMany<In>>,
    at: &str,
    read: impl Fn(&In, &str) -> Result<Out, FieldError>,
) -> Result<Vec<Out>, FieldError> {
    match raw {
        None => Ok(Vec::new()),
        Some(OneOrMany::One(one)) => Ok(vec![read(one, at)?]),
        Some(OneOrMany::Many(many)) => {
            many.iter().enumerate().map(|(index, raw)| read(raw, &format!("{at}/{index}"))).collect()
        }
    }
}

/// What is written in one condition must hold together.
fn one_of<T>(mut parts: Vec<T>, all: fn(Vec<T>) -> T, at: &str, fields: &str) -> Result<T, FieldError> {
    match parts.len() {
        0 => Err(FieldError::new(at, format!("the condition is empty; write {fields}"))),
        1 => Ok(parts.remove(0)),
        _ => Ok(all(parts)),
    }
}

fn method(text: &str, at: &str) -> Result<Arc<str>, FieldError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-') {
        return Err(FieldError::new(at, format!("{text:?} is no method; write one such as GET")));
    }
    Ok(text.to_ascii_uppercase().into())
}

fn statuses(raw: &crds::StatusRange, at: &str) -> Result<RangeInclusive<u16>, FieldError> {
    let (min, max) = match (raw.min, raw.max) {
        (None, None) => return Err(FieldError::new(at, "missing; write min and max, such as 500 and 599")),
        (min, max) => (min.or(max).unwrap_or_default(), max.or(min).unwrap_or_default()),
    };
    if min > max || min < 100 || max > 599 {
        let problem = format!("{min} to {max} is no range of statuses; write min and max between 100 and 599");
        return Err(FieldError::new(at, problem));
    }
    Ok(min..=max)
}

fn retry_budget(raw: &crds::RetryBudget, at: &str) -> Result<RetryBudget, FieldError> {
    let budget = RetryBudget {
        ratio: raw.retry_ratio,
        min_per_second: raw.min_retries_per_second,
        ttl: duration(&raw.ttl, &format!("{at}/ttl"))?,
    };
    match budget.mistake() {
        None => Ok(budget),
        Some(("ttl", why)) => Err(FieldError::new(format!("{at}/ttl"), format!("{why}; write 10s"))),
        Some((_, why)) => Err(FieldError::new(format!("{at}/retryRatio"), format!("{why}; write 0.2"))),
    }
}

fn over(raw: &crds::WeightedDst, at: &str) -> Result<Override, FieldError> {
    let (name, port) = match raw.authority.rsplit_once(':') {
        None => (raw.authority.as_str(), None),
        Some((name, port)) => (name, Some(port)),
    };
    let invalid = || {
        let problem = format!("{:?} is no Service; write its full name, svc.ns.svc.cluster.local", raw.authority);
        FieldError::new(format!("{at}/authority"), problem)
    };
    let number = |port: &str| port.parse().ok().filter(|port| *port != 0).ok_or_else(invalid);
    let name = name.strip_suffix('.').unwrap_or(name).parse::<DnsName>().map_err(|_| invalid())?;
    Ok(Override {
        name: name.as_str().into(),
        port: port.map(number).transpose()?,
        weight: weight(&raw.weight, &format!("{at}/weight"))?,
    })
}

/// A quantity, in ten-thousandths; finer ones than a thousandth are rounded up, as Kubernetes does.
fn weight(raw: &IntOrString, at: &str) -> Result<u32, FieldError> {
    let text = match raw {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(text) => text.clone(),
    };
    let thousandths = quantity(&text).and_then(|thousandths| u32::try_from(thousandths.checked_mul(10)?).ok());
    thousandths
        .ok_or_else(|| FieldError::new(at, format!("{text:?} is no weight; write a number such as 1, 0.5 or 500m")))
}

/// A decimal number with an optional suffix m, k or M, in thousandths.
fn quantity(text: &str) -> Option<u64> {
    let (number, thousandths) = match text.as_bytes().last()? {
        b'm' => (&text[..text.len() - 1], 1),
        b'k' => (&text[..text.len() - 1], 1_000_000),
        b'M' => (&text[..text.len() - 1], 1_000_000_000),
        _ => (text, 1_000),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || whole.len() + fraction.len() == 0 {
        return None;
    }
    let parsed = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u64>().ok() };
    let scale = 10u64.pow(fraction.len() as u32);
    let fraction = parsed(fraction)?.checked_mul(thousandths)?.div_ceil(scale);
    parsed(whole)?.checked_mul(thousandths)?.checked_add(fraction)
}

fn opaque_ports(entries: &[String]) -> Result<PortSet, FieldError> {
    for (index, entry) in entries.iter().enumerate() {
        PortSet::numbers(entry).map_err(|error| FieldError::new(format!("/spec/opaquePorts/{index}"), error))?;
    }
    Ok(PortSet::read(&entries.join(",")))
}
