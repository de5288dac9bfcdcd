//! From the mesh to the application.

use super::Side;
use crate::env::Environment;
use ipnet::IpNet;
use outrigger_model::DefaultPolicy;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

/// The inbound direction.
#[derive(Debug, Clone)]
pub struct Inbound {
    pub listen: SocketAddr,
    pub side: Side,
    /// This workload's addresses; empty: any.
    pub ips: BTreeSet<IpAddr>,
    /// Ports whose policy is watched from the start.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Ports that are opaque until the controller says otherwise.
    pub opaque_ports: Vec<RangeInclusive<u16>>,
    /// What holds until the controller answers, if it was set explicitly.
    pub default_policy: Option<DefaultPolicy>,
    pub cluster_networks: Vec<IpNet>,
    /// How long an unused port's policy is watched.
    pub idle: Duration,
}

impl Inbound {
    pub(super) fn read(env: &mut Environment<'_>) -> Self {
        let inbound = Self {
            listen: env.value("INBOUND_LISTEN_ADDR"),
            side: Side::read(env, "INBOUND"),
            ips: env.optional("INBOUND_IPS").unwrap_or_default(),
            ports: env.optional("INBOUND_PORTS").unwrap_or_default(),
            opaque_ports: env.optional("INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION").unwrap_or_default(),
            default_policy: env.optional("INBOUND_DEFAULT_POLICY"),
            cluster_networks: env.optional("POLICY_CLUSTER_NETWORKS").unwrap_or_default(),
            idle: env.value("INBOUND_DISCOVERY_IDLE_TIMEOUT"),
        };
        let of_cluster = matches!(
            inbound.default_policy,
            Some(DefaultPolicy::ClusterAuthenticated | DefaultPolicy::ClusterUnauthenticated)
        );
        if of_cluster && inbound.cluster_networks.is_empty() {
            env.mistake(
                "POLICY_CLUSTER_NETWORKS",
                "is not set, and INBOUND_DEFAULT_POLICY is about the cluster's networks",
            );
        }
        inbound
    }
}
