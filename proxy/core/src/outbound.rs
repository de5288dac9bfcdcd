//! Where traffic to an original destination goes: one policy, out of what two controllers say (A.1.6).

use crate::filter::{Filters, InvalidFilter};
use crate::route::{Head, InvalidRegex, Routes};
use outrigger_model::{
    Backend, Dispatch, Distribution, Endpoint, HttpRouting, Load, Meta, OpaqueRoute, OpaqueRule, OutboundPolicy,
    OutboundProtocol, OutboundRoute, OutboundRule, Profile, Refusal, RouteBackend, TlsRoute,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// What a controller has said of a destination.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Answer<T> {
    /// Nothing yet.
    #[default]
    Waiting,
    /// Nothing yet, and the last attempt to ask failed.
    Failing,
    /// It knows nothing of the destination, or does not serve the question.
    Absent,
    /// It says what cannot be understood: nothing may go there.
    Invalid,
    Known(T),
}

/// The policy of a destination. `None`: not decided yet; an error is never taken for "not meshed".
///
/// A policy stands above a profile, but a profile may make its port opaque. Only where the policy controller knows
/// nothing does the profile decide alone, and only where both know nothing is the destination outside the mesh.
pub fn join(
    addr: SocketAddr,
    profile: &Answer<Profile>,
    policy: &Answer<OutboundPolicy>,
    detect: Duration,
) -> Option<Result<OutboundPolicy, Refusal>> {
    match (policy, profile) {
        (Answer::Invalid, _) | (Answer::Absent, Answer::Invalid) => Some(Err(Refusal::PolicyInvalid)),
        (Answer::Waiting | Answer::Failing, _) | (_, Answer::Waiting) | (Answer::Absent, Answer::Failing) => None,
        (Answer::Known(policy), Answer::Known(profile)) if profile.opaque => Some(Ok(made_opaque(policy.clone()))),
        (Answer::Known(policy), _) => Some(Ok(policy.clone())),
        (Answer::Absent, Answer::Known(profile)) => Some(of_profile(addr, profile, detect)),
        (Answer::Absent, Answer::Absent) => {
            Some(Ok(through(Dispatch::Forward(Endpoint::unmeshed(addr)), false, detect)))
        }
    }
}

fn made_opaque(policy: OutboundPolicy) -> OutboundPolicy {
    let protocol = match policy.protocol {
        OutboundProtocol::Detect { opaque, .. } => OutboundProtocol::Opaque(opaque),
        other => other,
    };
    OutboundPolicy { protocol, ..policy }
}

/// What a profile says alone: a service by name, one endpoint, or a port that the service does not declare (B.2.6).
fn of_profile(addr: SocketAddr, profile: &Profile, detect: Duration) -> Result<OutboundPolicy, Refusal> {
    let dispatch = match (&profile.service, &profile.endpoint) {
        (Some(service), _) => {
            Dispatch::Balancer { path: format!("{service}:{}", addr.port()).into(), load: DEFAULT_LOAD }
        }
        (None, Some(endpoint)) => Dispatch::Forward(endpoint.clone()),
        (None, None) => return Err(Refusal::UndefinedPort),
    };
    Ok(through(dispatch, profile.opaque, detect))
}

const DEFAULT_LOAD: Load =
    Load { default_rtt: crate::balance::DEFAULT_RTT, decay: crate::balance::DECAY, penalty: None };

/// Everything to one backend, in whatever protocol.
fn through(dispatch: Dispatch, opaque_only: bool, timeout: Duration) -> OutboundPolicy {
    let meta = Meta::default_named("default");
    let backend = Backend { meta: meta.clone(), queue: None, dispatch };
    let opaque: Arc<[OpaqueRoute]> =
        [OpaqueRoute { meta: meta.clone(), rule: OpaqueRule { filters: Vec::new(), backends: only(backend.clone()) } }]
            .into();
    let protocol = if opaque_only {
        OutboundProtocol::Opaque(opaque)
    } else {
        let rule = OutboundRule { backends: only(backend), ..OutboundRule::default() };
        let route = OutboundRoute { meta: meta.clone(), hosts: Vec::new(), rules: vec![rule] };
        let routing = HttpRouting { routes: [route].into(), failure_accrual: None };
        OutboundProtocol::Detect { timeout, http1: routing.clone(), http2: routing, opaque }
    };
    OutboundPolicy { meta, protocol }
}

