//! What the controller counts.

use crate::server::ServerStatus;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The controller's metrics; clones count the same.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    selected: Family<Server, Gauge>,
    inbound: Gauge,
    outbound: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Server {
    namespace: String,
    name: String,
}

/// Counts one open stream as long as it lives.
#[derive(Debug)]
pub(crate) struct OpenStream(Gauge);

impl Metrics {
    /// Metrics that the registry shows.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let help = "Ports of workloads that a Server selects and no other Server takes from it; 0: it has no effect";
        registry.register("server_selected_ports", help, metrics.selected.clone());
        registry.register("inbound_policy_streams", "Open WatchPort streams", metrics.inbound.clone());
        let help = "Open streams of outbound policies";
        registry.register("outbound_policy_streams", help, metrics.outbound.clone());
        metrics
    }

    /// Replaces a namespace's Servers.
    pub(crate) fn servers(&self, before: &[ServerStatus], now: &[ServerStatus]) {
        for status in before.iter().filter(|old| !now.iter().any(|new| new.name == old.name)) {
            self.selected.remove(&Server::of(status));
        }
        for status in now {
            let ports = i64::try_from(status.ruled()).unwrap_or(i64::MAX);
            self.selected.get_or_create(&Server::of(status)).set(ports);
        }
    }

    pub(crate) fn inbound_stream(&self) -> OpenStream {
        OpenStream::new(&self.inbound)
    }

    pub(crate) fn outbound_stream(&self) -> OpenStream {
        OpenStream::new(&self.outbound)
    }
}

impl OpenStream {
    fn new(open: &Gauge) -> Self {
        open.inc();
        Self(open.clone())
    }
}

impl Server {
    fn of(status: &ServerStatus) -> Self {
        Self { namespace: status.namespace.to_string(), name: status.name.to_string() }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}
