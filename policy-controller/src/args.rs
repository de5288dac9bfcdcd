//! The command line.

use crate::Config;
use clap::Parser;
use ipnet::IpNet;
use outrigger_cluster::{IdentityNames, PortSet};
use outrigger_controller::Flags;
use outrigger_model::{DefaultPolicy, TrustDomain};
use std::net::SocketAddr;

/// The policy controller: tells each workload's proxy who may call it.
#[derive(Debug, Clone, Parser)]
#[command(name = "outrigger-policy", version)]
pub struct Args {
    #[command(flatten)]
    pub controller: Flags,
    /// Where proxies ask
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8090")]
    pub grpc_addr: SocketAddr,
    /// Where /live, /ready, /metrics and /servers.json are
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9990")]
    pub admin_addr: SocketAddr,
    /// Namespace of the control plane, a part of Linkerd's names of ServiceAccounts
    #[arg(long, value_name = "NAMESPACE", default_value = "linkerd")]
    pub control_plane_namespace: String,
    /// Domain of Linkerd's names of ServiceAccounts
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub identity_domain: String,
    /// Trust domain of the SPIFFE ids of ServiceAccounts
    #[arg(long, value_name = "DOMAIN", default_value = "root.linkerd.cluster.local")]
    pub spiffe_trust_domain: TrustDomain,
    /// Domain of the names of Services
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Where Services without clusterIP get a stable one, the same as from the destination controller
    #[arg(long, value_name = "CIDR", default_value = "10.96.0.0/12")]
    pub service_cidr: IpNet,
    /// What the policies cluster-authenticated and cluster-unauthenticated call the cluster; other addresses are outside
    #[arg(
        long,
        value_name = "CIDRS",
        value_delimiter = ',',
        default_value = "10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16,fd00::/8"
    )]
    pub cluster_networks: Vec<IpNet>,
    /// What holds at ports without a Server, unless an annotation says otherwise
    #[arg(long, value_name = "POLICY", default_value = "all-unauthenticated")]
    pub default_policy: DefaultPolicy,
    /// Ports without protocol detection, unless an annotation says otherwise
    #[arg(long, value_name = "PORTS", value_parser = PortSet::numbers, default_value = "25,587,3306,4444,5432,6379,9300,11211")]
    pub default_opaque_ports: PortSet,
    /// Where the kubelets' probes come from
    #[arg(long, value_name = "CIDRS", value_delimiter = ',', default_value = "0.0.0.0/0,::/0")]
    pub probe_networks: Vec<IpNet>,
}

impl Args {
    /// What policies are computed with.
    pub fn config(&self) -> Config {
        Config {
            names: IdentityNames {
                control_plane_namespace: self.control_plane_namespace.clone(),
                identity_domain: self.identity_domain.clone(),
                trust_domain: self.spiffe_trust_domain.clone(),
            },
            cluster_domain: self.cluster_domain.to_ascii_lowercase(),
            cluster_networks: self.cluster_networks.clone(),
            default_policy: self.default_policy,
            opaque_ports: self.default_opaque_ports.clone(),
            probe_networks: self.probe_networks.clone(),
        }
    }
}
