//! The policy of a workload's port: what the Server says that rules it, else the default (C.1).

use crate::workload::{Settings, Workload};
use crate::{Config, authorization, route, server};
use outrigger_cluster::{Server, ServerProtocol, World};
use outrigger_model::{DefaultPolicy, InboundPolicy, InboundProtocol, Meta, WorkloadRef};
use std::time::Duration;

/// How long a proxy waits for a connection's first bytes.
const DETECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The policy of one port. `None`: no workload with a proxy has this name.
pub fn policy(world: &World, config: &Config, workload: &WorkloadRef, port: u16) -> Option<InboundPolicy> {
    let workload = Workload::find(world, workload)?;
    Some(match server::server_of(world, &workload, port) {
        Some(server) => server_policy(world, config, server, &route::probes(&workload, port)),
        None => default_policy(config, workload.settings(world, config, port), &route::probes(&workload, port)),
    })
}

fn server_policy(world: &World, config: &Config, server: &Server, probes: &[&str]) -> InboundPolicy {
    let routes = |probes| route::of_server(world, config, server, probes);
    InboundPolicy {
        meta: Meta::object(authorization::GROUP, "server", &server.meta.key.namespace, &server.meta.key.name),
        protocol: match server.protocol {
            ServerProtocol::Unknown => InboundProtocol::Detect { timeout: DETECT_TIMEOUT, routes: routes(probes) },
            ServerProtocol::Http1 => InboundProtocol::Http1 { routes: routes(probes) },
            ServerProtocol::Http2 => InboundProtocol::Http2 { routes: routes(probes) },
            // A kubelet's HTTP probe cannot speak to a gRPC port.
            ServerProtocol::Grpc => InboundProtocol::Grpc { routes: routes(&[]) },
            ServerProtocol::Opaque => InboundProtocol::Opaque,
            ServerProtocol::Tls => InboundProtocol::Tls,
        },
        authorizations: authorization::of_server(world, config, server),
        rate_limit: None,
    }
}

fn default_policy(config: &Config, settings: Settings, probes: &[&str]) -> InboundPolicy {
    // The metrics name what holds: with identity required that is the authenticated policy of the same reach.
    let policy = match (settings.policy, settings.require_identity) {
        (DefaultPolicy::AllUnauthenticated, true) => DefaultPolicy::AllAuthenticated,
        (DefaultPolicy::ClusterUnauthenticated, true) => DefaultPolicy::ClusterAuthenticated,
        (policy, _) => policy,
    };
    InboundPolicy {
        meta: Meta::default_named(policy.as_str()),
        protocol: if settings.opaque {
            InboundProtocol::Opaque
        } else {
            InboundProtocol::Detect { timeout: DETECT_TIMEOUT, routes: route::defaults(config, probes) }
        },
        authorizations: policy.authorizations(&config.cluster_networks, settings.require_identity),
        rate_limit: None,
    }
}