fn only<F>(backend: Backend) -> Distribution<F> {
    Distribution::FirstAvailable([RouteBackend { backend, filters: Vec::new() }].into())
}

/// Why a policy cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidPolicy {
    #[error(transparent)]
    Regex(#[from] InvalidRegex),
    #[error("route {0}: {1}")]
    Filter(String, InvalidFilter),
}

/// Routes of requests, and what each rule's filters make of them.
#[derive(Debug)]
pub struct Requests {
    routes: Routes<OutboundRoute>,
    /// For each route, for each rule of it.
    filters: Vec<Vec<RuleFilters>>,
}

#[derive(Debug)]
struct RuleFilters {
    own: Option<Arc<Filters>>,
    /// For each backend: its own, after the rule's.
    backends: Vec<Option<Arc<Filters>>>,
}

/// The rule that takes a request.
#[derive(Debug, Clone, Copy)]
pub struct Taken<'a> {
    pub route: &'a OutboundRoute,
    pub rule: &'a OutboundRule,
    filters: &'a RuleFilters,
}

impl Requests {
    fn compile(routing: HttpRouting) -> Result<Self, InvalidPolicy> {
        let of_rule = |route: &OutboundRoute, rule: &OutboundRule| {
            let invalid = |error| InvalidPolicy::Filter(route.meta.to_string(), error);
            let own = Filters::compile(&rule.filters).map_err(invalid)?;
            let backends: Vec<_> = listed(&rule.backends)
                .map(|backend| {
                    let joined = match (Filters::compile(&backend.filters).map_err(invalid)?, &own) {
                        (None, own) => own.as_ref().map(|own| Filters::default().after(own)),
                        (Some(filters), None) => Some(filters),
                        (Some(filters), Some(own)) => Some(filters.after(own)),
                    };
                    Ok(joined.map(Arc::new))
                })
                .collect::<Result<_, InvalidPolicy>>()?;
            Ok(RuleFilters { own: own.map(Arc::new), backends })
        };
        let of_route = |route: &OutboundRoute| route.rules.iter().map(|rule| of_rule(route, rule)).collect();
        let filters = routing.routes.iter().map(of_route).collect::<Result<_, InvalidPolicy>>()?;
        Ok(Self { routes: Routes::compile(routing.routes)?, filters })
    }

    /// The best rule for the request. `None`: refuse with "no route".
    pub fn find(&self, request: &impl Head) -> Option<Taken<'_>> {
        self.routes.find(request).map(|(route, rule)| self.taken(route, rule))
    }

    /// The one rule, where it takes every request, has one backend and no filters: then nothing is left to decide.
    pub fn only(&self) -> Option<Taken<'_>> {
        let [route] = self.routes.all() else { return None };
        let [rule] = &route.rules[..] else { return None };
        let filters = &self.filters[0][0];
        let plain = filters.own.is_none() && matches!(&filters.backends[..], [None]);
        (plain && self.routes.take_everything()).then_some(Taken { route, rule, filters })
    }

    fn taken(&self, route: usize, rule: usize) -> Taken<'_> {
        let of = &self.routes.all()[route];
        Taken { route: of, rule: &of.rules[rule], filters: &self.filters[route][rule] }
    }
}

impl Taken<'_> {
    /// The rule's own filters, which may answer before there is a backend.
    pub fn filters(&self) -> Option<&Arc<Filters>> {
        self.filters.own.as_ref()
    }

    /// All filters of what goes to a backend, by its index; their answers are those of the backend's own.
    pub fn filters_of(&self, backend: usize) -> Option<&Arc<Filters>> {
        self.filters.backends.get(backend)?.as_ref()
    }
}

