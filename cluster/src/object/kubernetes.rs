//! Kubernetes' own kinds, cut down to what a mesh reads.

use super::{Key, Meta};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// A port by number, or by the name that a container or workload gives it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PortRef {
    Number(u16),
    Name(String),
}

/// A port's transport protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

/// v1 Namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    pub meta: Meta,
}

/// v1 Node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub meta: Meta,
}

/// v1 Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub meta: Meta,
    /// Empty for headless and ExternalName Services, and until an address is allocated.
    pub cluster_ips: Vec<IpAddr>,
    pub headless: bool,
    pub external_name: Option<String>,
    /// `None`, or empty: the endpoints are written by hand.
    pub selector: Option<BTreeMap<String, String>>,
    pub ports: Vec<ServicePort>,
    /// `publishNotReadyAddresses`.
    pub publish_not_ready: bool,
    /// `internalTrafficPolicy: Local`.
    pub internal_traffic_local: bool,
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    pub name: Option<String>,
    pub port: u16,
    /// The port of the endpoint; the same number where none is given.
    pub target: PortRef,
    pub protocol: Protocol,
    pub app_protocol: Option<String>,
}

/// v1 Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    pub meta: Meta,
    /// Empty until the pod has an address.
    pub ips: Vec<IpAddr>,
    pub host_ip: Option<IpAddr>,
    pub host_network: bool,
    pub node: Option<String>,
    /// `default` where none is named.
    pub service_account: String,
    pub hostname: Option<String>,
    pub subdomain: Option<String>,
    /// The condition Ready is True.
    pub ready: bool,
    /// It has a deletionTimestamp.
    pub terminating: bool,
    /// Its phase is Succeeded or Failed.
    pub finished: bool,
    pub ports: Vec<ContainerPort>,
    pub probes: Vec<HttpProbe>,
    /// Of the container linkerd-proxy's LINKERD2_PROXY_INBOUND_LISTEN_ADDR.
    pub inbound_proxy_port: Option<u16>,
    /// Of the container linkerd-proxy's LINKERD2_PROXY_ADMIN_LISTEN_ADDR.
    pub admin_proxy_port: Option<u16>,
}

/// A port of a container or of an ExternalWorkload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerPort {
    pub name: Option<String>,
    pub port: u16,
    pub protocol: Protocol,
    /// The port on the node, where the container asks for one.
    pub host_port: Option<u16>,
}

impl ContainerPort {
    /// Name and number of each TCP port that has a name.
    pub fn named(ports: &[Self]) -> impl Iterator<Item = (&str, u16)> + Clone {
        let tcp = ports.iter().filter(|port| port.protocol == Protocol::Tcp);
        tcp.filter_map(|port| Some((port.name.as_deref()?, port.port)))
    }
}

impl Service {
    /// Name and number of each TCP port that has a name.
    pub fn named_ports(&self) -> impl Iterator<Item = (&str, u16)> + Clone {
        let tcp = self.ports.iter().filter(|port| port.protocol == Protocol::Tcp);
        tcp.filter_map(|port| Some((port.name.as_deref()?, port.port)))
    }
}

/// An HTTP probe that the kubelet sends to the pod's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpProbe {
    pub path: String,
    pub port: PortRef,
}

/// discovery.k8s.io/v1 EndpointSlice of IPv4 or IPv6 addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSlice {
    pub meta: Meta,
    /// The label `kubernetes.io/service-name`.
    pub service: Option<Arc<str>>,
    pub endpoints: Vec<SliceEndpoint>,
    pub ports: Vec<SlicePort>,
}

/// One endpoint of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceEndpoint {
    pub addresses: Vec<IpAddr>,
    /// Unknown counts as ready, as the API says.
    pub ready: bool,
    pub terminating: bool,
    pub target: Option<TargetRef>,
    pub node: Option<String>,
    pub zone: Option<String>,
    pub hostname: Option<String>,
    pub for_zones: Vec<String>,
}

/// The Pod or ExternalWorkload behind an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetRef {
    pub kind: String,
    pub key: Key,
}

/// One port of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlicePort {
    pub name: Option<String>,
    /// `None`: every port.
    pub port: Option<u16>,
    pub protocol: Protocol,
}
