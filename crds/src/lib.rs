//! The custom resources of the mesh: `workload.linkerd.io`, `policy.linkerd.io` and `linkerd.io`.
//!
//! The Rust types are the source. Each describes a kind's storage version; [`definitions`] adds the older versions as
//! differences from it, and [`yaml::files`] prints what `crds/generated` holds.

mod authorization;
mod definition;
mod network;
mod profile;
mod reference;
mod route;
mod selector;
mod server;
mod workload;
pub mod yaml;

pub use authorization::{
    AuthorizationPolicy, AuthorizationPolicySpec, Client, MeshTls, MeshTlsAuthentication, MeshTlsAuthenticationSpec,
    NetworkAuthentication, NetworkAuthenticationSpec, ServerAuthorization, ServerAuthorizationSpec, ServerRef,
    ServiceAccountRef,
};
pub use definition::{Definition, UnknownField, Version, definitions};
pub use network::Network;
pub use profile::{
    OneOrMany, ProfileRoute, RequestCondition, ResponseClass, ResponseCondition, RetryBudget, ServiceProfile,
    ServiceProfileSpec, StatusRange, WeightedDst,
};
pub use reference::{AuthenticationRef, IdentityRef, TargetRef};
pub use route::{
    BackendRef, Filter, HeaderModifier, HeaderValue, HttpRoute, HttpRouteSpec, HttpRouteStatus, ParentRef,
    ParentStatus, PathMatch, PathMatchType, PathModifier, Redirect, RouteMatch, RouteRule, Timeouts, ValueMatch,
    ValueMatchType,
};
pub use selector::{Expression, Operator, Selector};
pub use server::{AccessPolicy, ProxyProtocol, Server, ServerSpec};
pub use workload::{
    ExternalWorkload, ExternalWorkloadSpec, ExternalWorkloadStatus, Port, Transport, WorkloadCondition, WorkloadIp,
    WorkloadTls,
};

/// The API group of workloads outside the cluster.
pub const WORKLOAD_GROUP: &str = "workload.linkerd.io";
/// The API group of policies.
pub const POLICY_GROUP: &str = "policy.linkerd.io";
/// The API group of ServiceProfiles.
pub const PROFILE_GROUP: &str = "linkerd.io";
/// The API group of the Gateway API, whose HTTPRoute has the shape of ours.
pub const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";
