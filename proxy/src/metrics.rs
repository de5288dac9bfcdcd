//! What the proxy counts. Handles are resolved once per destination, port or connection, never per request.

mod connections;
mod controllers;
mod kept;
mod policy;
mod requests;

pub(crate) use connections::{Meter, Security};
pub(crate) use controllers::{Calls, OpenCall};
pub(crate) use policy::{About, Decided};
pub(crate) use requests::RequestSeries;

use kept::Kept;
use outrigger_model::Refusal;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seen from the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the names are the label's values")]
pub(crate) enum Direction {
    inbound,
    outbound,
}

impl Direction {
    fn as_str(self) -> &'static str {
        match self {
            Self::inbound => "inbound",
            Self::outbound => "outbound",
        }
    }
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
    requests: requests::Requests,
    connections: Kept<connections::Connections>,
    decisions: policy::Decisions,
    controllers: controllers::Controllers,
    refusals: Family<RefusalLabels, Counter>,
    retries: Counter,
    certificate_expiry: Gauge,
    certificate_refreshes: Counter,
}

impl Metrics {
    /// Registers everything under Linkerd's names, ours beside them.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: requests::Requests::register(registry),
            connections: Kept::register(registry, connections::CONNECTIONS),
            decisions: policy::Decisions::register(registry),
            controllers: controllers::Controllers::register(registry),
            refusals: Family::default(),
            retries: Counter::default(),
            certificate_expiry: Gauge::default(),
            certificate_refreshes: Counter::default(),
        };
        let m = metrics.clone();
        registry.register("refusals", "Refused connections, requests and endpoints, by reason", m.refusals);
        registry.register("outbound_http_retries", "Requests sent again after a dead connection", m.retries);
        registry.register(
            "control_identity_cert_expiration_timestamp_seconds",
            "When the current SVID expires (Unix time)",
            m.certificate_expiry,
        );
        registry.register("control_identity_cert_refreshes", "SVIDs installed", m.certificate_refreshes);
        let build: Family<Vec<(&'static str, &'static str)>, Gauge> = Family::default();
        build.get_or_create(&vec![("version", env!("CARGO_PKG_VERSION")), ("vendor", "outrigger")]).set(1);
        registry.register("proxy_build_info", "The running build", build);
        metrics
    }

    pub(crate) fn refused(&self, direction: Direction, refusal: Refusal) {
        let labels = RefusalLabels { direction, reason: refusal.label(), number: refusal.number() };
        self.refusals.get_or_create(&labels).inc();
    }

    /// Counts a client's connection from now until the meter is dropped; `to` is where it was going.
    pub(crate) fn accepted(&self, direction: Direction, to: SocketAddr, security: &Security<'_>) -> Meter {
        Meter::new(self.connections.of(connections::source(direction, to, security)))
    }

    /// Counts a connection that the proxy made.
    pub(crate) fn connected(&self, direction: Direction, to: SocketAddr, security: &Security<'_>) -> Meter {
        Meter::new(self.connections.of(connections::destination(direction, to, security)))
    }

    /// The count of a decision of an inbound policy.
    pub(crate) fn decided(&self, decided: Decided, about: &About<'_>) -> Arc<Counter> {
        self.decisions.of(decided, about)
    }

    /// The counts of the calls to one controller.
    pub(crate) fn calls(&self, addr: String, server_id: Option<&str>) -> Calls {
        self.controllers.of(addr, server_id)
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
        let labels = vec![("direction", direction.as_str().to_owned()), ("authority", authority.to_owned())];
        Rc::new(self.requests.of(labels))
    }

    /// Forgets the series that nobody has counted for `retain` (`METRICS_RETAIN_IDLE`), for ever.
    pub(crate) async fn forget_idle(self, retain: Duration) {
        let mut ticks = tokio::time::interval(Duration::from_secs(10));
        loop {
            ticks.tick().await;
            let now = Instant::now();
            self.requests.forget_idle(now, retain);
            self.connections.forget_idle(now, retain);
            self.decisions.forget_idle(now, retain);
            self.controllers.forget_idle(now, retain);
        }
    }
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}
