//! The command line.

use crate::http2;
use crate::mesh::Mesh;
use clap::{ArgAction, Parser, ValueEnum};
use ipnet::IpNet;
use outrigger_cluster::{IdentityNames, PortSet};
use outrigger_controller::Flags;
use outrigger_model::{Http2Params, TrustDomain};
use std::net::SocketAddr;
use std::sync::Arc;

/// The destination controller: tells proxies where Services and addresses lead.
#[derive(Debug, Clone, Parser)]
#[command(name = "outrigger-destination", version)]
pub struct Args {
    #[command(flatten)]
    pub controller: Flags,
    /// Where proxies ask
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8086")]
    pub grpc_addr: SocketAddr,
    /// Where /live, /ready and /metrics are
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9996")]
    pub admin_addr: SocketAddr,
    /// Namespace of the control plane: pods labelled with it are meshed, and it is a part of Linkerd's names
    #[arg(long, value_name = "NAMESPACE", default_value = "linkerd")]
    pub controller_namespace: String,
    /// Domain of Linkerd's names of ServiceAccounts
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub identity_trust_domain: String,
    /// Trust domain of the SPIFFE ids of ServiceAccounts
    #[arg(long, value_name = "DOMAIN", default_value = "root.linkerd.cluster.local")]
    pub spiffe_trust_domain: TrustDomain,
    /// Domain of the names of Services
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Where Services without clusterIP get a stable one
    #[arg(long, value_name = "CIDR", default_value = "10.96.0.0/12")]
    pub service_cidr: IpNet,
    /// How meshed endpoints are reached: through their proxy's own port always, or for opaque ports only
    #[arg(long, value_name = "MODE", default_value = "transport-header")]
    pub outbound_transport_mode: TransportMode,
    /// Ports without protocol detection, unless an annotation says otherwise
    #[arg(long, value_name = "PORTS", value_parser = PortSet::numbers, default_value = "25,587,3306,4444,5432,6379,9300,11211")]
    pub default_opaque_ports: PortSet,
    /// Tell clients that the proxies of pods take HTTP/2
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub enable_h2_upgrade: bool,
    /// How proxies speak HTTP/2 to meshed endpoints, as JSON of Linkerd's Http2ClientParams
    #[arg(long, value_name = "JSON", value_parser = http2::parse)]
    pub meshed_http2_client_params: Option<Http2Params>,
    /// Give endpoints of the client's zone ten times the weight of others
    #[arg(long)]
    pub ext_endpoint_zone_weights: bool,
    /// Serve IPv6 endpoints, in preference to the IPv4 ones of the same workload
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub enable_ipv6: bool,
}

/// `--outbound-transport-mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TransportMode {
    TransportHeader,
    Transparent,
}

impl Args {
    /// What answers are computed with.
    pub fn mesh(&self) -> Mesh {
        Mesh {
            names: IdentityNames {
                control_plane_namespace: self.controller_namespace.clone(),
                identity_domain: self.identity_trust_domain.clone(),
                trust_domain: self.spiffe_trust_domain.clone(),
            },
            cluster_domain: self.cluster_domain.to_ascii_lowercase(),
            default_opaque_ports: self.default_opaque_ports.clone(),
            transport_header: self.outbound_transport_mode == TransportMode::TransportHeader,
            h2_upgrade: self.enable_h2_upgrade,
            zone_weights: self.ext_endpoint_zone_weights,
            http2: self.meshed_http2_client_params.clone().map(Arc::new),
            ipv6: self.enable_ipv6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_linkerds_defaults_and_forms() {
        let parse = |flags: &[&str]| Args::try_parse_from([&["d", "--manifests", "m"], flags].concat());
        let mesh = parse(&[]).unwrap().mesh();
        assert!(mesh.transport_header && mesh.h2_upgrade && mesh.ipv6 && mesh.default_opaque_ports.contains(3306));
        let flags = ["--enable-ipv6=false", "--outbound-transport-mode", "transparent", "--enable-h2-upgrade", "false"];
        let mesh = parse(&flags).unwrap().mesh();
        assert!(!mesh.transport_header && !mesh.h2_upgrade && !mesh.ipv6);
        assert!(parse(&["--default-opaque-ports", "smtp"]).unwrap_err().to_string().contains("25,4000-4100"));
        assert!(parse(&["--trust-anchors", "ca.crt"]).is_err(), "anchors without a socket would vouch for nobody");
    }
}
