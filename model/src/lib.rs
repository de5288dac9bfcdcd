//! The values of the mesh: identities, workloads, endpoints, policies and refusals.
//!
//! Nothing here does I/O, waits, or reads a clock. Whatever can be invalid is parsed once, at the edge, into a type
//! that cannot be; every other crate speaks in these types.

mod endpoint;
mod identity;
mod meta;
mod outbound;
mod policy;
mod profile;
mod refusal;
mod route;
mod workload;

pub use endpoint::{Endpoint, EndpointChange, EndpointSet, Http2KeepAlive, Http2Params, ProtocolHint, TlsIdentity};
pub use identity::{DnsName, Identity, InvalidName, InvalidPeer, Peer, SpiffeId, TrustDomain};
pub use meta::{Labels, Meta};
pub use outbound::{
    AccrualKind, Backend, Backoff, Dispatch, Distribution, FailureAccrual, GrpcConditions, HttpRouting, Load,
    LoadPenalty, OpaqueFilter, OpaqueRoute, OpaqueRule, OutboundPolicy, OutboundProtocol, OutboundRoute, OutboundRule,
    Queue, Retry, RetryOn, RouteBackend, Target, Timeouts, TlsRoute, Traffic,
};
pub use policy::{
    Authentication, Authorization, DefaultPolicy, IdentityMatch, InboundPolicy, InboundProtocol, NetworkMatch,
    RateLimit, RateOverride,
};
pub use profile::{Profile, ProfileRoute, RequestMatch, ResponseClass, ResponseMatch, RetryBudget, WeightedAuthority};
pub use refusal::Refusal;
pub use route::{
    Filter, HeaderMatch, HeaderModifier, HostMatch, InboundRoute, PathMatch, QueryMatch, Ratio, Redirect, RouteMatch,
    RouteRule, ValueMatch,
};
pub use workload::{ContextToken, InvalidWorkload, WorkloadKind, WorkloadRef};
