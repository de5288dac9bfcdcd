//! One worker: a thread with a runtime, its view of destinations and ports, its pools. Nothing in it is locked.

use crate::config::Config;
use crate::control::Control;
use crate::destination::Destination;
use crate::drain::Drain;
use crate::endpoint::{Endpoint, Reach};
use crate::metrics::{Direction, Metrics};
use crate::port::{Policy, Port};
use crate::refused::Refused;
use crate::service::Service;
use outrigger_model::Refusal;
use outrigger_mtls::CredentialsWatch;
use outrigger_proxy_core::balance::PeakEwma;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A worker's state; of one thread.
pub(crate) struct Worker {
    pub config: Arc<Config>,
    pub credentials: CredentialsWatch,
    pub metrics: Metrics,
    pub drain: Drain,
    control: Control,
    /// What the environment allows until the controller has answered.
    defaults: Defaults,
    random: RefCell<SmallRng>,
    destinations: RefCell<HashMap<SocketAddr, Rc<Destination>>>,
    services: RefCell<HashMap<Arc<str>, Rc<Service>>>,
    ports: RefCell<HashMap<u16, (Port, Instant)>>,
    applications: RefCell<HashMap<SocketAddr, Rc<Endpoint>>>,
    inbound_taken: Cell<usize>,
    outbound_taken: Cell<usize>,
}

/// The environment's default policy, for ports with and without detection.
#[derive(Clone, Default)]
pub(crate) struct Defaults {
    pub detect: Option<Arc<Policy>>,
    pub opaque: Option<Arc<Policy>>,
}

/// A place in one direction of the worker, held by a connection or an HTTP/2 request.
pub(crate) struct Place(Rc<Worker>, Direction);

impl Drop for Place {
    fn drop(&mut self) {
        let taken = self.0.taken(self.1);
        taken.set(taken.get() - 1);
    }
}

impl Worker {
    pub(crate) fn new(
        config: Arc<Config>,
        credentials: CredentialsWatch,
        metrics: Metrics,
        control: Control,
        defaults: Defaults,
    ) -> Rc<Self> {
        Rc::new(Self {
            config,
            credentials,
            metrics,
            control,
            defaults,
            drain: Drain::default(),
            random: RefCell::new(SmallRng::from_rng(&mut rand::rng())),
            destinations: RefCell::default(),
            services: RefCell::default(),
            ports: RefCell::default(),
            applications: RefCell::default(),
            inbound_taken: Cell::default(),
            outbound_taken: Cell::default(),
        })
    }

    /// Room for one more connection, unless the worker is full or draining.
    pub(crate) fn admit(self: &Rc<Self>, direction: Direction) -> Result<Place, Refusal> {
        if self.drain.draining() { Err(Refusal::Draining) } else { self.place(direction) }
    }

    /// Room for one more request, unless the worker is full. Workers share what the process may hold evenly.
    pub(crate) fn place(self: &Rc<Self>, direction: Direction) -> Result<Place, Refusal> {
        let side = match direction {
            Direction::inbound => &self.config.inbound.side,
            Direction::outbound => &self.config.outbound.side,
        };
        let taken = self.taken(direction);
        if taken.get() >= side.max_in_flight.div_ceil(self.config.process.workers) {
            return Err(Refusal::Overloaded);
        }
        taken.set(taken.get() + 1);
        Ok(Place(Rc::clone(self), direction))
    }

    fn taken(&self, direction: Direction) -> &Cell<usize> {
        match direction {
            Direction::inbound => &self.inbound_taken,
            Direction::outbound => &self.outbound_taken,
        }
    }

    /// Whether nothing is open any more.
    pub(crate) fn is_idle(&self) -> bool {
        self.inbound_taken.get() + self.outbound_taken.get() == 0
    }

    /// 64 uniform bits.
    pub(crate) fn random(&self) -> u64 {
        self.random.borrow_mut().random()
    }

