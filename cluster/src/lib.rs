//! Kubernetes objects as a stream of changes, from a folder of manifests.
//!
//! Text becomes an [`Object`] once, here: addresses, ports, networks, identities and selectors are parsed, and what is
//! invalid is refused with the file, the object and the field. [`World`] holds the latest of every object.

mod cluster_ip;
mod document;
mod error;
pub mod folder;
mod identity;
mod object;
pub mod parse;
mod ports;
mod selector;
mod world;

pub use cluster_ip::cluster_ips;
pub use error::{FolderError, ManifestError};
pub use identity::IdentityNames;
pub use object::kubernetes::{
    ContainerPort, EndpointSlice, HttpProbe, Namespace, Node, Pod, PortRef, Protocol, Service, ServicePort,
    SliceEndpoint, SlicePort, TargetRef,
};
pub use object::policy::{
    AuthorizationPolicy, Client, HttpRoute, MeshTlsAuthentication, NetworkAuthentication, ObjectRef, ParentRef, Server,
    ServerAuthorization, ServerMatch, ServerProtocol, ServerSelector,
};
pub use object::profile::{Override, ServiceProfile};
pub use object::workload::ExternalWorkload;
pub use object::{Change, Key, Kind, Meta, Object};
pub use ports::{InvalidPort, OPAQUE_PORTS, PortLists, PortSet, REQUIRE_IDENTITY_PORTS, SKIP_INBOUND_PORTS};
pub use selector::{Requirement, Selector};
pub use world::World;
