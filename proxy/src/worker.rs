//! What a worker, a thread with a runtime, has for all its connections. Nothing in it is locked.

use crate::config::Config;
use crate::drain::Drain;
use crate::metrics::{Direction, Metrics};
use crate::refused::Refused;
use outrigger_model::Refusal;
use outrigger_mtls::CredentialsWatch;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// A worker's state; of one thread.
pub(crate) struct Worker {
    pub config: Arc<Config>,
    pub credentials: CredentialsWatch,
    pub metrics: Metrics,
    pub drain: Drain,
    random: RefCell<SmallRng>,
    inbound_taken: Cell<usize>,
    outbound_taken: Cell<usize>,
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
    pub(crate) fn new(config: Arc<Config>, credentials: CredentialsWatch, metrics: Metrics) -> Rc<Self> {
        Rc::new(Self {
            config,
            credentials,
            metrics,
            drain: Drain::default(),
            random: RefCell::new(SmallRng::from_rng(&mut rand::rng())),
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

    /// Counts and logs a refusal.
    pub(crate) fn refused(&self, direction: Direction, client: SocketAddr, target: SocketAddr, refused: &Refused) {
        let Refused { refusal, detail, .. } = refused;
        self.metrics.refused(direction, *refusal);
        tracing::info!(
            event = "refused", number = refusal.number(), reason = refusal.label(), ?direction, %client, %target,
            detail = detail.as_deref(), "{refusal}",
        );
    }

    /// Counts and logs why an endpoint got no connection. Another may still serve the request: that is not refused.
    pub(crate) fn endpoint_failed(&self, endpoint: SocketAddr, refused: &Refused) {
        let Refused { refusal, detail, .. } = refused;
        self.metrics.refused(Direction::outbound, *refusal);
        tracing::warn!(
            event = "endpoint.failed", number = refusal.number(), reason = refusal.label(), %endpoint,
            detail = detail.as_deref(), "{refusal}",
        );
    }
}
