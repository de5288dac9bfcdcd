//! Where traffic to a destination goes, and how: the policy as `OutboundPolicies.Watch` sends it (A.2.2, C.3).

use crate::{Endpoint, Filter, HostMatch, Meta, RouteMatch};
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// What an outbound policy is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Traffic {
    /// The workload that sends it, as [`crate::WorkloadRef::parse`] reads it.
    pub source: Arc<str>,
    pub target: Target,
}

/// A destination, as a proxy sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// An original destination.
    Addr(SocketAddr),
    /// A name, and perhaps `:port`.
    Authority(Arc<str>),
}

/// The policy of one destination.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboundPolicy {
    /// The parent: the Service and its port, or a default.
    pub meta: Meta,
    pub protocol: OutboundProtocol,
}

/// What the destination speaks, and the routes for it.
#[derive(Debug, Clone, PartialEq)]
pub enum OutboundProtocol {
    /// Wait up to `timeout` for the first bytes, then decide; none in time means opaque.
    Detect {
        timeout: Duration,
        http1: HttpRouting,
        http2: HttpRouting,
        opaque: Arc<[OpaqueRoute]>,
    },
    Http1(HttpRouting),
    Http2(HttpRouting),
    Grpc(HttpRouting),
    Opaque(Arc<[OpaqueRoute]>),
    /// The application speaks TLS, which the proxy routes by SNI and does not end.
    Tls(Arc<[TlsRoute]>),
}

/// The routes of one version of HTTP. None that matches: the request is refused.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HttpRouting {
    pub routes: Arc<[OutboundRoute]>,
    /// `None`: endpoints are not ejected.
    pub failure_accrual: Option<FailureAccrual>,
}

/// A route of requests.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboundRoute {
    pub meta: Meta,
    /// Empty: every host.
    pub hosts: Vec<HostMatch>,
    pub rules: Vec<OutboundRule>,
}

/// One rule: any of the matches, then all of the filters, then one of the backends.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OutboundRule {
    /// Empty: every request.
    pub matches: Vec<RouteMatch>,
    pub filters: Vec<Filter>,
    pub backends: Distribution<Filter>,
    pub timeouts: Timeouts,
    pub retry: Option<Retry>,
    /// Whether the application's `l5d-…` headers may change timeouts and retries (A.1.9).
    pub allow_l5d_headers: bool,
}

/// A route of whole connections.
#[derive(Debug, Clone, PartialEq)]
pub struct OpaqueRoute {
    pub meta: Meta,
    pub rule: OpaqueRule,
}

/// A route of TLS connections, by the name in the ClientHello.
#[derive(Debug, Clone, PartialEq)]
pub struct TlsRoute {
    pub meta: Meta,
    /// Empty: every SNI.
    pub snis: Vec<HostMatch>,
    pub rule: OpaqueRule,
}

/// Where a connection goes, unless a filter refuses it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OpaqueRule {
    pub filters: Vec<OpaqueFilter>,
    pub backends: Distribution<OpaqueFilter>,
}

/// Why a connection is closed; every kind of filter closes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpaqueFilter {
    /// The policy does not allow it.
    Forbidden,
    /// The configuration makes no sense: what is wrong with it.
    Invalid(Arc<str>),
    /// A filter of a kind this build does not know.
    Unknown,
}

/// How a rule chooses among backends.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Distribution<F> {
    /// Nowhere: whatever comes here is refused.
    #[default]
    Empty,
    /// The first one that has a ready endpoint. Never an empty list.
    FirstAvailable(Arc<[RouteBackend<F>]>),
    /// By weight, among those that have a ready endpoint. Never an empty list; the weights are not all zero.
    RandomAvailable(Arc<[(u32, RouteBackend<F>)]>),
}

/// A backend, and the filters for what goes there.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteBackend<F> {
    pub backend: Backend,
    pub filters: Vec<F>,
}

/// Where requests and connections go.
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    pub meta: Meta,
    pub queue: Option<Queue>,
    pub dispatch: Dispatch,
}

/// How a backend is reached.
#[derive(Debug, Clone, PartialEq)]
pub enum Dispatch {
    /// One endpoint, without discovery.
    Forward(Endpoint),
    /// The endpoints that `Destination.Get` names for the path, `svc.ns.svc.cluster.local:port`.
    Balancer { path: Arc<str>, load: Load },
    /// It cannot be reached: what the backend's filters do not answer themselves is refused.
    Fail,
}

/// What may wait while no endpoint is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// In requests, or connections.
    pub capacity: u32,
    /// No endpoint has been ready for so long: what waits is refused.
    pub failfast: Duration,
}

/// How an endpoint's load is estimated: the peak of its moving average of latency (A.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Stands for the latency until one is measured.
    pub default_rtt: Duration,
    /// The window of the average.
    pub decay: Duration,
    /// `None`: a failure counts with its own latency.
    pub penalty: Option<LoadPenalty>,
}

/// What a failure weighs instead of its latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadPenalty {
    pub rtt: Duration,
    /// A `Retry-After` above this counts as this.
    pub max_retry_after: Duration,
    pub decay: Duration,
}

/// Limits of a request; `None` is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the request's beginning to the response's end.
    pub request: Option<Duration>,
    /// From the request's end to the response's end.
    pub response: Option<Duration>,
    /// Without a frame in either direction.
    pub idle: Option<Duration>,
}

/// When and how often a request is sent again.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    pub max_retries: u32,
    /// A request with a larger body is not sent again.
    pub max_request_bytes: u32,
    pub on: RetryOn,
    /// For one attempt's response headers.
    pub timeout: Option<Duration>,
    /// `None`: at once.
    pub backoff: Option<Backoff>,
}

/// The responses that are asked for again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryOn {
    Statuses(Vec<RangeInclusive<u16>>),
    Grpc(GrpcConditions),
}

/// The gRPC statuses that are asked for again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GrpcConditions {
    pub cancelled: bool,
    pub deadline_exceeded: bool,
    pub resource_exhausted: bool,
    pub internal: bool,
    pub unavailable: bool,
}

/// A wait that doubles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    pub min: Duration,
    /// Not below `min`.
    pub max: Duration,
    /// Of the wait, the share that may be added at random; not negative.
    pub jitter: f32,
    /// A `Retry-After` is the first wait, between `min` and `max`.
    pub respect_retry_after: bool,
}

/// When an endpoint is ejected (A.2.4).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FailureAccrual {
    pub kind: AccrualKind,
    /// How long until the first probe.
    pub backoff: Backoff,
    /// So many endpoints stay, whatever they answer.
    pub min_ready_endpoints: u32,
}

/// Which failures eject an endpoint. A number that is zero ejects none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AccrualKind {
    Consecutive {
        max_failures: u32,
    },
    /// Too many in a row, or too small a share of successes.
    Unified {
        max_failures: u32,
        /// 0 to 1.
        success_rate: f64,
        window: Duration,
        /// So many in the window before the share counts.
        min_requests: u32,
    },
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addr(addr) => addr.fmt(f),
            Self::Authority(name) => f.write_str(name),
        }
    }
}
