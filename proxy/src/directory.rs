//! What a worker knows of destinations, ports and applications, and the way to ask for what it does not know.

use crate::control::Control;
use crate::destination::Destination;
use crate::endpoint::Endpoint;
use crate::port::{Policy, Port};
use crate::resolution::Reach;
use crate::service::Services;
use crate::worker::Worker;
use outrigger_proxy_core::balance::PeakEwma;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// See the module; of one thread.
pub(crate) struct Directory {
    pub worker: Rc<Worker>,
    control: Control,
    /// What the environment allows until the controller has answered.
    defaults: Defaults,
    destinations: RefCell<HashMap<SocketAddr, Rc<Destination>>>,
    services: Rc<Services>,
    ports: RefCell<HashMap<u16, (Port, Instant)>>,
    applications: RefCell<HashMap<SocketAddr, Rc<Endpoint>>>,
}

/// The environment's default policy, for ports with and without detection.
#[derive(Clone, Default)]
pub(crate) struct Defaults {
    pub detect: Option<Arc<Policy>>,
    pub opaque: Option<Arc<Policy>>,
}

impl Directory {
    pub(crate) fn new(worker: Rc<Worker>, control: Control, defaults: Defaults) -> Rc<Self> {
        Rc::new(Self {
            worker,
            services: Services::new(control.clone()),
            control,
            defaults,
            destinations: RefCell::default(),
            ports: RefCell::default(),
            applications: RefCell::default(),
        })
    }

    /// The destination at an original address; the first use asks the control thread to watch it.
    pub(crate) fn destination(&self, addr: SocketAddr) -> Rc<Destination> {
        let mut destinations = self.destinations.borrow_mut();
        let new = || Destination::new(self.control.watch(addr), Rc::clone(&self.services), Instant::now());
        Rc::clone(destinations.entry(addr).or_insert_with(new))
    }

    /// The policy of an inbound port; the first use asks the control thread to watch it.
    pub(crate) fn port(&self, port: u16) -> Port {
        let mut ports = self.ports.borrow_mut();
        let (known, used) = ports.entry(port).or_insert_with(|| {
            let opaque = self.worker.config.inbound.opaque_ports.iter().any(|range| range.contains(&port));
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

    /// Once a second: closes idle connections and forgets what nobody has used for long.
    pub(crate) async fn sweep_forever(self: Rc<Self>) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        loop {
            ticks.tick().await;
            let now = Instant::now();
            let (outbound, inbound) = (&self.worker.config.outbound, &self.worker.config.inbound);
            let old = now.checked_sub(outbound.idle).unwrap_or(now);
            self.services.sweep(now, outbound.side.pool_idle, old);
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
