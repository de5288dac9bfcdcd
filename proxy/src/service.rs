//! A destination as a worker uses it: its endpoints, kept in step with discovery, and the way to a connection.

use crate::config::Outbound;
use crate::connect;
use crate::endpoint::{Endpoint, InFlight, Lease, Reach};
use crate::http2;
use crate::refused::Refused;
use crate::worker::Worker;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use outrigger_model::Refusal;
use outrigger_proxy_core::balance::{Pick, pick};
use outrigger_proxy_core::header::Session;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedMutexGuard, watch};

/// What discovery knows of an original destination.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Resolution {
    /// The controller has not answered yet.
    Waiting,
    Known(Arc<Target>),
}

/// A resolved original destination.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Target {
    /// The service's `name:port`; `None`: an address that is no service's, with itself as endpoint. One without an
    /// endpoint is a service's address with a port that the service does not declare.
    pub authority: Option<Arc<str>>,
    /// No protocol detection.
    pub opaque: bool,
    /// Sorted by address.
    pub endpoints: Vec<Reach>,
}

/// How a connection came about.
enum Had<T> {
    Pooled(T),
    /// For HTTP/2, with the right to share it.
    Fresh(Lease, Option<OwnedMutexGuard<()>>),
}

/// At most so many endpoints are tried for one request.
const ATTEMPTS: u32 = 5;

/// The endpoints of one destination, of one worker.
pub(crate) struct Service {
    source: RefCell<watch::Receiver<Resolution>>,
    endpoints: RefCell<Vec<Rc<Endpoint>>>,
    target: RefCell<Option<Arc<Target>>>,
    /// No endpoint was ready for the failfast time; until one is, requests are refused at once.
    failing: Cell<bool>,
    last_used: Cell<Instant>,
}

impl Service {
    pub(crate) fn new(source: watch::Receiver<Resolution>, now: Instant) -> Rc<Self> {
        let service = Self {
            source: RefCell::new(source),
            endpoints: RefCell::default(),
            target: RefCell::default(),
            failing: Cell::new(false),
            last_used: Cell::new(now),
        };
        service.read();
        Rc::new(service)
    }

