//! What the control thread publishes of destinations and their backends, for every worker to read.

use outrigger_model::{Endpoint, Refusal};
use outrigger_proxy_core::outbound::Plan;
use std::net::SocketAddr;
use std::sync::Arc;

/// What the controllers say of an original destination.
#[derive(Debug, Clone)]
pub(crate) enum Resolution {
    /// Not enough to decide.
    Waiting,
    Known(Arc<Plan>),
    /// Nothing may go there, and why.
    Refused(Refusal, Arc<str>),
}

/// A backend's endpoints, sorted by address; `None`: the controller has not said them yet.
pub(crate) type Endpoints = Option<Arc<[Reach]>>;

/// What discovery says of one address of a service.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reach {
    Endpoint(Endpoint),
    /// It exists, but what was said of its identity cannot be read: it must not be reached.
    Unusable(SocketAddr, Box<str>),
}

impl Reach {
    pub(crate) fn addr(&self) -> SocketAddr {
        match self {
            Self::Endpoint(endpoint) => endpoint.addr,
            Self::Unusable(addr, _) => *addr,
        }
    }
}
