//! An original destination as a worker uses it: its plan, kept in step with the controllers, and the plan's backends.

use crate::chosen::{Chosen, To};
use crate::refused::Refused;
use crate::resolution::{Reach, Resolution};
use crate::service::{Service, Services};
use crate::worker::Worker;
use outrigger_model::{Backend, Dispatch, Distribution, OpaqueFilter, OpaqueRoute, Refusal, RouteBackend};
use outrigger_proxy_core::filter::Filters;
use outrigger_proxy_core::outbound::{Plan, Requests, Taken, Version, choose, nth};
use outrigger_proxy_core::route::Head;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// See the module.
pub(crate) struct Destination {
    source: RefCell<watch::Receiver<Resolution>>,
    services: Rc<Services>,
    /// Backends without discovery.
    forwards: RefCell<HashMap<SocketAddr, Rc<Service>>>,
    last_used: Cell<Instant>,
}

impl Destination {
    pub(crate) fn new(source: watch::Receiver<Resolution>, services: Rc<Services>, now: Instant) -> Rc<Self> {
        let (forwards, last_used) = (RefCell::default(), Cell::new(now));
        Rc::new(Self { source: RefCell::new(source), services, forwards, last_used })
    }

    /// The plan, waiting at most `within` for it. An error is never taken for "not meshed".
    pub(crate) async fn resolved(&self, within: Duration) -> Result<Arc<Plan>, Refused> {
        let mut source = self.source.borrow().clone();
        let answer = source.wait_for(|resolution| !matches!(resolution, Resolution::Waiting));
        let _ = tokio::time::timeout(within, answer).await;
        self.plan_in(&mut source)
    }

    /// The plan of this moment, to whoever reads by `source`.
    fn plan_in(&self, source: &mut watch::Receiver<Resolution>) -> Result<Arc<Plan>, Refused> {
        self.last_used.set(Instant::now());
        match &*source.borrow_and_update() {
            Resolution::Known(plan) => Ok(plan.clone()),
            Resolution::Refused(refusal, why) => Err(Refused::new(*refusal, why)),
            Resolution::Waiting => Err(Refusal::DiscoveryUnavailable.into()),
        }
    }

    /// Where a connection of bytes goes.
    pub(crate) fn opaque(&self, worker: &Worker, route: Option<&OpaqueRoute>) -> Result<Rc<Service>, Refused> {
        let route = route.ok_or_else(|| Refused::new(Refusal::NoRoute, "the policy has none for plain bytes"))?;
        if let Some(filter) = route.rule.filters.first() {
            return Err(closed_by(filter, route));
        }
        let (_, backend) = self.backend(worker, &route.rule.backends)?;
        match backend.filters.first() {
            Some(filter) => Err(closed_by(filter, route)),
            None => self.service(&backend.backend),
        }
    }

    /// The backend that is to take what comes now, and its index.
    fn backend<'a, F>(
        &self,
        worker: &Worker,
        backends: &'a Distribution<F>,
    ) -> Result<(usize, &'a RouteBackend<F>), Refused> {
        let now = Instant::now();
        let ready = |backend: &Backend| self.service(backend).is_ok_and(|service| service.ready(now));
        let chosen = choose(backends, worker.random(), ready).and_then(|i| Some((i, nth(backends, i)?)));
        chosen.ok_or_else(|| Refused::new(Refusal::NoEndpoints, "the route has no backend"))
    }

    /// Where a request goes that a rule has taken.
    fn of_rule(&self, worker: &Worker, taken: Taken<'_>, request: &impl Head) -> Result<Chosen, Refused> {
        let answered = |filters: Option<&Arc<Filters>>| {
            let answer = filters.and_then(|filters| filters.answer(request, worker.random()));
            answer.map_or(Ok(()), |answer| Err(Refused::by_filter(answer, &taken.route.meta)))
        };
        answered(taken.filters())?;
        let (index, backend) = self.backend(worker, &taken.rule.backends)?;
        let filters = taken.filters_of(index);
        answered(filters)?;
        let to = To::Service(self.service(&backend.backend)?);
        Ok(Chosen { to, filters: filters.cloned(), required_id: required_id(request) })
    }

    fn service(&self, backend: &Backend) -> Result<Rc<Service>, Refused> {
        match &backend.dispatch {
            Dispatch::Balancer { path, .. } => Ok(self.services.of(path)),
            Dispatch::Fail => Err(Refused::new(Refusal::PolicyInvalid, &backend.meta)),
            Dispatch::Forward(endpoint) => {
                let reach = Reach::Endpoint(endpoint.clone());
                let mut forwards = self.forwards.borrow_mut();
                match forwards.get(&endpoint.addr).filter(|service| service.reaches_only(&reach)) {
                    Some(service) => Ok(Rc::clone(service)),
                    None => {
                        let service = Service::fixed(reach, Instant::now());
                        forwards.insert(endpoint.addr, Rc::clone(&service));
                        Ok(service)
                    }
                }
            }
        }
    }

    /// Closes idle connections; says whether the destination was in use since `unused_since`.
    pub(crate) fn sweep(&self, now: Instant, pool_idle: Duration, unused_since: Instant) -> bool {
        self.forwards.borrow_mut().retain(|_, service| service.sweep(now, pool_idle, unused_since));
        self.last_used.get() > unused_since || !self.forwards.borrow().is_empty()
    }
}

