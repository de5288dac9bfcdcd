//! What of the mesh the answers depend on, and never changes while the controller runs.

use outrigger_cluster::{IdentityNames, Key, PortSet};
use outrigger_model::Http2Params;
use std::sync::Arc;

/// The mesh's names and defaults, from flags.
#[derive(Debug, Clone)]
pub struct Mesh {
    pub names: IdentityNames,
    /// `cluster.local`, of the names of Services.
    pub cluster_domain: String,
    /// Of workloads and Services without the annotation `config.linkerd.io/opaque-ports`.
    pub default_opaque_ports: PortSet,
    /// Every meshed endpoint is reached through its proxy's own port, not opaque ones only.
    pub transport_header: bool,
    /// Pods are said to take HTTP/2.
    pub h2_upgrade: bool,
    /// Endpoints of the client's zone weigh ten times as much.
    pub zone_weights: bool,
    /// How HTTP/2 to meshed endpoints is spoken; `None`: as the proxies are configured.
    pub http2: Option<Arc<Http2Params>>,
    /// IPv6 endpoints exist, and are preferred where a workload has both families.
    pub ipv6: bool,
}

impl Mesh {
    /// `svc.ns.svc.cluster.local`
    pub fn service_name(&self, service: &Key) -> String {
        format!("{}.{}.svc.{}", service.name, service.namespace, self.cluster_domain)
    }
}
