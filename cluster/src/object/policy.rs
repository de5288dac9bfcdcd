//! policy.linkerd.io and HTTPRoutes: who may come in, at which port.

use super::kubernetes::PortRef;
use super::{Key, Meta};
use crate::Selector;
use outrigger_model::{DefaultPolicy, HostMatch, IdentityMatch, NetworkMatch, RouteRule, WorkloadKind};
use std::collections::BTreeMap;

/// Server: a port of the workloads that it selects. From its existence on the port denies by default (C.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub meta: Meta,
    pub selects: ServerSelector,
    pub port: PortRef,
    pub protocol: ServerProtocol,
    /// v1beta3 `accessPolicy`; `None` where it is not given, which means deny.
    pub access_policy: Option<DefaultPolicy>,
}

impl Server {
    /// Whether it selects a workload of its namespace with these labels.
    pub fn selects(&self, kind: WorkloadKind, labels: &BTreeMap<String, String>) -> bool {
        match (&self.selects, kind) {
            (ServerSelector::Pods(selector), WorkloadKind::Pod)
            | (ServerSelector::ExternalWorkloads(selector), WorkloadKind::ExternalWorkload) => selector.matches(labels),
            (ServerSelector::Pods(_), WorkloadKind::ExternalWorkload)
            | (ServerSelector::ExternalWorkloads(_), WorkloadKind::Pod) => false,
        }
    }
}

/// The workloads of a Server, in its own namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerSelector {
    Pods(Selector),
    ExternalWorkloads(Selector),
}

/// `proxyProtocol`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ServerProtocol {
    #[default]
    Unknown,
    Http1,
    Http2,
    Grpc,
    Opaque,
    Tls,
}

/// ServerAuthorization: who may reach the Servers that it names, in its own namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAuthorization {
    pub meta: Meta,
    pub server: ServerMatch,
    /// Empty: the cluster's networks.
    pub networks: Vec<NetworkMatch>,
    pub client: Client,
}

/// The Servers of a ServerAuthorization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerMatch {
    Name(String),
    Selector(Selector),
}

/// What a ServerAuthorization's client must prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Client {
    Unauthenticated,
    TlsUnauthenticated,
    /// Any of these; never both empty.
    Authenticated {
        identities: Vec<IdentityMatch>,
        service_accounts: Vec<Key>,
    },
}

/// A reference to another object. The core group is the empty string.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    pub group: String,
    pub kind: String,
    /// `None`: the referring object's own.
    pub namespace: Option<String>,
    pub name: String,
}

impl ObjectRef {
    /// Whether it refers to this group and kind.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    /// The key of the object referred to, seen from an object of namespace `own`.
    pub fn key(&self, own: &str) -> Key {
        Key::new(self.namespace.as_deref().unwrap_or(own), &self.name)
    }
}

/// AuthorizationPolicy: the target admits who meets every one of `required`; nothing required admits everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationPolicy {
    pub meta: Meta,
    /// A Server, HTTPRoute or GRPCRoute of the policy's own namespace, or that Namespace itself.
    pub target: ObjectRef,
    /// At most one MeshTLSAuthentication or ServiceAccount, and at most one NetworkAuthentication.
    pub required: Vec<ObjectRef>,
}

/// MeshTLSAuthentication: identities, or references to ServiceAccounts and Namespaces; any one suffices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshTlsAuthentication {
    pub meta: Meta,
    pub identities: Vec<IdentityMatch>,
    pub identity_refs: Vec<ObjectRef>,
}

/// NetworkAuthentication; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkAuthentication {
    pub meta: Meta,
    pub networks: Vec<NetworkMatch>,
}

/// HTTPRoute of policy.linkerd.io or gateway.networking.k8s.io.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpRoute {
    pub meta: Meta,
    /// The route's own API group.
    pub group: &'static str,
    pub parents: Vec<ParentRef>,
    pub hosts: Vec<HostMatch>,
    pub rules: Vec<RouteRule>,
}

/// What an HTTPRoute attaches to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentRef {
    pub target: ObjectRef,
    pub port: Option<u16>,
    pub section: Option<String>,
}
