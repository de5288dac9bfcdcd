//! What the cluster's administrator decides for every workload.

use crate::ports::PortSet;
use ipnet::IpNet;
use outrigger_cluster::IdentityNames;
use outrigger_model::DefaultPolicy;

/// The settings that policies are computed with, beside the objects.
#[derive(Debug, Clone)]
pub struct Config {
    pub names: IdentityNames,
    /// What `cluster-…` policies and ServerAuthorizations without networks mean.
    pub cluster_networks: Vec<IpNet>,
    /// Of ports without a Server, where no annotation says otherwise.
    pub default_policy: DefaultPolicy,
    /// Ports without protocol detection, where no annotation says otherwise.
    pub opaque_ports: PortSet,
    /// Where the kubelets' probes come from.
    pub probe_networks: Vec<IpNet>,
}
