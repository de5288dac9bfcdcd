//! Calls to the controllers; each is a stream.

use super::kept::{Kept, Labels, Metric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::Code;

/// The families, under Linkerd's names.
#[derive(Clone)]
pub(super) struct Controllers {
    streams: Kept<Streams>,
    responses: Kept<Counter>,
}

#[derive(Default)]
struct Streams {
    requests: Counter,
    open: Gauge,
}

const STREAMS: &[Metric<Streams>] = &[
    Metric { name: "control_request", help: "Streams asked of a controller", of: |group| &group.requests },
    Metric { name: "control_streams", help: "Streams of a controller that are open now", of: |group| &group.open },
];
const RESPONSES: &[Metric<Counter>] =
    &[Metric { name: "control_response", help: "Streams that a controller has ended", of: |counter| counter }];

impl Controllers {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self { streams: Kept::register(registry, STREAMS), responses: Kept::register(registry, RESPONSES) }
    }

    pub(super) fn of(&self, addr: String, server_id: Option<&str>) -> Calls {
        let mut labels = vec![("addr", addr)];
        match server_id {
            Some(id) => labels.extend([("tls", "true".to_owned()), ("server_id", id.to_owned())]),
            None => labels.extend([("tls", "no_identity".to_owned()), ("no_tls_reason", "loopback".to_owned())]),
        }
        Calls { streams: self.streams.of(labels.clone()), responses: self.responses.clone(), labels }
    }

    pub(super) fn forget_idle(&self, now: Instant, retain: Duration) {
        self.streams.forget_idle(now, retain);
        self.responses.forget_idle(now, retain);
    }
}

/// The calls to one controller.
#[derive(Clone)]
pub(crate) struct Calls {
    streams: Arc<Streams>,
    responses: Kept<Counter>,
    labels: Labels,
}

impl Calls {
    /// Counts a stream from its request until the guard is dropped.
    pub(crate) fn open(&self) -> OpenCall {
        self.streams.requests.inc();
        self.streams.open.inc();
        OpenCall { calls: self.clone(), ended: Code::Ok }
    }
}

/// A stream that is open; see [`Calls::open`].
pub(crate) struct OpenCall {
    calls: Calls,
    /// What it ends with.
    pub ended: Code,
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.calls.streams.open.dec();
        let mut labels = self.calls.labels.clone();
        let classification = if self.ended == Code::Ok { "success" } else { "failure" };
        labels
            .extend([("grpc_status", (self.ended as i32).to_string()), ("classification", classification.to_owned())]);
        self.calls.responses.of(labels).inc();
    }
}
