//! What the cluster's administrator decides for every workload.

use ipnet::IpNet;
use outrigger_cluster::{IdentityNames, Key, PortSet};
use outrigger_model::DefaultPolicy;
use std::net::IpAddr;

/// The settings that policies are computed with, beside the objects.
#[derive(Debug, Clone)]
pub struct Config {
    pub names: IdentityNames,
    /// `cluster.local`, the end of Services' names.
    pub cluster_domain: String,
    /// What `cluster-…` policies and ServerAuthorizations without networks mean, and what is not outside.
    pub cluster_networks: Vec<IpNet>,
    /// Of ports without a Server, where no annotation says otherwise.
    pub default_policy: DefaultPolicy,
    /// Ports without protocol detection, where no annotation says otherwise.
    pub opaque_ports: PortSet,
    /// Where the kubelets' probes come from.
    pub probe_networks: Vec<IpNet>,
}

impl Config {
    /// `SERVICE.NAMESPACE.svc.DOMAIN`
    pub(crate) fn service_name(&self, service: &Key) -> String {
        format!("{}.{}.svc.{}", service.name, service.namespace, self.cluster_domain)
    }

    pub(crate) fn is_in_cluster(&self, ip: IpAddr) -> bool {
        self.cluster_networks.iter().any(|network| network.contains(&ip))
    }
}
