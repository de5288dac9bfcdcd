//! HTTPRoutes of both groups: one shape, the Gateway API's.

use super::values::{group as group_of, namespaced, port, typed};
use crate::error::FieldError;
use crate::{HttpRoute, Object, ObjectRef, ParentRef};
use outrigger_crds::{self as crds, GATEWAY_GROUP, POLICY_GROUP, PathMatchType, ValueMatchType};
use outrigger_model::{
    DnsName, Filter, HeaderMatch, HeaderModifier, HostMatch, PathMatch, QueryMatch, Redirect, RouteMatch, RouteRule,
    ValueMatch,
};
use serde_json::Value;
use std::sync::Arc;

pub(super) fn policy(value: Value) -> Result<Object, FieldError> {
    Ok(Object::HttpRoute(Arc::new(route(value, POLICY_GROUP)?)))
}

pub(super) fn gateway(value: Value) -> Result<Object, FieldError> {
    Ok(Object::GatewayHttpRoute(Arc::new(route(value, GATEWAY_GROUP)?)))
}

/// Unknown fields inside the matches of a route: without them it would match more than was written. Elsewhere the
/// Gateway API may have fields that are newer than ours.
pub(super) fn unknown_matches(value: &Value) -> Vec<FieldError> {
    let ours = crds::definitions().iter().find(|d| d.kind == "HTTPRoute").and_then(|d| d.versions.last());
    let unknown = ours.map(|version| version.unknown_fields(value)).unwrap_or_default();
    let inside = |pointer: &str| {
        let steps: Vec<_> = pointer.split('/').collect();
        matches!(steps.as_slice(), ["", "spec", "rules", _, "matches", ..])
    };
    unknown.iter().filter(|field| inside(&field.pointer)).map(super::unknown_field).collect()
}

fn route(value: Value, group: &'static str) -> Result<HttpRoute, FieldError> {
    let raw: crds::HttpRoute = typed(value)?;
    let parents = raw.spec.parent_refs.unwrap_or_default();
    let parents = parents.into_iter().enumerate().map(|(index, raw)| parent(raw, index, group));
    let hosts = raw.spec.hostnames.unwrap_or_default();
    // No rules at all stand for one rule without matches, an empty list for none.
    let rules = raw.spec.rules.unwrap_or_else(|| vec![crds::RouteRule::default()]);
    let rules = rules.iter().enumerate().map(|(index, raw)| rule(raw, &format!("/spec/rules/{index}"), group));
    Ok(HttpRoute {
        meta: namespaced(raw.metadata)?,
        group,
        parents: parents.collect::<Result<_, _>>()?,
        hosts: hosts.iter().enumerate().map(host).collect::<Result<_, _>>()?,
        rules: rules.collect::<Result<_, _>>()?,
    })
}

fn parent(raw: crds::ParentRef, index: usize, group: &str) -> Result<ParentRef, FieldError> {
    let at = format!("/spec/parentRefs/{index}/port");
    Ok(ParentRef {
        target: ObjectRef {
            group: group_of(Some(raw.group.as_deref().unwrap_or(group))),
            kind: raw.kind.unwrap_or_else(|| "Gateway".to_owned()),
            namespace: raw.namespace.filter(|namespace| !namespace.is_empty()),
            name: raw.name,
        },
        port: raw.port.map(|number| port(number.into(), &at)).transpose()?,
        section: raw.section_name,
    })
}

fn host((index, text): (usize, &String)) -> Result<HostMatch, FieldError> {
    let (bare, suffix) = match text.strip_prefix("*.") {
        Some(rest) => (rest, true),
        None => (text.as_str(), false),
    };
    let at = format!("/spec/hostnames/{index}");
    let name: DnsName = bare.parse().map_err(|error| FieldError::new(at, error))?;
    let name: Arc<str> = name.as_str().into();
    Ok(if suffix { HostMatch::Suffix(name) } else { HostMatch::Exact(name) })
}

fn rule(raw: &crds::RouteRule, at: &str, group: &str) -> Result<RouteRule, FieldError> {
    let matches = raw.matches.iter().flatten().enumerate();
    let filters = raw.filters.iter().flatten().enumerate();
    Ok(RouteRule {
        matches: matches.map(|(i, raw)| route_match(raw, &format!("{at}/matches/{i}"))).collect::<Result<_, _>>()?,
        filters: filters.map(|(i, raw)| filter(raw, &format!("{at}/filters/{i}"), group)).collect::<Result<_, _>>()?,
    })
}

fn route_match(raw: &crds::RouteMatch, at: &str) -> Result<RouteMatch, FieldError> {
    let headers = raw.headers.iter().flatten().enumerate().map(|(index, raw)| {
        let at = format!("{at}/headers/{index}");
        Ok(HeaderMatch { name: header_name(&raw.name, &format!("{at}/name"))?, value: value_match(raw, &at)? })
    });
    let query = raw.query_params.iter().flatten().enumerate().map(|(index, raw)| {
        let at = format!("{at}/queryParams/{index}");
        Ok(QueryMatch { name: raw.name.as_str().into(), value: value_match(raw, &at)? })
    });
    let method = raw.method.as_deref();
    if let Some(method) = method.filter(|m| m.is_empty() || !m.bytes().all(|b| b.is_ascii_uppercase())) {
        let problem = format!("{method:?} is no method; write one in upper case, such as GET");
        return Err(FieldError::new(format!("{at}/method"), problem));
    }
    Ok(RouteMatch {
        path: raw.path.as_ref().map(|raw| path_match(raw, &format!("{at}/path/value"))).transpose()?,
        headers: headers.collect::<Result<_, FieldError>>()?,
        query: query.collect::<Result<_, FieldError>>()?,
        method: method.map(Into::into),
    })
}

