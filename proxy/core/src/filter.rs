//! What a route's filters make of a request: other headers, or an answer without an upstream.

mod fields;

pub use fields::{is_protected, modified};

use crate::route::Head;
use outrigger_model::{Filter, HeaderModifier, Ratio, Redirect};
use std::sync::Arc;
use thiserror::Error;

/// A rule's filters, compiled once.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    /// For the request that goes on, in this order.
    pub request: Vec<HeaderModifier>,
    /// For the response that goes back.
    pub response: Vec<HeaderModifier>,
    /// Names that the filters change and that only a proxy may: those changes are left out.
    pub ignored: Vec<Arc<str>>,
    ends: Vec<End>,
}

/// A filter that answers the request.
#[derive(Debug, Clone)]
enum End {
    Redirect(Redirect),
    Fail(Answer, Ratio),
}

/// An answer that a filter gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Redirect {
        status: u16,
        location: Arc<str>,
    },
    Fail {
        status: u16,
        message: Arc<str>,
    },
    /// As `grpc-status`.
    FailGrpc {
        code: u16,
        message: Arc<str>,
    },
    /// The filter is of an unknown kind, or cannot be applied to this request.
    Invalid(&'static str),
}

/// A filter that cannot be applied to any request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidFilter {
    #[error("{0:?} is no header name")]
    HeaderName(Arc<str>),
    #[error("the value of the header {0} holds what no header may")]
    HeaderValue(Arc<str>),
    #[error("a redirect's {0} {1:?} is no part of a URI")]
    Location(&'static str, Arc<str>),
    #[error("{0} is no status that a redirect may have")]
    RedirectStatus(u16),
    #[error("{0} is no status that ends a request")]
    Status(u16),
}

impl Filters {
    /// `None`: there are no filters.
    pub fn compile(filters: &[Filter]) -> Result<Option<Self>, InvalidFilter> {
        let mut compiled = Self::default();
        for filter in filters {
            match filter {
                Filter::RequestHeaders(headers) => {
                    let headers = fields::check(headers, &mut compiled.ignored)?;
                    compiled.request.push(headers);
                }
                Filter::ResponseHeaders(headers) => {
                    let headers = fields::check(headers, &mut compiled.ignored)?;
                    compiled.response.push(headers);
                }
                Filter::Redirect(redirect) => compiled.ends.push(End::Redirect(checked(redirect)?)),
                Filter::Fail { status, message, ratio } => {
                    if !(200..600).contains(status) {
                        return Err(InvalidFilter::Status(*status));
                    }
                    compiled.ends.push(End::Fail(Answer::Fail { status: *status, message: shown(message) }, *ratio));
                }
                Filter::FailGrpc { code, message, ratio } => {
                    compiled.ends.push(End::Fail(Answer::FailGrpc { code: *code, message: shown(message) }, *ratio));
                }
                Filter::Unknown => {
                    compiled.ends.push(End::Fail(Answer::Invalid("a filter of an unknown kind"), Ratio::ALL));
                }
            }
        }
        Ok((!filters.is_empty()).then_some(compiled))
    }

    /// These, after the header changes of `earlier`, whose answers were given already.
    #[must_use]
    pub fn after(self, earlier: &Self) -> Self {
        let joined = |first: &[HeaderModifier], then: Vec<HeaderModifier>| first.iter().cloned().chain(then).collect();
        Self {
            request: joined(&earlier.request, self.request),
            response: joined(&earlier.response, self.response),
            ..self
        }
    }

    /// The first filter's answer that applies; `random` is 64 uniform bits. None: the request goes on.
    pub fn answer(&self, request: &impl Head, random: u64) -> Option<Answer> {
        self.ends.iter().find_map(|end| match end {
            End::Fail(answer, ratio) => applies(*ratio, random).then(|| answer.clone()),
            End::Redirect(redirect) => redirected(redirect, request),
        })
    }
}

fn applies(ratio: Ratio, random: u64) -> bool {
    (u128::from(random) * u128::from(ratio.denominator)) >> 64 < u128::from(ratio.numerator)
}

fn checked(redirect: &Redirect) -> Result<Redirect, InvalidFilter> {
    let scheme = |c: u8| c.is_ascii_alphanumeric() || b"+-.".contains(&c);
    let host = |c: u8| c.is_ascii_graphic() && !b"/?#@\\\"<>".contains(&c);
    let path = |c: u8| c.is_ascii_graphic();
    let parts = [("scheme", &redirect.scheme), ("host", &redirect.host), ("path", &redirect.path)];
    for (what, part) in parts {
        let Some(part) = part else { continue };
        let fits = !part.is_empty()
            && part.bytes().all(|c| match what {
                "scheme" => scheme(c),
                "host" => host(c),
                _ => path(c),
            })
            && (what != "path" || part.starts_with('/'));
        if !fits {
            return Err(InvalidFilter::Location(what, part.clone()));
        }
    }
    if !(300..400).contains(&redirect.status) {
        return Err(InvalidFilter::RedirectStatus(redirect.status));
    }
    Ok(redirect.clone())
}

/// The redirect's location for the request; none if that is where the request goes already.
fn redirected(redirect: &Redirect, request: &impl Head) -> Option<Answer> {
    let Some(authority) = request.authority() else {
        return Some(Answer::Invalid("a redirect of a request that names no host"));
    };
    let scheme = redirect.scheme.as_deref().unwrap_or_else(|| request.scheme());
    let default_port = match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    let asked_host = request.host().unwrap_or(authority);
    let asked_port = authority.strip_prefix(asked_host).and_then(|port| port.strip_prefix(':')?.parse().ok());
    let host = redirect.host.as_deref().unwrap_or(asked_host);
    let port: Option<u16> = match (&redirect.host, redirect.port) {
        (Some(_), Some(port)) => Some(port),
        (_, port) => port.or(asked_port).filter(|port| Some(*port) != default_port),
    };
    let path = match (&redirect.path, request.query()) {
        (Some(path), _) => path.to_string(),
        (None, "") => request.path().to_owned(),
        (None, query) => format!("{}?{query}", request.path()),
    };
    let here = scheme == request.scheme()
        && host == asked_host
        && (port == asked_port || (port.is_none() && asked_port == default_port))
        && redirect.path.as_deref().is_none_or(|path| path == request.path() && request.query().is_empty());
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    let location = format!("{scheme}://{host}{port}{path}").into();
    (!here).then_some(Answer::Redirect { status: redirect.status, location })
}

/// What a header may hold of a message.
fn shown(message: &str) -> Arc<str> {
    message.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect::<String>().into()
}

#[cfg(test)]
mod tests;
