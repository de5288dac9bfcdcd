//! What the proxy counts. Handles are resolved once per destination or port, never per request.

use outrigger_model::Refusal;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seen from the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the names are the label's values")]
pub(crate) enum Direction {
    inbound,
    outbound,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectionLabels {
    direction: Direction,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TargetLabels {
    direction: Direction,
    authority: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResponseLabels {
    direction: Direction,
    authority: String,
    status_code: u16,
    classification: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    direction: Direction,
    reason: &'static str,
    number: u16,
}

/// Every metric of the process; cloning shares them.
#[derive(Clone)]
pub(crate) struct Metrics {
    requests: Family<TargetLabels, Counter>,
    responses: Family<ResponseLabels, Counter>,
    latencies: Family<TargetLabels, Histogram, fn() -> Histogram>,
    opened: Family<ConnectionLabels, Counter>,
    open: Family<ConnectionLabels, Gauge>,
    refusals: Family<RefusalLabels, Counter>,
    retries: Counter,
    bytes_read: Family<ConnectionLabels, Counter>,
    bytes_written: Family<ConnectionLabels, Counter>,
    certificate_expiry: Gauge,
    certificate_refreshes: Counter,
}

/// Linkerd's buckets (A.5), in milliseconds.
fn latency_histogram() -> Histogram {
    Histogram::new([1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 50.0, 100.0, 200.0, 300.0, 500.0, 1e3, 5e3, 1e4, 5e4])
}

impl Metrics {
    /// Registers everything under Linkerd's names, ours beside them.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            responses: Family::default(),
            latencies: Family::new_with_constructor(latency_histogram),
            opened: Family::default(),
            open: Family::default(),
            refusals: Family::default(),
            retries: Counter::default(),
            bytes_read: Family::default(),
            bytes_written: Family::default(),
            certificate_expiry: Gauge::default(),
            certificate_refreshes: Counter::default(),
        };
        let m = metrics.clone();
        registry.register("request", "HTTP requests", m.requests);
        registry.register("response", "HTTP responses", m.responses);
        registry.register("response_latency_ms", "From a request's head to its response's head", m.latencies);
        registry.register("tcp_open", "Accepted connections", m.opened);
        registry.register("tcp_open_connections", "Connections open now", m.open);
        registry.register("tcp_read_bytes", "Bytes relayed from clients", m.bytes_read);
        registry.register("tcp_write_bytes", "Bytes relayed to clients", m.bytes_written);
        registry.register("refusals", "Refused connections, requests and endpoints, by reason", m.refusals);
        registry.register("outbound_http_retries", "Requests sent again after a dead connection", m.retries);
        registry.register(
            "control_identity_cert_expiration_timestamp_seconds",
            "When the current SVID expires (Unix time)",
            m.certificate_expiry,
        );
        registry.register("control_identity_cert_refreshes", "SVIDs installed", m.certificate_refreshes);
        let start: Gauge = Gauge::default();
        start.set(seconds(SystemTime::now()));
        registry.register("process_start_time_seconds", "When the proxy started (Unix time)", start);
        let build: Family<Vec<(&'static str, &'static str)>, Gauge> = Family::default();
        build.get_or_create(&vec![("version", env!("CARGO_PKG_VERSION")), ("vendor", "outrigger")]).set(1);
        registry.register("proxy_build_info", "The running build", build);
        metrics
    }

    pub(crate) fn refused(&self, direction: Direction, refusal: Refusal) {
        let labels = RefusalLabels { direction, reason: refusal.label(), number: refusal.number() };
        self.refusals.get_or_create(&labels).inc();
    }

    /// Counts a connection as open until the guard is dropped.
    pub(crate) fn open(&self, direction: Direction) -> OpenConnection {
        let labels = ConnectionLabels { direction };
        self.opened.get_or_create(&labels).inc();
        let gauge = self.open.get_or_create(&labels).clone();
        gauge.inc();
        OpenConnection(gauge)
    }

    pub(crate) fn carried(&self, direction: Direction, from_client: u64, to_client: u64) {
        let labels = ConnectionLabels { direction };
        self.bytes_read.get_or_create(&labels).inc_by(from_client);
        self.bytes_written.get_or_create(&labels).inc_by(to_client);
    }

    pub(crate) fn retried(&self) {
        self.retries.inc();
    }

    pub(crate) fn certificate(&self, not_after: SystemTime) {
        self.certificate_expiry.set(seconds(not_after));
        self.certificate_refreshes.inc();
    }

    /// The handles of one destination's or port's requests.
    pub(crate) fn requests(&self, direction: Direction, authority: &str) -> Rc<RequestSeries> {
        let labels = TargetLabels { direction, authority: authority.to_owned() };
        Rc::new(RequestSeries {
            requests: self.requests.get_or_create(&labels).clone(),
            latency: self.latencies.get_or_create(&labels).clone(),
            statuses: RefCell::default(),
            responses: self.responses.clone(),
            labels,
        })
    }
}

/// See [`Metrics::open`].
pub(crate) struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// See [`Metrics::requests`].
pub(crate) struct RequestSeries {
    requests: Counter,
    latency: Histogram,
    /// The few statuses that a destination answers with.
    statuses: RefCell<Vec<(u16, Counter)>>,
    responses: Family<ResponseLabels, Counter>,
    labels: TargetLabels,
}

impl RequestSeries {
    pub(crate) fn request(&self) {
        self.requests.inc();
    }

    pub(crate) fn response(&self, status: u16, latency: Duration) {
        self.latency.observe(latency.as_secs_f64() * 1e3);
        let mut statuses = self.statuses.borrow_mut();
        if let Some((_, counter)) = statuses.iter().find(|(known, _)| *known == status) {
            counter.inc();
            return;
        }
        let TargetLabels { direction, authority } = self.labels.clone();
        let classification = if status < 500 { "success" } else { "failure" };
        let labels = ResponseLabels { direction, authority, status_code: status, classification };
        let counter = self.responses.get_or_create(&labels).clone();
        counter.inc();
        statuses.push((status, counter));
    }
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}