fn path_match(raw: &crds::PathMatch, at: &str) -> Result<PathMatch, FieldError> {
    let value: Arc<str> = raw.value.as_str().into();
    if raw.type_ == PathMatchType::RegularExpression {
        return regex(&raw.value, at).map(PathMatch::Regex);
    }
    if !value.starts_with('/') {
        return Err(FieldError::new(at, format!("{value:?} is no path; begin it with /")));
    }
    Ok(if raw.type_ == PathMatchType::Exact { PathMatch::Exact(value) } else { PathMatch::Prefix(value) })
}

fn value_match(raw: &crds::ValueMatch, at: &str) -> Result<ValueMatch, FieldError> {
    match raw.type_ {
        ValueMatchType::Exact => Ok(ValueMatch::Exact(raw.value.as_str().into())),
        ValueMatchType::RegularExpression => regex(&raw.value, &format!("{at}/value")).map(ValueMatch::Regex),
    }
}

/// A regular expression as the proxy takes it.
pub(super) fn regex(text: &str, at: &str) -> Result<Arc<str>, FieldError> {
    let invalid = |error: regex::Error| {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        FieldError::new(at, format!("{text:?} is no regular expression: {why}"))
    };
    regex::Regex::new(text).map(|_| text.into()).map_err(invalid)
}

/// Lower-cased, as headers are compared.
fn header_name(name: &str, at: &str) -> Result<Arc<str>, FieldError> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(FieldError::new(at, format!("{name:?} is no header name (RFC 9110 §5.1)")));
    }
    Ok(name.to_ascii_lowercase().into())
}

/// A filter that the inbound API cannot express becomes [`Filter::Unknown`], so that it refuses rather than vanishes:
/// response headers, and in the Gateway API's group whatever else it has.
fn filter(raw: &crds::Filter, at: &str, group: &str) -> Result<Filter, FieldError> {
    let missing = |field: &str| {
        FieldError::new(format!("{at}/{field}"), format!("missing; a filter of type {} needs it", raw.type_))
    };
    match raw.type_.as_str() {
        "RequestHeaderModifier" => {
            let raw = raw.request_header_modifier.as_ref().ok_or_else(|| missing("requestHeaderModifier"))?;
            header_modifier(raw, &format!("{at}/requestHeaderModifier")).map(Filter::RequestHeaders)
        }
        "RequestRedirect" => {
            let raw = raw.request_redirect.as_ref().ok_or_else(|| missing("requestRedirect"))?;
            redirect(raw, &format!("{at}/requestRedirect"))
        }
        "ResponseHeaderModifier" => Ok(Filter::Unknown),
        _ if group == GATEWAY_GROUP => Ok(Filter::Unknown),
        other => {
            let problem = format!(
                "unknown filter {other}; write RequestHeaderModifier, ResponseHeaderModifier or RequestRedirect"
            );
            Err(FieldError::new(format!("{at}/type"), problem))
        }
    }
}

fn header_modifier(raw: &crds::HeaderModifier, at: &str) -> Result<HeaderModifier, FieldError> {
    let values = |list: &Option<Vec<crds::HeaderValue>>, field: &str| {
        let one = |(index, raw): (usize, &crds::HeaderValue)| {
            Ok((header_name(&raw.name, &format!("{at}/{field}/{index}/name"))?, raw.value.as_str().into()))
        };
        list.iter().flatten().enumerate().map(one).collect::<Result<Vec<_>, FieldError>>()
    };
    let remove = raw.remove.iter().flatten().enumerate();
    let remove = remove.map(|(index, name)| header_name(name, &format!("{at}/remove/{index}")));
    Ok(HeaderModifier {
        set: values(&raw.set, "set")?,
        add: values(&raw.add, "add")?,
        remove: remove.collect::<Result<_, _>>()?,
    })
}

fn redirect(raw: &crds::Redirect, at: &str) -> Result<Filter, FieldError> {
    let path = match raw.path.as_ref().map(|path| (path.type_.as_str(), path.replace_full_path.as_deref())) {
        None => None,
        Some(("ReplaceFullPath", Some(path))) => Some(path.into()),
        Some(("ReplaceFullPath", None)) => {
            return Err(FieldError::new(format!("{at}/path/replaceFullPath"), "missing; write the new path"));
        }
        // Replacing a prefix needs the rule's own match, which the inbound API does not carry.
        Some(_) => return Ok(Filter::Unknown),
    };
    let status = raw.status_code.unwrap_or(302);
    if !(300..400).contains(&status) {
        return Err(FieldError::new(format!("{at}/statusCode"), format!("{status} is no redirect; write 301 or 302")));
    }
    Ok(Filter::Redirect(Redirect {
        scheme: raw.scheme.as_deref().map(Into::into),
        host: raw.hostname.as_deref().map(Into::into),
        port: raw.port.map(|number| port(number.into(), &format!("{at}/port"))).transpose()?,
        path,
        status,
    }))
}
