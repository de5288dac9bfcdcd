//! HTTP routes: which requests they match, what filters do to those, and, inbound, who may send them.

use crate::{Authorization, Meta};
use std::sync::Arc;

/// A route with authorizations of its own, beside the server's.
#[derive(Debug, Clone, PartialEq)]
pub struct InboundRoute {
    pub meta: Meta,
    /// Empty: every host.
    pub hosts: Vec<HostMatch>,
    pub authorizations: Arc<[Authorization]>,
    pub rules: Vec<RouteRule>,
}

/// One rule: any of the matches, then all of the filters.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RouteRule {
    /// Empty: every request.
    pub matches: Vec<RouteMatch>,
    pub filters: Vec<Filter>,
}

/// All parts that are given must match.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RouteMatch {
    pub path: Option<PathMatch>,
    pub headers: Vec<HeaderMatch>,
    pub query: Vec<QueryMatch>,
    /// In upper case, as it stands in the request line.
    pub method: Option<Arc<str>>,
}

/// Hosts, lower-cased, without port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostMatch {
    Exact(Arc<str>),
    /// `example.com` of `*.example.com`: at least one label more.
    Suffix(Arc<str>),
}

/// Paths, without query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    Exact(Arc<str>),
    /// Whole segments: `/a` matches `/a` and `/a/b`, not `/ab`.
    Prefix(Arc<str>),
    /// Matches the whole path.
    Regex(Arc<str>),
}

/// A header, or its absence from the request, by exact value or whole-value regular expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderMatch {
    /// Lower-cased.
    pub name: Arc<str>,
    pub value: ValueMatch,
}

/// A query parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryMatch {
    pub name: Arc<str>,
    pub value: ValueMatch,
}

/// A value, exactly or by a regular expression that must match all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueMatch {
    Exact(Arc<str>),
    Regex(Arc<str>),
}

/// What a matching rule does to the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    RequestHeaders(HeaderModifier),
    ResponseHeaders(HeaderModifier),
    Redirect(Redirect),
    /// A fixed answer, as a controller sends for what it refuses.
    Fail {
        status: u16,
        message: Arc<str>,
        ratio: Ratio,
    },
    /// The same in gRPC: a code of `grpc-status`.
    FailGrpc {
        code: u16,
        message: Arc<str>,
        ratio: Ratio,
    },
    /// A filter of a kind this build does not know: every request that meets it is refused.
    Unknown,
}

/// A share of the requests, at most all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio {
    pub numerator: u32,
    /// Not zero, and not below the numerator.
    pub denominator: u32,
}

impl Ratio {
    /// Every request.
    pub const ALL: Self = Self { numerator: 1, denominator: 1 };
}

/// Header changes, in the order add, set, remove (http_route.proto, `RequestHeaderModifier` and `ResponseHeaderModifier`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderModifier {
    pub set: Vec<(Arc<str>, Arc<str>)>,
    pub add: Vec<(Arc<str>, Arc<str>)>,
    pub remove: Vec<Arc<str>>,
}

/// An answer with a `Location`; parts not given are the request's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redirect {
    pub scheme: Option<Arc<str>>,
    pub host: Option<Arc<str>>,
    pub port: Option<u16>,
    /// Replaces the whole path.
    pub path: Option<Arc<str>>,
    /// A manifest's default is 302 (Gateway API), a message's 301 (http_route.proto).
    pub status: u16,
}
