//! Hosts, matches and filters of HTTP routes, inbound and outbound.

use crate::{InvalidMessage, all};
use linkerd2_proxy_api::http_route::{self as wire, host_match, path_match, path_modifier};
use linkerd2_proxy_api::http_types::headers::Header;
use linkerd2_proxy_api::http_types::{Headers, HttpMethod, Scheme, http_method};
use outrigger_model::{
    Filter, HeaderMatch, HeaderModifier, HostMatch, PathMatch, QueryMatch, Ratio, Redirect, RouteMatch, ValueMatch,
};
use std::borrow::Cow;
use std::sync::Arc;

/// What an API message leaves out of a redirect (http_route.proto, `RequestRedirect.status`).
const REDIRECT_STATUS: u16 = 301;

pub(crate) fn hosts_to_proto(hosts: &[HostMatch]) -> Vec<wire::HostMatch> {
    let host = |host: &HostMatch| match host {
        HostMatch::Exact(name) => host_match::Match::Exact(name.to_string()),
        HostMatch::Suffix(suffix) => host_match::Match::Suffix(host_match::Suffix {
            reverse_labels: suffix.rsplit('.').map(str::to_owned).collect(),
        }),
    };
    hosts.iter().map(|h| wire::HostMatch { r#match: Some(host(h)) }).collect()
}

pub(crate) fn host_from_proto(host: wire::HostMatch) -> Result<HostMatch, InvalidMessage> {
    match host.r#match {
        Some(host_match::Match::Exact(name)) => Ok(HostMatch::Exact(name.to_ascii_lowercase().into())),
        Some(host_match::Match::Suffix(suffix)) if !suffix.reverse_labels.iter().all(String::is_empty) => {
            let labels: Vec<_> = suffix.reverse_labels.iter().rev().map(|l| l.to_ascii_lowercase()).collect();
            Ok(HostMatch::Suffix(labels.join(".").into()))
        }
        Some(host_match::Match::Suffix(_)) => Err(InvalidMessage::new("suffix.reverse_labels", "it is empty")),
        None => Err(InvalidMessage::new("match", "it is missing or of an unknown kind")),
    }
}

pub(crate) fn match_to_proto(matched: &RouteMatch) -> wire::HttpRouteMatch {
    let path = |path: &PathMatch| match path {
        PathMatch::Exact(path) => path_match::Kind::Exact(path.to_string()),
        PathMatch::Prefix(path) => path_match::Kind::Prefix(path.to_string()),
        PathMatch::Regex(path) => path_match::Kind::Regex(path.to_string()),
    };
    let query = |query: &QueryMatch| wire::QueryParamMatch {
        name: query.name.to_string(),
        value: Some(match &query.value {
            ValueMatch::Exact(value) => wire::query_param_match::Value::Exact(value.to_string()),
            ValueMatch::Regex(value) => wire::query_param_match::Value::Regex(value.to_string()),
        }),
    };
    wire::HttpRouteMatch {
        path: matched.path.as_ref().map(|p| wire::PathMatch { kind: Some(path(p)) }),
        headers: matched.headers.iter().map(header_match_to_proto).collect(),
        query_params: matched.query.iter().map(query).collect(),
        method: matched.method.as_deref().map(method_to_proto),
    }
}

pub(crate) fn match_from_proto(message: wire::HttpRouteMatch) -> Result<RouteMatch, InvalidMessage> {
    let path = |path: wire::PathMatch| match path.kind {
        Some(path_match::Kind::Exact(path)) => Ok(PathMatch::Exact(path.into())),
        Some(path_match::Kind::Prefix(path)) => Ok(PathMatch::Prefix(path.into())),
        Some(path_match::Kind::Regex(path)) => Ok(PathMatch::Regex(path.into())),
        None => Err(InvalidMessage::new("path.kind", "it is missing or of an unknown kind")),
    };
    let query = |query: wire::QueryParamMatch| {
        let value = match query.value {
            Some(wire::query_param_match::Value::Exact(value)) => ValueMatch::Exact(value.into()),
            Some(wire::query_param_match::Value::Regex(value)) => ValueMatch::Regex(value.into()),
            None => return Err(InvalidMessage::new("value", "it is missing or of an unknown kind")),
        };
        Ok(QueryMatch { name: query.name.into(), value })
    };
    Ok(RouteMatch {
        path: message.path.map(path).transpose()?,
        headers: all("headers", message.headers, header_match_from_proto)?,
        query: all("query_params", message.query_params, query)?,
        method: message.method.map(method_from_proto).transpose()?,
    })
}

pub(crate) fn header_match_to_proto(header: &HeaderMatch) -> wire::HeaderMatch {
    wire::HeaderMatch {
        name: header.name.to_string(),
        value: Some(match &header.value {
            ValueMatch::Exact(value) => wire::header_match::Value::Exact(value.as_bytes().to_vec()),
            ValueMatch::Regex(value) => wire::header_match::Value::Regex(value.to_string()),
        }),
    }
}

pub(crate) fn header_match_from_proto(header: wire::HeaderMatch) -> Result<HeaderMatch, InvalidMessage> {
    let value = match header.value {
        Some(wire::header_match::Value::Exact(value)) => ValueMatch::Exact(text("exact", value)?),
        Some(wire::header_match::Value::Regex(value)) => ValueMatch::Regex(value.into()),
        None => return Err(InvalidMessage::new("value", "it is missing or of an unknown kind")),
    };
    Ok(HeaderMatch { name: header_name(&header.name)?, value })
}

pub(crate) fn method_to_proto(method: &str) -> HttpMethod {
    // A method that is no HTTP token matches no request; as unregistered text it still matches none.
    let unregistered = || http_method::Type::Unregistered(method.to_owned());
    let kind = method.parse::<::http::Method>().map_or_else(|_| unregistered(), http_method::Type::from);
    HttpMethod { r#type: Some(kind) }
}

pub(crate) fn method_from_proto(method: HttpMethod) -> Result<Arc<str>, InvalidMessage> {
    ::http::Method::try_from(method).map(|m| m.as_str().into()).map_err(|why| InvalidMessage::new("method", why))
}

pub(crate) fn fail_to_proto(status: u16, message: &str, ratio: Ratio) -> wire::HttpFailureInjector {
    wire::HttpFailureInjector { status: status.into(), message: message.to_owned(), ratio: ratio_to_proto(ratio) }
}

pub(crate) fn fail_from_proto(fail: wire::HttpFailureInjector) -> Result<Filter, InvalidMessage> {
    Ok(Filter::Fail {
        status: status_from_proto(fail.status)?,
        message: fail.message.into(),
        ratio: ratio_from_proto(fail.ratio)?,
    })
}

pub(crate) fn ratio_to_proto(ratio: Ratio) -> Option<wire::Ratio> {
    let Ratio { numerator, denominator } = ratio;
    (ratio != Ratio::ALL).then_some(wire::Ratio { numerator, denominator })
}

pub(crate) fn ratio_from_proto(ratio: Option<wire::Ratio>) -> Result<Ratio, InvalidMessage> {
    match ratio {
        None => Ok(Ratio::ALL),
        Some(wire::Ratio { numerator, denominator }) if denominator != 0 && numerator <= denominator => {
            Ok(Ratio { numerator, denominator })
        }
        Some(_) => Err(InvalidMessage::new("ratio", "it is not between 0 and 1")),
    }
}

pub(crate) fn headers_to_proto(modifier: &HeaderModifier) -> wire::RequestHeaderModifier {
    let list = |pairs: &[(Arc<str>, Arc<str>)]| {
        let header =
            |(name, value): &(Arc<str>, Arc<str>)| Header { name: name.to_string(), value: value.as_bytes().to_vec() };
        (!pairs.is_empty()).then(|| Headers { headers: pairs.iter().map(header).collect() })
    };
    wire::RequestHeaderModifier {
        add: list(&modifier.add),
        set: list(&modifier.set),
        remove: modifier.remove.iter().map(ToString::to_string).collect(),
    }
}

pub(crate) fn headers_from_proto(modifier: wire::RequestHeaderModifier) -> Result<HeaderModifier, InvalidMessage> {
    let header = |header: Header| Ok((header_name(&header.name)?, text("value", header.value)?));
    let list = |field, headers: Option<Headers>| all(field, headers.unwrap_or_default().headers, header);
    Ok(HeaderModifier {
        set: list("set", modifier.set)?,
        add: list("add", modifier.add)?,
        remove: all("remove", modifier.remove, |name| header_name(&name))?,
    })
}

pub(crate) fn redirect_to_proto(redirect: &Redirect) -> wire::RequestRedirect {
    let full = |path: &Arc<str>| wire::PathModifier { replace: Some(path_modifier::Replace::Full(path.to_string())) };
    wire::RequestRedirect {
        scheme: redirect.scheme.as_deref().map(Into::into),
        host: redirect.host.as_deref().unwrap_or_default().to_owned(),
        path: redirect.path.as_ref().map(full),
        port: redirect.port.unwrap_or_default().into(),
        status: redirect.status.into(),
    }
}

pub(crate) fn redirect_from_proto(redirect: wire::RequestRedirect) -> Result<Filter, InvalidMessage> {
    let path = match redirect.path {
        None => None,
        Some(wire::PathModifier { replace: Some(path_modifier::Replace::Full(path)) }) => Some(path.into()),
        // To replace a prefix, or to do what this build has never heard of, is nothing the model can say.
        Some(wire::PathModifier { replace: Some(path_modifier::Replace::Prefix(_)) | None }) => {
            return Ok(Filter::Unknown);
        }
    };
    let scheme = |scheme: Scheme| {
        let kind = scheme.r#type.ok_or_else(|| InvalidMessage::new("scheme", "it is missing or of an unknown kind"))?;
        let name: Result<Cow<'static, str>, _> = (&kind).try_into();
        name.map(|name| name.as_ref().into()).map_err(|why| InvalidMessage::new("scheme", why))
    };
    let port = u16::try_from(redirect.port).map_err(|_| InvalidMessage::new("port", "it is above 65535"))?;
    Ok(Filter::Redirect(Redirect {
        scheme: redirect.scheme.map(scheme).transpose()?,
        host: Some(redirect.host).filter(|host| !host.is_empty()).map(Into::into),
        port: (port != 0).then_some(port),
        path,
        status: if redirect.status == 0 { REDIRECT_STATUS } else { status_from_proto(redirect.status)? },
    }))
}

fn status_from_proto(status: u32) -> Result<u16, InvalidMessage> {
    let valid = u16::try_from(status).ok().filter(|status| (100..600).contains(status));
    valid.ok_or_else(|| InvalidMessage::new("status", format!("{status} is no HTTP status; it must be 100 to 599")))
}

fn header_name(name: &str) -> Result<Arc<str>, InvalidMessage> {
    let parsed: ::http::HeaderName = name.parse().map_err(|why| InvalidMessage::new("name", why))?;
    Ok(parsed.as_str().into())
}

fn text(field: &str, bytes: Vec<u8>) -> Result<Arc<str>, InvalidMessage> {
    String::from_utf8(bytes).map(Into::into).map_err(|_| InvalidMessage::new(field, "it is not UTF-8"))
}