    /// What is known, waiting at most `within` for the first answer. An error is never taken for "not meshed".
    pub(crate) async fn resolved(&self, within: Duration) -> Result<Arc<Target>, Refused> {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            self.sync();
            if let Some(target) = self.target.borrow().clone() {
                let undefined = target.authority.is_none() && target.endpoints.is_empty();
                return if undefined { Err(Refusal::UndefinedPort.into()) } else { Ok(target) };
            }
            if !self.changed_before(deadline).await {
                return Err(Refusal::DiscoveryUnavailable.into());
            }
        }
    }

    /// A connection for one HTTP/1 request (`session`), or for bytes (`None`). `fresh`: not one that was used before.
    pub(crate) async fn lease(&self, worker: &Worker, session: Option<Session>, fresh: bool) -> Result<Lease, Refused> {
        let pooled = |endpoint: &Rc<Endpoint>| {
            let link = if fresh || session.is_none() { None } else { endpoint.checkout() };
            link.map(|link| Lease::new(Rc::clone(endpoint), link, true))
        };
        match self.connected(worker, session, pooled).await? {
            Had::Pooled(lease) | Had::Fresh(lease, _) => Ok(lease),
        }
    }

    /// An endpoint's HTTP/2 connection, which others may share.
    pub(crate) async fn lease_http2(&self, worker: &Worker) -> Result<(SendRequest<Incoming>, InFlight), Refused> {
        let pooled = |endpoint: &Rc<Endpoint>| {
            endpoint.http2.shared().map(|sender| (sender, InFlight::new(Rc::clone(endpoint))))
        };
        match self.connected(worker, Some(Session::Http2), pooled).await? {
            Had::Pooled(shared) => Ok(shared),
            Had::Fresh(lease, _opening) => http2::open(lease).await,
        }
    }

    /// What is pooled for the endpoint that was picked, or else a fresh connection to it.
    async fn connected<T>(
        &self,
        worker: &Worker,
        session: Option<Session>,
        pooled: impl Fn(&Rc<Endpoint>) -> Option<T>,
    ) -> Result<Had<T>, Refused> {
        let config = &worker.config.outbound;
        let mut deadline = None;
        let mut attempts = 0;
        loop {
            self.sync();
            let now = Instant::now();
            self.last_used.set(now);
            let wait_until = match self.pick(now, worker.random()) {
                Ok(endpoint) => {
                    if let Some(pooled) = pooled(&endpoint) {
                        return Ok(Had::Pooled(pooled));
                    }
                    let opening = match session {
                        Some(Session::Http2) => Some(endpoint.http2.to_open().await),
                        _ => None,
                    };
                    if let Some(pooled) = opening.as_ref().and_then(|_| pooled(&endpoint)) {
                        return Ok(Had::Pooled(pooled));
                    }
                    match self.connect(&endpoint, session, worker).await {
                        Ok(lease) => return Ok(Had::Fresh(lease, opening)),
                        Err(refused) => {
                            attempts += 1;
                            if attempts >= ATTEMPTS || !self.balanced() {
                                return Err(refused);
                            }
                            continue;
                        }
                    }
                }
                Err(wait_until) => wait_until,
            };
            self.wait(wait_until, &mut deadline, config).await?;
        }
    }

    /// A ready endpoint, or the time at which one may be tried again (none: only discovery can help).
    fn pick(&self, now: Instant, random: u64) -> Result<Rc<Endpoint>, Option<Instant>> {
        let endpoints = self.endpoints.borrow();
        match pick(endpoints.len(), random, now, |i| endpoints[i].candidate(now)) {
            Pick::Endpoint(i) => Ok(Rc::clone(&endpoints[i])),
            Pick::NotBefore(time) => Err(Some(time)),
            Pick::Empty => Err(None),
        }
    }

    async fn connect(
        &self,
        endpoint: &Rc<Endpoint>,
        session: Option<Session>,
        worker: &Worker,
    ) -> Result<Lease, Refused> {
        let config = &worker.config;
        let local = config.inbound.ips.contains(&endpoint.reach.addr().ip());
        let side = &config.outbound.side;
        match connect::endpoint(&endpoint.reach, session, local, side, &worker.credentials).await {
            Ok(link) => {
                endpoint.connected();
                self.failing.set(false);
                Ok(Lease::new(Rc::clone(endpoint), link, false))
            }
            Err(refused) => {
                // One address that is no service's has no other to turn to: each connection tries it for itself.
                if self.balanced() {
                    endpoint.failed(&side.backoff, Instant::now(), worker.random_share());
                    worker.endpoint_failed(endpoint.reach.addr(), &refused);
                }
                Err(refused)
            }
        }
    }

    /// Waits for an endpoint to be worth trying; an error once that took the failfast time.
    async fn wait(
        &self,
        until: Option<Instant>,
        deadline: &mut Option<tokio::time::Instant>,
        config: &Outbound,
    ) -> Result<(), Refused> {
        if self.failing.get() {
            return Err(Refusal::Failfast.into());
        }
        let deadline = *deadline.get_or_insert_with(|| tokio::time::Instant::now() + config.failfast);
        let until = until.map_or(deadline, |time| deadline.min(time.into()));
        if !self.changed_before(until).await && until == deadline {
            self.failing.set(!self.endpoints.borrow().is_empty());
            let empty = self.endpoints.borrow().is_empty();
            return Err(if empty { Refusal::NoEndpoints } else { Refusal::Failfast }.into());
        }
        Ok(())
    }

    /// Waits for discovery to say something new. `false`: `deadline` came first.
    async fn changed_before(&self, deadline: tokio::time::Instant) -> bool {
        let mut source = self.source.borrow().clone();
        match tokio::time::timeout_at(deadline, source.changed()).await {
            Ok(Ok(())) => true,
            Ok(Err(_)) => {
                // The control thread has ended: nothing new will come.
                tokio::time::sleep_until(deadline).await;
                false
            }
            Err(_) => false,
        }
    }

    fn balanced(&self) -> bool {
        self.target.borrow().as_ref().is_some_and(|target| target.authority.is_some())
    }

    /// Takes over what discovery said since the last look; one atomic load if it said nothing.
    fn sync(&self) {
        if self.source.borrow().has_changed().unwrap_or(false) {
            self.read();
        }
    }

    fn read(&self) {
        let Resolution::Known(target) = self.source.borrow_mut().borrow_and_update().clone() else { return };
        let mut known: HashMap<SocketAddr, Rc<Endpoint>> =
            self.endpoints.take().into_iter().map(|endpoint| (endpoint.reach.addr(), endpoint)).collect();
        let now = Instant::now();
        let keep = |reach: &Reach| match known.remove(&reach.addr()) {
            Some(endpoint) if endpoint.reach == *reach => endpoint,
            changed => {
                if let Some(old) = changed {
                    old.withdraw();
                }
                self.failing.set(false);
                Endpoint::new(reach.clone(), now)
            }
        };
        let endpoints = target.endpoints.iter().map(keep).collect();
        known.values().for_each(|gone| gone.withdraw());
        self.endpoints.replace(endpoints);
        self.target.replace(Some(target));
    }

    /// Closes idle connections; says whether anything of the service was in use since `unused_since`.
    pub(crate) fn sweep(&self, now: Instant, pool_idle: Duration, unused_since: Instant) -> bool {
        for endpoint in self.endpoints.borrow().iter() {
            endpoint.sweep(now, pool_idle);
        }
        self.last_used.get() > unused_since || self.endpoints.borrow().iter().any(|endpoint| endpoint.has_idle())
    }
}
