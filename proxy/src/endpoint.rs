//! One endpoint as a worker sees it: its load, whether it answers, and its idle connections.

use crate::config::Windows;
use crate::http2_client::{self, Http2Pool, Sender};
use crate::link::Link;
use crate::refused::Refused;
use crate::resolution::Reach;
use outrigger_model::Identity;
use outrigger_proxy_core::balance::{Backoff, Candidate, PeakEwma};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

struct Idle {
    link: Link,
    since: Instant,
}

/// One endpoint of a service, of one worker.
pub(crate) struct Endpoint {
    pub reach: Reach,
    load: RefCell<PeakEwma>,
    in_flight: Cell<u32>,
    failures: Cell<u32>,
    not_before: Cell<Option<Instant>>,
    idle: RefCell<Vec<Idle>>,
    pub(crate) http2: Http2Pool,
    /// Discovery no longer names it: its connections are not kept.
    withdrawn: Cell<bool>,
}

impl Endpoint {
    pub(crate) fn new(reach: Reach, load: PeakEwma) -> Rc<Self> {
        Rc::new(Self {
            reach,
            load: RefCell::new(load),
            in_flight: Cell::new(0),
            failures: Cell::new(0),
            not_before: Cell::new(None),
            idle: RefCell::default(),
            http2: Http2Pool::default(),
            withdrawn: Cell::new(false),
        })
    }

    /// The identity that it must prove; `None`: it is reached in plaintext.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        match &self.reach {
            Reach::Endpoint(endpoint) => endpoint.tls.as_ref().map(|tls| &tls.id),
            Reach::Unusable(..) => None,
        }
    }

    pub(crate) fn candidate(&self, now: Instant) -> Candidate {
        let weight = match &self.reach {
            Reach::Endpoint(endpoint) => endpoint.weight,
            Reach::Unusable(..) => 0,
        };
        let cost = self.load.borrow().cost(self.in_flight.get(), now);
        Candidate { not_before: self.not_before.get(), weight, cost }
    }

    /// What is known of its latency.
    pub(crate) fn load(&self) -> PeakEwma {
        self.load.borrow().clone()
    }

    /// An idle connection that is still open, the last used first.
    pub(crate) fn checkout(&self) -> Option<Link> {
        let mut idle = self.idle.borrow_mut();
        std::iter::from_fn(|| idle.pop())
            .map(|idle| idle.link)
            .find_map(|mut link| link.idle_and_open().then_some(link))
    }

    /// It took a connection.
    pub(crate) fn connected(&self) {
        self.failures.set(0);
        self.not_before.set(None);
    }

    /// It took none: its idle connections go too, and it is left alone for a while. `random` is uniform in 0..1.
    pub(crate) fn failed(&self, backoff: &Backoff, now: Instant, random: f64) {
        self.failures.set(self.failures.get().saturating_add(1));
        self.not_before.set(Some(now + backoff.delay(self.failures.get(), random)));
        self.idle.borrow_mut().clear();
        self.http2.clear();
    }

    /// Discovery no longer names it.
    pub(crate) fn withdraw(&self) {
        self.withdrawn.set(true);
        self.idle.borrow_mut().clear();
        self.http2.clear();
    }

    /// Closes what was idle for longer than `limit`.
    pub(crate) fn sweep(&self, now: Instant, limit: Duration) {
        self.idle.borrow_mut().retain(|idle| now.saturating_duration_since(idle.since) < limit);
    }

    pub(crate) fn has_idle(&self) -> bool {
        !self.idle.borrow().is_empty()
    }
}

/// A connection to an endpoint, for one request or for its whole life. Counts as load until it is dropped.
pub(crate) struct Lease {
    pub link: Link,
    /// It served another request before: if it ends without an answer, that says nothing of the endpoint.
    pub reused: bool,
    pub load: InFlight,
}

/// One more request or connection on an endpoint.
pub(crate) struct InFlight {
    endpoint: Rc<Endpoint>,
    /// When the endpoint could be sent something: connecting is not the endpoint's latency.
    since: Instant,
    /// The first use of its connection.
    first: bool,
}

impl InFlight {
    pub(crate) fn new(endpoint: Rc<Endpoint>, since: Instant, first: bool) -> Self {
        endpoint.in_flight.set(endpoint.in_flight.get() + 1);
        Self { endpoint, since, first }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The first byte of an answer has come.
    pub(crate) fn answered(&self, now: Instant) {
        self.endpoint.load.borrow_mut().observe(now.saturating_duration_since(self.since), self.first, now);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.endpoint.in_flight.set(self.endpoint.in_flight.get() - 1);
    }
}

impl Lease {
    /// The connection alone, and what counts as load.
    pub(crate) fn into_parts(self) -> (Link, InFlight) {
        (self.link, self.load)
    }

    /// Speaks HTTP/2 on the connection, and shares it with whoever comes next.
    pub(crate) async fn into_http2(self, windows: Windows) -> Result<(Sender, InFlight), Refused> {
        let params = match &self.load.endpoint.reach {
            Reach::Endpoint(endpoint) => endpoint.http2.as_deref(),
            Reach::Unusable(..) => None,
        };
        let sender = http2_client::open(self.link, windows, params).await?;
        self.load.endpoint.http2.share(sender.clone());
        Ok((sender, self.load))
    }

    /// Gives the connection back for the next request.
    pub(crate) fn give_back(self, now: Instant, pool_size: usize) {
        let Self { mut link, load, .. } = self;
        let mut idle = load.endpoint.idle.borrow_mut();
        if !load.endpoint.withdrawn.get() && idle.len() < pool_size && link.inbox.is_empty() {
            link.inbox.park();
            idle.push(Idle { link, since: now });
        }
    }
}
