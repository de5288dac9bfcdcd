//! HTTP requests, by destination or port.

use super::kept::{Kept, Labels, Metric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

/// The families, under Linkerd's names.
#[derive(Clone)]
pub(super) struct Requests {
    requests: Kept<Group>,
    responses: Kept<Counter>,
}

struct Group {
    requests: Counter,
    /// From a request's head to its response's head.
    latency: Histogram,
}

impl Default for Group {
    /// Linkerd's buckets (A.5), in milliseconds.
    fn default() -> Self {
        let buckets = [1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 50.0, 100.0, 200.0, 300.0, 500.0, 1e3, 5e3, 1e4, 5e4];
        Self { requests: Counter::default(), latency: Histogram::new(buckets) }
    }
}

const REQUESTS: &[Metric<Group>] = &[
    Metric { name: "request", help: "HTTP requests", of: |group| &group.requests },
    Metric {
        name: "response_latency_ms",
        help: "From a request's head to its response's head",
        of: |group| &group.latency,
    },
];
const RESPONSES: &[Metric<Counter>] = &[Metric { name: "response", help: "HTTP responses", of: |counter| counter }];

impl Requests {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self { requests: Kept::register(registry, REQUESTS), responses: Kept::register(registry, RESPONSES) }
    }

    pub(super) fn of(&self, labels: Labels) -> RequestSeries {
        let group = self.requests.of(labels.clone());
        RequestSeries { group, statuses: RefCell::default(), responses: self.responses.clone(), labels }
    }

    pub(super) fn forget_idle(&self, now: std::time::Instant, retain: Duration) {
        self.requests.forget_idle(now, retain);
        self.responses.forget_idle(now, retain);
    }
}

/// The handles of one destination's or port's requests.
pub(crate) struct RequestSeries {
    group: Arc<Group>,
    /// The few statuses that a destination answers with.
    statuses: RefCell<Vec<(u16, Arc<Counter>)>>,
    responses: Kept<Counter>,
    labels: Labels,
}

impl RequestSeries {
    pub(crate) fn request(&self) {
        self.group.requests.inc();
    }

    pub(crate) fn response(&self, status: u16, latency: Duration) {
        self.group.latency.observe(latency.as_secs_f64() * 1e3);
        let mut statuses = self.statuses.borrow_mut();
        if let Some((_, counter)) = statuses.iter().find(|(known, _)| *known == status) {
            counter.inc();
            return;
        }
        let classification = if status < 500 { "success" } else { "failure" };
        let mut labels = self.labels.clone();
        labels.extend([("status_code", status.to_string()), ("classification", classification.to_owned())]);
        let counter = self.responses.of(labels);
        counter.inc();
        statuses.push((status, counter));
    }
}
