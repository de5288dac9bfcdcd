//! Who arrived at a port, and whether what they ask for may go on to the application.

use crate::connect;
use crate::endpoint::{Endpoint, InFlight, Lease};
use crate::http2_client::Sender;
use crate::link::Link;
use crate::metrics::{About, Decided, Direction, Meter, Security};
use crate::port::{Policy, Port, Taken, Verdict};
use crate::refused::Refused;
use crate::worker::Worker;
use outrigger_model::{Authorization, Meta, Peer, Refusal};
use outrigger_proxy_core::authorize::{Client, ClientTls};
use outrigger_proxy_core::filter::Filters;
use outrigger_proxy_core::route::Head;
use prometheus_client::metrics::counter::Counter;
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
    /// The port's policy lets bytes pass unread.
    Unread,
    None,
    /// TLS for another name, which passes as it is.
    Passed,
    Anonymous,
    Authenticated(Peer),
}

impl Arrival {
    pub(crate) fn client(&self) -> Client<'_> {
        let tls = match &self.tls {
            Tls::Unread | Tls::None | Tls::Passed => ClientTls::None,
            Tls::Anonymous => ClientTls::Anonymous,
            Tls::Authenticated(peer) => ClientTls::Authenticated(peer),
        };
        Client { addr: self.from.ip(), tls }
    }

    fn peer(&self) -> Option<&Peer> {
        match &self.tls {
            Tls::Authenticated(peer) => Some(peer),
            Tls::Unread | Tls::None | Tls::Passed | Tls::Anonymous => None,
        }
    }

    /// For metrics.
    pub(crate) fn security(&self) -> Security<'_> {
        match &self.tls {
            Tls::Unread => Security::Plain("port_skipped"),
            Tls::None => Security::Plain("no_tls_from_remote"),
            Tls::Passed => Security::Passed,
            Tls::Anonymous => Security::Anonymous,
            Tls::Authenticated(peer) => Security::Mutual(peer.identity().as_str()),
        }
    }

    /// Counts the connection.
    pub(crate) fn meter(&self, worker: &Worker) -> Meter {
        worker.metrics.accepted(Direction::inbound, self.to, &self.security())
    }

    /// A new connection to the application.
    pub(crate) async fn connect(&self, worker: &Worker) -> Result<Link, Refused> {
        let link = connect::application(self.to, &worker.config.inbound.side).await?;
        Ok(link.metered(worker.metrics.connected(Direction::inbound, self.to, &Security::Plain("loopback"))))
    }

    /// What a decision about this client is counted by.
    pub(crate) fn about<'a>(&'a self, policy: &'a Policy) -> About<'a> {
        let (to, security) = (self.to, self.security());
        About { to, security, server: &policy.policy.meta, route: None, authorization: None, limit: None }
    }

    /// Writes down what the policy `audit` admits (A.3.3).
    pub(crate) fn audit(&self, authorization: &Authorization) {
        if is_audit(authorization) {
            let client_id = self.peer().map(|peer| peer.identity().as_str());
            tracing::info!(event = "audit.allowed", client = %self.from, client_id, target = %self.to);
        }
    }
}

fn is_audit(authorization: &Authorization) -> bool {
    authorization.meta.is_default() && &*authorization.meta.name == "audit"
}

/// Refuses a connection to ourselves.
pub(crate) fn guard_loop(worker: &Worker, target: SocketAddr) -> Result<(), Refused> {
    let own = target.port() == worker.config.inbound.listen.port();
    if own { Err(Refused::new(Refusal::Loop, target)) } else { Ok(()) }
}

/// What a client's requests ask of the port's policy.
pub(crate) struct Admission {
    worker: Rc<Worker>,
    arrival: Arrival,
    state: RefCell<State>,
}

struct State {
    port: Port,
    /// As it was last read.
    policy: Option<Arc<Policy>>,
    /// The policy admits every request of this client; how that is counted.
    always: Option<Arc<Counter>>,
    /// How this policy's decisions about this client are counted, by decision, route and authorization.
    counts: Vec<(Key, Arc<Counter>)>,
}

type Key = (Decided, [usize; 2]);

impl Admission {
    pub(crate) fn new(worker: Rc<Worker>, arrival: Arrival) -> Self {
        let port = arrival.port.clone();
        Self { worker, arrival, state: RefCell::new(State { port, policy: None, always: None, counts: Vec::new() }) }
    }