    /// Uniform in 0..1.
    pub(crate) fn random_share(&self) -> f64 {
        self.random.borrow_mut().random()
    }

    /// The destination at an original address; the first use asks the control thread to watch it.
    pub(crate) fn destination(&self, addr: SocketAddr) -> Rc<Destination> {
        let mut destinations = self.destinations.borrow_mut();
        let new = || Destination::new(self.control.watch(addr), Instant::now());
        Rc::clone(destinations.entry(addr).or_insert_with(new))
    }

    /// The backend of a path; the first use asks the control thread to watch it.
    pub(crate) fn service(&self, path: &Arc<str>) -> Rc<Service> {
        let mut services = self.services.borrow_mut();
        if let Some(service) = services.get(path) {
            return Rc::clone(service);
        }
        let service = Service::balanced(self.control.watch_service(path.clone()), Instant::now());
        services.insert(path.clone(), Rc::clone(&service));
        service
    }

    /// The policy of an inbound port; the first use asks the control thread to watch it.
    pub(crate) fn port(&self, port: u16) -> Port {
        let mut ports = self.ports.borrow_mut();
        let (known, used) = ports.entry(port).or_insert_with(|| {
            let opaque = self.config.inbound.opaque_ports.iter().any(|range| range.contains(&port));
            let default = if opaque { &self.defaults.opaque } else { &self.defaults.detect };
            (Port::new(self.control.watch_port(port), default.clone()), Instant::now())
        });
        *used = Instant::now();
        known.clone()
    }

    /// The application's own address, with its idle connections.
    pub(crate) fn application(&self, addr: SocketAddr) -> Rc<Endpoint> {
        let mut applications = self.applications.borrow_mut();
        let new = || {
            let reach = Reach::Endpoint(outrigger_model::Endpoint::unmeshed(addr));
            Endpoint::new(reach, PeakEwma::new(Instant::now()))
        };
        Rc::clone(applications.entry(addr).or_insert_with(new))
    }

    /// Counts and logs a refusal.
    pub(crate) fn refused(&self, direction: Direction, client: SocketAddr, target: SocketAddr, refused: &Refused) {
        let Refused { refusal, detail } = refused;
        self.metrics.refused(direction, *refusal);
        tracing::info!(
            event = "refused", number = refusal.number(), reason = refusal.label(), ?direction, %client, %target,
            detail = detail.as_deref(), "{refusal}",
        );
    }

    /// Counts and logs why an endpoint got no connection. Another may still serve the request: that is not refused.
    pub(crate) fn endpoint_failed(&self, endpoint: SocketAddr, refused: &Refused) {
        let Refused { refusal, detail } = refused;
        self.metrics.refused(Direction::outbound, *refusal);
        tracing::warn!(
            event = "endpoint.failed", number = refusal.number(), reason = refusal.label(), %endpoint,
            detail = detail.as_deref(), "{refusal}",
        );
    }

    /// Once a second: closes idle connections and forgets what nobody has used for long.
    pub(crate) async fn sweep_forever(self: Rc<Self>) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        loop {
            ticks.tick().await;
            let now = Instant::now();
            let (outbound, inbound) = (&self.config.outbound, &self.config.inbound);
            let old = now.checked_sub(outbound.idle).unwrap_or(now);
            self.services
                .borrow_mut()
                .retain(|_, service| service.sweep(now, outbound.side.pool_idle, old) || Rc::strong_count(service) > 1);
            self.destinations.borrow_mut().retain(|_, destination| {
                destination.sweep(now, outbound.side.pool_idle, old) || Rc::strong_count(destination) > 1
            });
            self.ports.borrow_mut().retain(|_, (_, used)| now.duration_since(*used) < inbound.idle);
            self.applications.borrow_mut().retain(|_, application| {
                application.sweep(now, inbound.side.pool_idle);
                application.has_idle() || Rc::strong_count(application) > 1
            });
        }
    }
}
