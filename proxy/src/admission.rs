//! Who arrived at a port, and whether what they ask for may go on to the application.

use crate::connect;
use crate::endpoint::{Endpoint, InFlight, Lease};
use crate::http2_client::Sender;
use crate::port::{Policy, Port};
use crate::refused::Refused;
use crate::worker::Worker;
use outrigger_model::{Peer, Refusal};
use outrigger_proxy_core::authorize::{Client, ClientTls};
use outrigger_proxy_core::route::Head;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// A connection that has arrived: who it is from and what it is for.
pub(crate) struct Arrival {
    pub from: SocketAddr,
    pub tls: Tls,
    /// The application's address.
    pub to: SocketAddr,
    pub port: Port,
}

/// How the client secured the connection.
pub(crate) enum Tls {
    None,
    Anonymous,
    Authenticated(Peer),
}

impl Arrival {
    pub(crate) fn client(&self) -> Client<'_> {
        let tls = match &self.tls {
            Tls::None => ClientTls::None,
            Tls::Anonymous => ClientTls::Anonymous,
            Tls::Authenticated(peer) => ClientTls::Authenticated(peer),
        };
        Client { addr: self.from.ip(), tls }
    }

    fn peer(&self) -> Option<&Peer> {
        match &self.tls {
            Tls::Authenticated(peer) => Some(peer),
            Tls::None | Tls::Anonymous => None,
        }
    }
}

/// Refuses a connection to ourselves.
pub(crate) fn guard_loop(worker: &Worker, target: SocketAddr) -> Result<(), Refused> {
    let own = target.port() == worker.config.inbound.listen.port();
    if own { Err(Refused::new(Refusal::Loop, target)) } else { Ok(()) }
}

/// What an HTTP connection asks before each request.
pub(crate) struct InboundGate {
    application: Rc<Endpoint>,
    /// For `l5d-client-id`.
    pub client_id: Option<Box<str>>,
    admission: RefCell<Admission>,
    arrival: Arrival,
}

/// The policy as the connection last read it.
struct Admission {
    port: Port,
    policy: Option<Arc<Policy>>,
    /// This policy admits every request of this client: no route of it decides.
    always: bool,
}

impl InboundGate {
    pub(crate) fn new(application: Rc<Endpoint>, arrival: Arrival) -> Self {
        let client_id = arrival.peer().map(|peer| peer.identity().as_str().into());
        let admission = RefCell::new(Admission { policy: None, always: false, port: arrival.port.clone() });
        Self { application, client_id, admission, arrival }
    }

    /// Whether the request may go on; the newest policy decides.
    pub(crate) fn admit(&self, request: &impl Head) -> Result<(), Refused> {
        let mut admission = self.admission.borrow_mut();
        if admission.policy.is_none() || admission.port.has_changed() {
            let policy = admission.port.current()?;
            let client = self.arrival.client();
            admission.always = !policy.decides_by_route() && policy.admit_connection(client).is_ok();
            admission.policy = Some(policy);
        }
        let policy = admission.policy.as_ref().ok_or(Refusal::PolicyUnknown)?;
        if admission.always && policy.takes_every_request() {
            return Ok(());
        }
        policy.admit_request(self.arrival.client(), request).map(|_| ())
    }

    /// A connection to the application.
    pub(crate) async fn lease(&self, worker: &Worker, fresh: bool) -> Result<Lease, Refused> {
        guard_loop(worker, self.arrival.to)?;
        let pooled = if fresh { None } else { self.application.checkout() };
        let reused = pooled.is_some();
        let link = match pooled {
            Some(link) => link,
            None => connect::application(self.arrival.to, &worker.config.inbound.side).await?,
        };
        Ok(Lease { link, reused, load: self.load() })
    }

    /// The application's HTTP/2 connection.
    pub(crate) async fn lease_http2(&self, worker: &Worker) -> Result<(Sender, InFlight), Refused> {
        let shared = || self.application.http2.shared().map(|sender| (sender, self.load()));
        if let Some(shared) = shared() {
            return Ok(shared);
        }
        let _opening = self.application.http2.to_open().await;
        match shared() {
            Some(shared) => Ok(shared),
            None => self.lease(worker, true).await?.into_http2(worker.config.outbound.http2_windows).await,
        }
    }

    fn load(&self) -> InFlight {
        InFlight::new(Rc::clone(&self.application), Instant::now(), false)
    }
}
