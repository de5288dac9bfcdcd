//! A backend as a worker uses it: its endpoints, kept in step with discovery, and the way to a connection.

use crate::config::Queue;
use crate::connect;
use crate::control::Control;
use crate::endpoint::{Endpoint, InFlight, Lease};
use crate::http2_client::Sender;
use crate::metrics::{Direction, Security};
use crate::refused::Refused;
use crate::resolution::{Endpoints, Reach};
use crate::worker::Worker;
use outrigger_model::Refusal;
use outrigger_proxy_core::balance::{PeakEwma, Pick, pick};
use outrigger_proxy_core::header::Session;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedMutexGuard, watch};

/// How a connection came about.
enum Had<T> {
    Pooled(T),
    /// For HTTP/2, with the right to share it.
    Fresh(Lease, Option<OwnedMutexGuard<()>>),
}

/// At most so many endpoints are tried for one request.
const ATTEMPTS: u32 = 5;

/// The endpoints of one backend, of one worker.
pub(crate) struct Service {
    /// `svc.ns.svc.cluster.local:port`; `None`: not of a service.
    path: Option<Arc<str>>,
    /// `None`: one endpoint, without discovery.
    source: Option<RefCell<watch::Receiver<Endpoints>>>,
    endpoints: RefCell<Vec<Rc<Endpoint>>>,
    /// Discovery has said what the endpoints are.
    known: Cell<bool>,
    /// No endpoint was ready for the failfast time; until one is, requests are refused at once.
    failing: Cell<bool>,
    /// Requests and connections that wait for an endpoint.
    waiting: Cell<usize>,
    last_used: Cell<Instant>,
}