/// Every backend of a distribution, in its order.
fn listed<F>(backends: &Distribution<F>) -> Box<dyn Iterator<Item = &RouteBackend<F>> + '_> {
    match backends {
        Distribution::Empty => Box::new(std::iter::empty()),
        Distribution::FirstAvailable(list) => Box::new(list.iter()),
        Distribution::RandomAvailable(list) => Box::new(list.iter().map(|(_, backend)| backend)),
    }
}

/// One backend of a distribution, by its index.
pub fn nth<F>(backends: &Distribution<F>, index: usize) -> Option<&RouteBackend<F>> {
    listed(backends).nth(index)
}

/// A policy with its routes compiled.
#[derive(Debug)]
pub struct Plan {
    pub meta: Meta,
    pub protocol: Protocol,
}

/// What the destination speaks, and where that goes.
#[derive(Debug)]
pub enum Protocol {
    Detect {
        timeout: Duration,
        http1: Requests,
        http2: Requests,
        opaque: Arc<[OpaqueRoute]>,
    },
    Http1(Requests),
    /// gRPC too.
    Http2(Requests),
    Opaque(Arc<[OpaqueRoute]>),
    Tls(Arc<[TlsRoute]>),
}

impl Plan {
    /// Compiles every route and filter; one that does not compile makes the whole policy unusable.
    pub fn compile(policy: OutboundPolicy) -> Result<Self, InvalidPolicy> {
        let http = Requests::compile;
        let protocol = match policy.protocol {
            OutboundProtocol::Detect { timeout, http1, http2, opaque } => {
                Protocol::Detect { timeout, http1: http(http1)?, http2: http(http2)?, opaque }
            }
            OutboundProtocol::Http1(routing) => Protocol::Http1(http(routing)?),
            OutboundProtocol::Http2(routing) | OutboundProtocol::Grpc(routing) => Protocol::Http2(http(routing)?),
            OutboundProtocol::Opaque(routes) => Protocol::Opaque(routes),
            OutboundProtocol::Tls(routes) => Protocol::Tls(routes),
        };
        Ok(Self { meta: policy.meta, protocol })
    }

    /// The route of connections that are not looked into.
    pub fn opaque(&self) -> Option<&OpaqueRoute> {
        match &self.protocol {
            Protocol::Detect { opaque, .. } | Protocol::Opaque(opaque) => opaque.first(),
            Protocol::Http1(_) | Protocol::Http2(_) | Protocol::Tls(_) => None,
        }
    }

    /// The routes of requests, by HTTP version. A destination of one version takes no other.
    pub fn http(&self, version: Version) -> Option<&Requests> {
        match (&self.protocol, version) {
            (Protocol::Detect { http1, .. } | Protocol::Http1(http1), Version::Http1) => Some(http1),
            (Protocol::Detect { http2, .. } | Protocol::Http2(http2), Version::Http2) => Some(http2),
            _ => None,
        }
    }
}

/// A version of HTTP, as far as routes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Http1,
    Http2,
}

/// Which of the backends takes what comes next: an index. `ready` says whether one has an endpoint that can take it;
/// `random` is 64 uniform bits. `None`: there is no backend.
pub fn choose<F>(backends: &Distribution<F>, random: u64, ready: impl Fn(&Backend) -> bool) -> Option<usize> {
    match backends {
        Distribution::Empty => None,
        Distribution::FirstAvailable(list) => Some(list.iter().position(|b| ready(&b.backend)).unwrap_or(0)),
        Distribution::RandomAvailable(list) => {
            let ready = &ready;
            let of_ready = list.iter().map(move |(weight, b)| if ready(&b.backend) { *weight } else { 0 });
            by_weight(of_ready, random).or_else(|| by_weight(list.iter().map(|(weight, _)| *weight), random))
        }
    }
}

/// A random index, each with its weight's share; `None` where all weights are zero.
fn by_weight(weights: impl Iterator<Item = u32> + Clone, random: u64) -> Option<usize> {
    let total: u64 = weights.clone().map(u64::from).sum();
    let mut point = ((u128::from(random) * u128::from(total)) >> 64) as u64;
    weights.enumerate().find_map(|(i, weight)| {
        if point < u64::from(weight) {
            return Some(i);
        }
        point -= u64::from(weight);
        None
    })
}

#[cfg(test)]
mod tests;
