//! What stands between a request and where it goes, in either direction.

use crate::admission::InboundGate;
use crate::config::{Config, Side};
use crate::destination::OutboundGate;
use crate::endpoint::{InFlight, Lease};
use crate::http2_client::Sender;
use crate::metrics::Direction;
use crate::refused::Refused;
use crate::service::Service;
use crate::worker::Worker;
use outrigger_model::{HeaderModifier, Refusal};
use outrigger_proxy_core::filter::Filters;
use outrigger_proxy_core::header::Session;
use outrigger_proxy_core::reply::Audience;
use outrigger_proxy_core::route::Head;
use std::rc::Rc;
use std::sync::Arc;

/// Who decides about requests, and where they go.
pub(crate) enum Gate {
    Outbound(OutboundGate),
    Inbound(Box<InboundGate>),
}

/// How a request goes on.
pub(crate) struct Chosen {
    pub to: To,
    /// The route's filters, for the request that goes on and the response that comes back.
    pub filters: Option<Arc<Filters>>,
}

/// Where a request goes on.
pub(crate) enum To {
    Service(Rc<Service>),
    Application,
}

impl Chosen {
    /// Header changes of the request.
    pub(crate) fn changes(&self) -> &[HeaderModifier] {
        self.filters.as_ref().map_or(&[], |filters| &filters.request)
    }
}

impl Gate {
    /// Whether the request may go on, and where; the newest policy decides.
    pub(crate) fn decide(&self, worker: &Worker, request: &impl Head) -> Result<Chosen, Refused> {
        match self {
            Self::Outbound(gate) => Ok(Chosen { to: To::Service(gate.choose(worker, request)?), filters: None }),
            Self::Inbound(gate) => {
                Ok(Chosen { to: To::Application, filters: gate.admission.admit(|| worker.random(), request)? })
            }
        }
    }

    pub(crate) fn client_id(&self) -> Option<&str> {
        match self {
            Self::Outbound(_) => None,
            Self::Inbound(gate) => gate.client_id.as_deref(),
        }
    }

    /// A connection for one HTTP/1 request. `fresh`: not one that was used before.
    pub(crate) async fn lease(&self, worker: &Worker, chosen: &Chosen, fresh: bool) -> Result<Lease, Refused> {
        match (&chosen.to, self) {
            (To::Service(service), _) => service.lease(worker, Some(Session::Http1), fresh).await,
            (To::Application, Self::Inbound(gate)) => gate.lease(worker, fresh).await,
            (To::Application, Self::Outbound(_)) => Err(Refusal::LoopbackTarget.into()),
        }
    }

    /// An HTTP/2 connection that others may share.
    pub(crate) async fn lease_http2(&self, worker: &Worker, chosen: &Chosen) -> Result<(Sender, InFlight), Refused> {
        match (&chosen.to, self) {
            (To::Service(service), _) => service.lease_http2(worker).await,
            (To::Application, Self::Inbound(gate)) => gate.lease_http2(worker).await,
            (To::Application, Self::Outbound(_)) => Err(Refusal::LoopbackTarget.into()),
        }
    }

    pub(crate) fn direction(&self) -> Direction {
        match self {
            Self::Outbound(_) => Direction::outbound,
            Self::Inbound(_) => Direction::inbound,
        }
    }

    pub(crate) fn side<'a>(&self, config: &'a Config) -> &'a Side {
        match self {
            Self::Outbound(_) => &config.outbound.side,
            Self::Inbound(_) => &config.inbound.side,
        }
    }

    /// What the client may be told of a refusal (A.1.9).
    pub(crate) fn audience(&self, config: &Config) -> Audience {
        match self {
            Self::Outbound(_) if config.outbound.informs => Audience::Application,
            Self::Inbound(gate) if gate.client_id.is_some() => Audience::Peer,
            Self::Outbound(_) | Self::Inbound(_) => Audience::Stranger,
        }
    }
}