/// A place in the queue for a ready endpoint.
struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a Cell<usize>, capacity: usize) -> Result<Self, Refusal> {
        if waiting.get() >= capacity {
            return Err(Refusal::Overloaded);
        }
        waiting.set(waiting.get() + 1);
        Ok(Self(waiting))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Service {
    /// Endpoints as discovery says them.
    pub(crate) fn balanced(path: Arc<str>, source: watch::Receiver<Endpoints>, now: Instant) -> Rc<Self> {
        let mut service = Self::new(Some(RefCell::new(source)), Vec::new(), now);
        service.path = Some(path);
        service.read();
        Rc::new(service)
    }

    /// One endpoint. Having no other to turn to, each connection tries it for itself.
    pub(crate) fn fixed(reach: Reach, now: Instant) -> Rc<Self> {
        Rc::new(Self::new(None, vec![Endpoint::new(reach, PeakEwma::new(now))], now))
    }

    fn new(source: Option<RefCell<watch::Receiver<Endpoints>>>, endpoints: Vec<Rc<Endpoint>>, now: Instant) -> Self {
        Self {
            path: None,
            known: Cell::new(source.is_none()),
            source,
            endpoints: RefCell::new(endpoints),
            failing: Cell::new(false),
            waiting: Cell::new(0),
            last_used: Cell::new(now),
        }
    }

    /// Whether this is the fixed endpoint and no other.
    pub(crate) fn reaches_only(&self, reach: &Reach) -> bool {
        self.source.is_none() && self.endpoints.borrow().iter().all(|endpoint| endpoint.reach == *reach)
    }

    /// Whether something could be sent now; a service of which nothing is known yet may turn out to be.
    pub(crate) fn ready(&self, now: Instant) -> bool {
        self.sync();
        !self.known.get() || self.endpoints.borrow().iter().any(|endpoint| endpoint.candidate(now).ready(now))
    }

    /// A connection for one HTTP/1 request (`session`), or for bytes (`None`). `fresh`: not one that was used before.
    pub(crate) async fn lease(&self, worker: &Worker, session: Option<Session>, fresh: bool) -> Result<Lease, Refused> {
        let pooled = |endpoint: &Rc<Endpoint>, now| {
            let link = if fresh || session.is_none() { None } else { endpoint.checkout() };
            link.map(|link| Lease { link, reused: true, load: InFlight::new(Rc::clone(endpoint), now, false) })
        };
        match self.connected(worker, session, pooled).await? {
            Had::Pooled(lease) | Had::Fresh(lease, _) => Ok(lease),
        }
    }

    /// An endpoint's HTTP/2 connection, which others may share.
    pub(crate) async fn lease_http2(&self, worker: &Worker) -> Result<(Sender, InFlight), Refused> {
        let pooled = |endpoint: &Rc<Endpoint>, now| {
            endpoint.http2.shared().map(|sender| (sender, InFlight::new(Rc::clone(endpoint), now, false)))
        };
        match self.connected(worker, Some(Session::Http2), pooled).await? {
            Had::Pooled(shared) => Ok(shared),
            Had::Fresh(lease, _opening) => lease.into_http2(worker.config.outbound.http2_windows).await,
        }
    }

    /// What is pooled for the endpoint that was picked, or else a fresh connection to it.
    async fn connected<T>(
        &self,
        worker: &Worker,
        session: Option<Session>,
        pooled: impl Fn(&Rc<Endpoint>, Instant) -> Option<T>,
    ) -> Result<Had<T>, Refused> {
        let config = &worker.config.outbound;
        let queue = if session.is_some() { config.requests } else { config.connections };
        let mut deadline = None;
        let mut attempts = 0;
        loop {
            self.sync();
            let now = Instant::now();
            self.last_used.set(now);
            let wait_until = match self.pick(now, worker.random()) {
                Ok(endpoint) => {
                    if let Some(pooled) = pooled(&endpoint, now) {
                        return Ok(Had::Pooled(pooled));
                    }
                    let opening = match session {
                        Some(Session::Http2) => Some(endpoint.http2.to_open().await),
                        _ => None,
                    };
                    if let Some(pooled) = opening.as_ref().and_then(|_| pooled(&endpoint, now)) {
                        return Ok(Had::Pooled(pooled));
                    }
                    match self.connect(&endpoint, session, worker).await {
                        Ok(lease) => return Ok(Had::Fresh(lease, opening)),
                        Err(refused) => {
                            attempts += 1;
                            if attempts >= ATTEMPTS || !self.is_balanced() {
                                return Err(refused);
                            }
                            continue;
                        }
                    }
                }
                Err(wait_until) => wait_until,
            };
            self.wait(wait_until, &mut deadline, queue).await?;
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
                let security = match endpoint.identity() {
                    _ if local => Security::Plain("loopback"),
                    Some(id) => Security::Mutual(id.as_str()),
                    None => Security::Plain("not_provided_by_service_discovery"),
                };
                let meter = worker.metrics.connected(Direction::outbound, endpoint.reach.addr(), &security);
                let link = link.metered(meter);
                Ok(Lease { link, reused: false, load: InFlight::new(Rc::clone(endpoint), Instant::now(), true) })
            }
            Err(refused) => {
                // One address that is no service's has no other to turn to: each connection tries it for itself.
                if self.is_balanced() {
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
        queue: Queue,
    ) -> Result<(), Refused> {
        if self.failing.get() {
            return Err(Refusal::Failfast.into());
        }
        let _waiting = Waiting::new(&self.waiting, queue.capacity)?;
        let deadline = *deadline.get_or_insert_with(|| tokio::time::Instant::now() + queue.failfast);
        let until = until.map_or(deadline, |time| deadline.min(time.into()));
        if !self.changed_before(until).await && until == deadline {
            self.failing.set(!self.endpoints.borrow().is_empty());
            return Err(match (self.known.get(), self.endpoints.borrow().is_empty()) {
                (false, _) => Refusal::DiscoveryUnavailable,
                (true, true) => Refusal::NoEndpoints,
                (true, false) => Refusal::Failfast,
            }
            .into());
        }
        Ok(())
    }

    /// Waits for discovery to say something new. `false`: `deadline` came first.
    async fn changed_before(&self, deadline: tokio::time::Instant) -> bool {
        let source = self.source.as_ref().map(|source| source.borrow().clone());
        if let Some(mut source) = source
            && let Ok(changed) = tokio::time::timeout_at(deadline, source.changed()).await
            && changed.is_ok()
        {
            return true;
        }
        // Nothing new will come: the endpoint is fixed, or the control thread has ended.
        tokio::time::sleep_until(deadline).await;
        false
    }

    fn is_balanced(&self) -> bool {
        self.source.is_some()
    }

    /// What the service is called; `None`: it is one address.
    pub(crate) fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// Takes over what discovery said since the last look; one atomic load if it said nothing.
    fn sync(&self) {
        if self.source.as_ref().is_some_and(|source| source.borrow().has_changed().unwrap_or(false)) {
            self.read();
        }
    }

    fn read(&self) {
        let Some(source) = &self.source else { return };
        let Some(newest) = source.borrow_mut().borrow_and_update().clone() else { return };
        let mut known: HashMap<SocketAddr, Rc<Endpoint>> =
            self.endpoints.take().into_iter().map(|endpoint| (endpoint.reach.addr(), endpoint)).collect();
        let now = Instant::now();
        let newcomer = PeakEwma::among(known.values().map(|endpoint| endpoint.load()), now);
        let keep = |reach: &Reach| match known.remove(&reach.addr()) {
            Some(endpoint) if endpoint.reach == *reach => endpoint,
            changed => {
                if let Some(old) = changed {
                    old.withdraw();
                }
                self.failing.set(false);
                Endpoint::new(reach.clone(), newcomer.clone())
            }
        };
        let endpoints = newest.iter().map(keep).collect();
        known.values().for_each(|gone| gone.withdraw());
        self.endpoints.replace(endpoints);
        self.known.set(true);
    }

    /// Closes idle connections; says whether anything of the service was in use since `unused_since`.
    pub(crate) fn sweep(&self, now: Instant, pool_idle: Duration, unused_since: Instant) -> bool {
        for endpoint in self.endpoints.borrow().iter() {
            endpoint.sweep(now, pool_idle);
        }
        self.last_used.get() > unused_since || self.endpoints.borrow().iter().any(|endpoint| endpoint.has_idle())
    }
}

/// The backends that a worker knows, by path.
pub(crate) struct Services {
    control: Control,
    known: RefCell<HashMap<Arc<str>, Rc<Service>>>,
}

impl Services {
    pub(crate) fn new(control: Control) -> Rc<Self> {
        Rc::new(Self { control, known: RefCell::default() })
    }

    /// The backend of a path; the first use asks the control thread to watch it.
    pub(crate) fn of(&self, path: &Arc<str>) -> Rc<Service> {
        let mut known = self.known.borrow_mut();
        if let Some(service) = known.get(path) {
            return Rc::clone(service);
        }
        let service = Service::balanced(path.clone(), self.control.watch_service(path.clone()), Instant::now());
        known.insert(path.clone(), Rc::clone(&service));
        service
    }

    /// Closes idle connections, and forgets what has not been used since `unused_since`.
    pub(crate) fn sweep(&self, now: Instant, pool_idle: Duration, unused_since: Instant) {
        let used = |service: &Rc<Service>| service.sweep(now, pool_idle, unused_since) || Rc::strong_count(service) > 1;
        self.known.borrow_mut().retain(|_, service| used(service));
    }
}