fn closed_by(filter: &OpaqueFilter, route: &OpaqueRoute) -> Refused {
    match filter {
        OpaqueFilter::Forbidden if &*route.meta.name == "undefined-port" => {
            Refused::new(Refusal::UndefinedPort, &route.meta)
        }
        OpaqueFilter::Forbidden => Refused::new(Refusal::Forbidden, &route.meta),
        OpaqueFilter::Invalid(why) => Refused::new(Refusal::PolicyInvalid, why),
        OpaqueFilter::Unknown => Refused::new(Refusal::PolicyInvalid, "a filter of an unknown kind"),
    }
}

/// How one connection of requests to a destination finds each request's service.
pub(crate) struct OutboundGate {
    destination: Rc<Destination>,
    version: Version,
    state: RefCell<State>,
}

struct State {
    /// The connection's own: what another connection has read is new to this one.
    source: watch::Receiver<Resolution>,
    /// As it was last read.
    plan: Option<Arc<Plan>>,
    /// Where everything goes, if the plan leaves no choice.
    only: Option<Rc<Service>>,
}

impl OutboundGate {
    pub(crate) fn new(destination: Rc<Destination>, version: Version) -> Self {
        let state = State { source: destination.source.borrow().clone(), plan: None, only: None };
        Self { destination, version, state: RefCell::new(state) }
    }

    /// The service that takes the request; the newest plan decides.
    pub(crate) fn choose(&self, worker: &Worker, request: &impl Head) -> Result<Chosen, Refused> {
        let mut state = self.state.borrow_mut();
        if state.plan.is_none() || state.source.has_changed().unwrap_or(false) {
            self.read(&mut state)?;
        }
        if let Some(only) = &state.only {
            let to = To::Service(Rc::clone(only));
            return Ok(Chosen { to, filters: None, required_id: required_id(request) });
        }
        let plan = state.plan.as_ref().ok_or(Refusal::DiscoveryUnavailable)?;
        let taken = self.requests(plan)?.find(request);
        let taken = taken.ok_or_else(|| Refused::new(Refusal::NoRoute, &plan.meta))?;
        self.destination.of_rule(worker, taken, request)
    }

    fn read(&self, state: &mut State) -> Result<(), Refused> {
        (state.plan, state.only) = (None, None);
        let plan = self.destination.plan_in(&mut state.source)?;
        let sole = self.requests(&plan)?.only().and_then(|taken| nth(&taken.rule.backends, 0));
        state.only = sole.and_then(|sole| self.destination.service(&sole.backend).ok());
        state.plan = Some(plan);
        Ok(())
    }

    fn requests<'a>(&self, plan: &'a Plan) -> Result<&'a Requests, Refused> {
        plan.http(self.version).ok_or_else(|| Refused::new(Refusal::ProtocolNotServed, &plan.meta))
    }
}

fn required_id(request: &impl Head) -> Option<Box<[u8]>> {
    request.required_id().map(Into::into)
}

/// What to call a plan's traffic in metrics: its only backend's path, else its parent.
pub(crate) fn label(plan: &Plan, target: SocketAddr) -> String {
    let of = |backend: &Backend| match &backend.dispatch {
        Dispatch::Balancer { path, .. } => path.to_string(),
        Dispatch::Forward(_) | Dispatch::Fail => target.to_string(),
    };
    match plan.opaque().map(|route| &route.rule.backends) {
        Some(Distribution::FirstAvailable(list)) => list.first().map_or_else(|| target.to_string(), |b| of(&b.backend)),
        _ => plan.meta.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Control;
    use outrigger_model::{Endpoint, Profile};
    use outrigger_proxy_core::http1::{Request, fields};
    use outrigger_proxy_core::outbound::{Answer, join};

    fn forward_to(port: u16) -> Resolution {
        let endpoint = Some(Endpoint::unmeshed(([10, 0, 0, 1], port).into()));
        let profile = Answer::Known(Profile { endpoint, ..Profile::default() });
        let addr = ([10, 0, 0, 9], 80).into();
        let policy = join(addr, &profile, &Answer::Absent, Duration::from_secs(10)).unwrap().unwrap();
        Resolution::Known(Arc::new(Plan::compile(policy).unwrap()))
    }

    #[test]
    fn every_connection_hears_of_a_new_plan() {
        let worker = crate::http::tests::worker(&[]);
        let (plans, source) = watch::channel(forward_to(1));
        let destination = Destination::new(source, Services::new(Control::new().0), Instant::now());
        let gates = [(); 2].map(|()| OutboundGate::new(destination.clone(), Version::Http1));
        for port in [1, 2] {
            plans.send_replace(forward_to(port));
            for gate in &gates {
                let mut room = fields();
                let request = Request::parse(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", &mut room).unwrap().unwrap();
                let To::Service(service) = gate.choose(&worker, &request).unwrap().to else { panic!() };
                let reach = Reach::Endpoint(Endpoint::unmeshed(([10, 0, 0, 1], port).into()));
                assert!(service.reaches_only(&reach), "port {port}");
            }
        }
    }
}
