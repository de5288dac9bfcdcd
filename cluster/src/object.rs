//! The objects that a mesh reads, one narrow struct for each kind.

pub(crate) mod kubernetes;
pub(crate) mod policy;
pub(crate) mod profile;
pub(crate) mod workload;

use crate::PortLists;
use kubernetes::{EndpointSlice, Namespace, Node, Pod, Service};
use policy::{
    AuthorizationPolicy, HttpRoute, MeshTlsAuthentication, NetworkAuthentication, Server, ServerAuthorization,
};
use profile::ServiceProfile;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use workload::ExternalWorkload;

/// An object's namespace and name. The `namespace` of a Namespace or a Node is empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl Key {
    /// A namespaced object's key.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// A Namespace's or a Node's key.
    pub fn cluster(name: &str) -> Self {
        Self::new("", name)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// What every object carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    pub key: Key,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Parsed from the annotations.
    pub ports: PortLists,
    pub created: Option<jiff::Timestamp>,
    /// Kind and name of the controlling owner, else of the first.
    pub owner: Option<(String, String)>,
}

impl Meta {
    /// Metadata with nothing but a key.
    pub fn named(key: Key) -> Self {
        let (labels, annotations) = (BTreeMap::new(), BTreeMap::new());
        Self { key, labels, annotations, ports: PortLists::default(), created: None, owner: None }
    }

    /// An annotation's value.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(String::as_str)
    }

    /// Oldest first, then by name: the order in which one of two conflicting objects wins (C.1). No date is newest.
    pub fn precedence(&self) -> (bool, Option<jiff::Timestamp>, &Key) {
        (self.created.is_none(), self.created, &self.key)
    }
}

macro_rules! kinds {
    ($($variant:ident($object:ident) $name:literal,)+) => {
        /// A kind of object. Both groups' HTTPRoutes are kinds of their own: they may share a name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $($variant,)+
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name in manifests and messages.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }

        /// An object of any kind.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Object {
            $($variant(Arc<$object>),)+
        }

        impl Object {
            /// The object's kind.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$variant(_) => Kind::$variant,)+
                }
            }

            /// The object's metadata.
            pub fn meta(&self) -> &Meta {
                match self {
                    $(Self::$variant(object) => &object.meta,)+
                }
            }
        }
    };
}

kinds! {
    Namespace(Namespace) "Namespace",
    Node(Node) "Node",
    Service(Service) "Service",
    Pod(Pod) "Pod",
    EndpointSlice(EndpointSlice) "EndpointSlice",
    ExternalWorkload(ExternalWorkload) "ExternalWorkload",
    ServiceProfile(ServiceProfile) "ServiceProfile",
    Server(Server) "Server",
    ServerAuthorization(ServerAuthorization) "ServerAuthorization",
    AuthorizationPolicy(AuthorizationPolicy) "AuthorizationPolicy",
    MeshTlsAuthentication(MeshTlsAuthentication) "MeshTLSAuthentication",
    NetworkAuthentication(NetworkAuthentication) "NetworkAuthentication",
    HttpRoute(HttpRoute) "HTTPRoute",
    GatewayHttpRoute(HttpRoute) "HTTPRoute.gateway.networking.k8s.io",
}

impl Object {
    /// Namespace and name.
    pub fn key(&self) -> &Key {
        &self.meta().key
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happened to one object.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// New, or different from before.
    Upsert(Object),
    Delete(Kind, Key),
}
