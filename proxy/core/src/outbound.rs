//! Where traffic to an original destination goes: one policy, out of what two controllers say (A.1.6).

use crate::route::{InvalidRegex, Routes};
use outrigger_model::{
    Backend, Dispatch, Distribution, Endpoint, HttpRouting, Load, Meta, OpaqueRoute, OpaqueRule, OutboundPolicy,
    OutboundProtocol, OutboundRoute, OutboundRule, Profile, Refusal, RouteBackend, TlsRoute,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

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
        http1: Routes<OutboundRoute>,
        http2: Routes<OutboundRoute>,
        opaque: Arc<[OpaqueRoute]>,
    },
    Http1(Routes<OutboundRoute>),
    /// gRPC too.
    Http2(Routes<OutboundRoute>),
    Opaque(Arc<[OpaqueRoute]>),
    Tls(Arc<[TlsRoute]>),
}

impl Plan {
    /// Compiles every route; one that does not compile makes the whole policy unusable.
    pub fn compile(policy: OutboundPolicy) -> Result<Self, InvalidRegex> {
        let http = |routing: HttpRouting| Routes::compile(routing.routes);
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
    pub fn http(&self, version: Version) -> Option<&Routes<OutboundRoute>> {
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