    /// Whether the request may go on, and the filters of its route; the newest policy decides.
    pub(crate) fn admit(&self, request: &impl Head) -> Result<Option<Arc<Filters>>, Refused> {
        let mut state = self.state.borrow_mut();
        if state.policy.is_none() || state.port.has_changed() {
            self.read(&mut state)?;
        }
        if let Some(allowed) = &state.always {
            allowed.inc();
            return Ok(None);
        }
        let policy = state.policy.clone().ok_or(Refusal::PolicyUnknown)?;
        let refused = |refusal| Refused::new(refusal, &policy.policy.meta);
        let about = self.arrival.about(&policy);
        match policy.judge(self.arrival.client(), request) {
            Verdict::NoRoute => {
                self.count(&mut state, Decided::HttpNoRoute, &about);
                Err(refused(Refusal::NoRoute))
            }
            Verdict::Denied(route) => {
                self.count(&mut state, Decided::HttpDeny, &About { route: Some(&route.meta), ..about });
                Err(refused(Refusal::RequestUnauthorized))
            }
            Verdict::Admitted(taken, authorization) => {
                let (route, meta) = (taken.map(|taken| &taken.route.meta), &authorization.meta);
                let allowed = About { route, authorization: Some(meta), ..about };
                self.count(&mut state, Decided::HttpAllow, &allowed);
                self.arrival.audit(authorization);
                let filters = taken.map_or(Ok(None), |taken| self.filtered(taken, request))?;
                self.limit(&mut state, &policy)?;
                Ok(filters)
            }
        }
    }

    fn read(&self, state: &mut State) -> Result<(), Refused> {
        // Whatever was admitted before says nothing while the newest policy cannot be read.
        (state.policy, state.always) = (None, None);
        state.counts.clear();
        let policy = state.port.current()?;
        if policy.leaves_requests_alone()
            && let Ok(authorization) = policy.admit_connection(self.arrival.client())
            && !is_audit(authorization)
        {
            let about = About { authorization: Some(&authorization.meta), ..self.arrival.about(&policy) };
            state.always = Some(self.worker.metrics.decided(Decided::HttpAllow, &about));
        }
        state.policy = Some(policy);
        Ok(())
    }

    fn filtered(&self, taken: Taken<'_>, request: &impl Head) -> Result<Option<Arc<Filters>>, Refused> {
        let Some(filters) = taken.filters else { return Ok(None) };
        match filters.answer(request, self.worker.random()) {
            Some(answer) => Err(Refused::by_filter(answer, &taken.route.meta)),
            None => Ok(Some(Arc::clone(filters))),
        }
    }

    fn limit(&self, state: &mut State, policy: &Policy) -> Result<(), Refused> {
        let Err(scope) = policy.limit(self.arrival.peer()) else { return Ok(()) };
        let limit = policy.policy.rate_limit.as_ref().map(|limit| (&limit.meta, scope));
        self.count(state, Decided::HttpLimited, &About { limit, ..self.arrival.about(policy) });
        Err(Refused::new(Refusal::RateLimited, &policy.policy.meta))
    }

    fn count(&self, state: &mut State, decided: Decided, about: &About<'_>) {
        // The policy that these belong to is held, so that an address means one object.
        let address = |meta: Option<&Meta>| meta.map_or(0, |meta| std::ptr::from_ref(meta) as usize);
        let scope = about.limit.map_or(0, |(_, scope)| 1 + scope as usize);
        let key = (decided, [address(about.route), address(about.authorization) + scope]);
        if let Some((_, counter)) = state.counts.iter().find(|(known, _)| *known == key) {
            counter.inc();
            return;
        }
        let counter = self.worker.metrics.decided(decided, about);
        counter.inc();
        state.counts.push((key, counter));
    }
}

/// What an HTTP connection asks before each request, and the application behind it.
pub(crate) struct InboundGate {
    application: Rc<Endpoint>,
    /// For `l5d-client-id`.
    pub client_id: Option<Box<str>>,
    pub admission: Admission,
}

impl InboundGate {
    pub(crate) fn new(application: Rc<Endpoint>, admission: Admission) -> Self {
        let client_id = admission.arrival.peer().map(|peer| peer.identity().as_str().into());
        Self { application, client_id, admission }
    }

    fn to(&self) -> SocketAddr {
        self.admission.arrival.to
    }

    /// A connection to the application.
    pub(crate) async fn lease(&self, worker: &Worker, fresh: bool) -> Result<Lease, Refused> {
        guard_loop(worker, self.to())?;
        let pooled = if fresh { None } else { self.application.checkout() };
        let reused = pooled.is_some();
        let link = match pooled {
            Some(link) => link,
            None => self.admission.arrival.connect(worker).await?,
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
