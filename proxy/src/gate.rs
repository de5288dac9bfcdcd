//! What stands between a request and where it goes, in either direction.

use crate::admission::InboundGate;
use crate::chosen::{Chosen, To};
use crate::config::{Config, Side};
use crate::destination::OutboundGate;
use crate::endpoint::{Endpoint, InFlight, Lease};
use crate::http2_client::Sender;
use crate::metrics::Direction;
use crate::refused::Refused;
use crate::worker::Worker;
use outrigger_model::Refusal;
use outrigger_proxy_core::header::Session;
use outrigger_proxy_core::reply::Audience;
use outrigger_proxy_core::route::Head;

/// Who decides about requests, and where they go.
pub(crate) enum Gate {
    Outbound(OutboundGate),
    Inbound(Box<InboundGate>),
}

impl Gate {
    /// Whether the request may go on, and where; the newest policy decides.
    pub(crate) fn decide(&self, worker: &Worker, request: &impl Head) -> Result<Chosen, Refused> {
        match self {
            Self::Outbound(gate) => gate.choose(worker, request),
            Self::Inbound(gate) => {
                let filters = gate.admission.admit(request)?;
                Ok(Chosen { to: To::Application, filters, required_id: None })
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
        let lease = match (&chosen.to, self) {
            (To::Service(service), _) => service.lease(worker, Some(Session::Http1), fresh).await?,
            (To::Application, Self::Inbound(gate)) => gate.lease(worker, fresh).await?,
            (To::Application, Self::Outbound(_)) => return Err(Refusal::LoopbackTarget.into()),
        };
        chosen.check_identity(lease.load.endpoint())?;
        Ok(lease)
    }

    /// An HTTP/2 connection that others may share.
    pub(crate) async fn lease_http2(&self, worker: &Worker, chosen: &Chosen) -> Result<(Sender, InFlight), Refused> {
        let (sender, load) = match (&chosen.to, self) {
            (To::Service(service), _) => service.lease_http2(worker).await?,
            (To::Application, Self::Inbound(gate)) => gate.lease_http2(worker).await?,
            (To::Application, Self::Outbound(_)) => return Err(Refusal::LoopbackTarget.into()),
        };
        chosen.check_identity(load.endpoint())?;
        Ok((sender, load))
    }

    /// What a peer's proxy says of an answer that is its own (A.1.9): its error is logged. Whether the application's
    /// connection had better end.
    pub(crate) fn heed(&self, chosen: &Chosen, endpoint: &Endpoint, error: Option<&[u8]>, tears_down: bool) -> bool {
        if let (Self::Outbound(_), Some(error)) = (self, error) {
            let (endpoint, error) = (endpoint.reach.addr(), String::from_utf8_lossy(error));
            tracing::info!(event = "remote.proxy_error", %endpoint, %error);
        }
        tears_down && chosen.is_forward()
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
