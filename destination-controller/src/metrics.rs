//! What a monitor sees: open streams, updates sent, the size of the world and the age of its last change.

use crate::index::Shared;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use std::fmt;
use std::time::SystemTime;

/// The methods of `Destination`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Rpc {
    Get,
    GetProfile,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    rpc: Rpc,
}

/// The counters of the server.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    open: Family<Labels, Gauge>,
    sent: Family<Labels, Counter>,
}

/// One open stream; dropping it closes it.
#[derive(Debug)]
pub(crate) struct Stream {
    open: Gauge,
    sent: Counter,
}

impl Metrics {
    /// Registers the server's counters and, computed when they are asked for, the index's sizes.
    pub fn register(registry: &mut Registry, index: Shared) -> Self {
        let metrics = Self::default();
        registry.register("streams_open", "Streams that proxies follow", metrics.open.clone());
        registry.register("updates_sent", "Messages sent on all streams", metrics.sent.clone());
        registry.register_collector(Box::new(World(index)));
        metrics
    }

    pub(crate) fn stream(&self, rpc: Rpc) -> Stream {
        let labels = Labels { rpc };
        let (open, sent) = (self.open.get_or_create(&labels).clone(), self.sent.get_or_create(&labels).clone());
        open.inc();
        Stream { open, sent }
    }
}

impl Stream {
    pub(crate) fn sent(&self) {
        self.sent.inc();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.open.dec();
    }
}

struct World(Shared);

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}

impl Collector for World {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (objects, topics, changed) = {
            let index = self.0.lock();
            let world = index.world();
            let objects = [
                ("Service", world.services.len()),
                ("EndpointSlice", world.slices.len()),
                ("Pod", world.pods.len()),
                ("ExternalWorkload", world.external_workloads.len()),
                ("ServiceProfile", world.service_profiles.len()),
                ("Server", world.servers.len()),
            ];
            (objects, index.topics(), index.changed())
        };
        let gauge = ConstGauge::new(topics as u64);
        let family =
            encoder.encode_descriptor("topics", "Distinct answers that are followed", None, gauge.metric_type())?;
        gauge.encode(family)?;
        let kind = ConstGauge::new(0u64).metric_type();
        let mut family = encoder.encode_descriptor("objects", "Objects of the world by kind", None, kind)?;
        for (kind, count) in objects {
            ConstGauge::new(count as u64).encode(family.encode_family(&[("kind", kind)])?)?;
        }
        if let Some(age) = changed.and_then(|at| SystemTime::now().duration_since(at).ok()) {
            let gauge = ConstGauge::new(age.as_secs_f64());
            let help = "Time since the last change of the world";
            gauge.encode(encoder.encode_descriptor("last_change_age_seconds", help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
