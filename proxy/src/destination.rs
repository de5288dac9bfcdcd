//! An original destination as a worker uses it: its plan, kept in step with the controllers, and the plan's backends.

use crate::refused::Refused;
use crate::resolution::{Reach, Resolution};
use crate::service::{Service, Services};
use crate::worker::Worker;
use outrigger_model::{
    Backend, Dispatch, Distribution, OpaqueFilter, OpaqueRoute, OutboundRoute, OutboundRule, Refusal,
};
use outrigger_proxy_core::outbound::{Plan, Version, choose};
use outrigger_proxy_core::route::{Head, Routes};
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
        self.plan()
    }

    /// The plan of this moment; [`Destination::has_changed`] speaks of what comes after it.
    fn plan(&self) -> Result<Arc<Plan>, Refused> {
        self.last_used.set(Instant::now());
        match &*self.source.borrow_mut().borrow_and_update() {
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
        self.backend(worker, &route.rule.backends, |backend| match backend.filters.first() {
            Some(filter) => Err(closed_by(filter, route)),
            None => Ok(&backend.backend),
        })
    }

    /// The service behind the backend that is to take what comes now.
    fn backend<'a, F>(
        &self,
        worker: &Worker,
        backends: &'a Distribution<F>,
        unfiltered: impl Fn(&'a outrigger_model::RouteBackend<F>) -> Result<&'a Backend, Refused>,
    ) -> Result<Rc<Service>, Refused> {
        let now = Instant::now();
        let ready = |backend: &Backend| self.service(backend).is_ok_and(|service| service.ready(now));
        // A single backend needs no choice, and no look at its endpoints.
        let chosen = match backends {
            Distribution::Empty => None,
            Distribution::FirstAvailable(list) if list.len() == 1 => list.first(),
            Distribution::FirstAvailable(list) => choose(backends, 0, ready).and_then(|i| list.get(i)),
            Distribution::RandomAvailable(list) => {
                choose(backends, worker.random(), ready).and_then(|i| list.get(i)).map(|(_, backend)| backend)
            }
        };
        let chosen = chosen.ok_or_else(|| Refused::new(Refusal::NoEndpoints, "the route has no backend"))?;
        self.service(unfiltered(chosen)?)
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
    plan: RefCell<Current>,
}

/// The plan as the connection last read it.
struct Current {
    plan: Arc<Plan>,
    /// Where everything goes, if the plan leaves no choice.
    only: Option<Rc<Service>>,
}

impl OutboundGate {
    pub(crate) fn new(worker: &Worker, destination: Rc<Destination>, plan: Arc<Plan>, version: Version) -> Self {
        let current = Current::new(worker, &destination, plan, version);
        Self { destination, version, plan: RefCell::new(current) }
    }

    /// The service that takes the request; the newest plan decides.
    pub(crate) fn choose(&self, worker: &Worker, request: &impl Head) -> Result<Rc<Service>, Refused> {
        let mut current = self.plan.borrow_mut();
        if self.destination.source.borrow().has_changed().unwrap_or(false) {
            let plan = self.destination.plan()?;
            *current = Current::new(worker, &self.destination, plan, self.version);
        }
        if let Some(only) = &current.only {
            return Ok(Rc::clone(only));
        }
        let routes = routes(&current.plan, self.version)?;
        let (route, rule) = routes.find(request).ok_or_else(|| Refused::new(Refusal::NoRoute, &current.plan.meta))?;
        self.destination.of_rule(worker, &routes.all()[route].rules[rule])
    }
}

impl Current {
    fn new(worker: &Worker, destination: &Destination, plan: Arc<Plan>, version: Version) -> Self {
        let sole = |routes: &Routes<OutboundRoute>| match routes.all() {
            [route] if routes.take_everything() && route.rules.len() == 1 => {
                let alone = matches!(&route.rules[0].backends, Distribution::FirstAvailable(list) if list.len() == 1);
                if alone { destination.of_rule(worker, &route.rules[0]).ok() } else { None }
            }
            _ => None,
        };
        let only = plan.http(version).and_then(sole);
        Self { plan, only }
    }
}

fn routes(plan: &Plan, version: Version) -> Result<&Routes<OutboundRoute>, Refused> {
    plan.http(version).ok_or_else(|| Refused::new(Refusal::ProtocolNotServed, &plan.meta))
}

impl Destination {
    fn of_rule(&self, worker: &Worker, rule: &OutboundRule) -> Result<Rc<Service>, Refused> {
        let unfilterable = |filters: &[outrigger_model::Filter]| match filters {
            [] => Ok(()),
            _ => Err(Refused::new(
                Refusal::PolicyInvalid,
                "the route's filters are not applied to outbound requests yet",
            )),
        };
        unfilterable(&rule.filters)?;
        self.backend(worker, &rule.backends, |backend| unfilterable(&backend.filters).map(|()| &backend.backend))
    }
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
