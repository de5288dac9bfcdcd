//! workload.linkerd.io: workloads outside the cluster.

use super::Meta;
use super::kubernetes::ContainerPort;
use outrigger_model::{DnsName, Identity};
use std::net::IpAddr;

/// ExternalWorkload, v1alpha1 or v1beta1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalWorkload {
    pub meta: Meta,
    pub identity: Identity,
    pub server_name: Option<DnsName>,
    pub ips: Vec<IpAddr>,
    pub ports: Vec<ContainerPort>,
    /// The condition Ready is True; without conditions it is not (B.6).
    pub ready: bool,
}
