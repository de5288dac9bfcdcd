//! The policy of one inbound port as a worker uses it.

use crate::refused::Refused;
use outrigger_model::{Authorization, InboundPolicy, InboundProtocol, InboundRoute, Peer, Refusal, RouteRule};
use outrigger_proxy_core::authorize::{Client, authorize};
use outrigger_proxy_core::filter::Filters;
use outrigger_proxy_core::rate::{Limiter, Scope};
use outrigger_proxy_core::route::{Head, Routes};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What is known of a port's policy.
#[derive(Debug, Clone)]
pub(crate) enum PortState {
    /// The controller has not answered yet.
    Waiting,
    Known(Arc<Policy>),
    /// The controller's answer could not be understood: nobody may come in.
    Invalid(Arc<str>),
}

/// A policy with its routes and their filters compiled.
#[derive(Debug)]
pub(crate) struct Policy {
    pub policy: InboundPolicy,
    routes: Routes<InboundRoute>,
    /// Of each rule of each route.
    filters: Vec<Vec<Option<Arc<Filters>>>>,
    limiter: Option<Arc<Mutex<Limiter>>>,
}

/// What a policy says of a request.
pub(crate) enum Verdict<'a> {
    NoRoute,
    Denied(&'a InboundRoute),
    /// `None`: the policy is of bytes, and its port's authorization admits them.
    Admitted(Option<Taken<'a>>, &'a Authorization),
}

/// The route that a request takes.
#[derive(Clone, Copy)]
pub(crate) struct Taken<'a> {
    pub route: &'a InboundRoute,
    pub filters: Option<&'a Arc<Filters>>,
}

impl Policy {
    /// Compiles the routes; the error names what does not compile.
    pub(crate) fn compile(policy: InboundPolicy) -> Result<Self, String> {
        let routes = http_routes(&policy.protocol).cloned().unwrap_or_default();
        let filters = routes.iter().map(compile_filters).collect::<Result<_, _>>()?;
        let routes = Routes::compile(routes).map_err(|error| error.to_string())?;
        let limiter = policy.rate_limit.as_ref().map(|limit| Arc::new(Mutex::new(Limiter::new(limit, Instant::now()))));
        Ok(Self { policy, routes, filters, limiter })
    }

    /// Goes on counting where an earlier policy with the same rate limit stopped.
    #[must_use]
    pub(crate) fn following(self, earlier: &Self) -> Self {
        let same = earlier.policy.rate_limit == self.policy.rate_limit;
        Self { limiter: if same { earlier.limiter.clone() } else { self.limiter }, ..self }
    }

    /// Whether the client may open a connection that carries bytes.
    pub(crate) fn admit_connection(&self, client: Client<'_>) -> Result<&Authorization, Refused> {
        let denied = || Refused::new(Refusal::ConnectionUnauthorized, &self.policy.meta);
        authorize(&self.policy.authorizations, client).ok_or_else(denied)
    }

    /// Whether the client may send the request: a route must match, and the route or the port must admit it.
    pub(crate) fn judge(&self, client: Client<'_>, request: &impl Head) -> Verdict<'_> {
        let by_port = || authorize(&self.policy.authorizations, client);
        if http_routes(&self.policy.protocol).is_none() {
            return by_port().map_or(Verdict::NoRoute, |admitted| Verdict::Admitted(None, admitted));
        }
        let Some((route, rule)) = self.routes.find(request) else { return Verdict::NoRoute };
        let taken = Taken { route: &self.routes.all()[route], filters: self.filters[route][rule].as_ref() };
        match authorize(&taken.route.authorizations, client).or_else(by_port) {
            Some(admitted) => Verdict::Admitted(Some(taken), admitted),
            None => Verdict::Denied(taken.route),
        }
    }

    /// Counts a request of the client against the rate limit.
    pub(crate) fn limit(&self, client: Option<&Peer>) -> Result<(), Scope> {
        match &self.limiter {
            Some(limiter) => limiter.lock().take(client, Instant::now()),
            None => Ok(()),
        }
    }

    /// Whether a client that the port admits may send every request: then none needs a closer look.
    pub(crate) fn leaves_requests_alone(&self) -> bool {
        self.limiter.is_none()
            && self.routes.take_everything()
            && self.routes.all().iter().all(|route| route.meta.is_default())
            && self.filters.iter().flatten().all(Option::is_none)
    }
}

fn http_routes(protocol: &InboundProtocol) -> Option<&Arc<[InboundRoute]>> {
    match protocol {
        InboundProtocol::Detect { routes, .. }
        | InboundProtocol::Http1 { routes }
        | InboundProtocol::Http2 { routes }
        | InboundProtocol::Grpc { routes } => Some(routes),
        InboundProtocol::Opaque | InboundProtocol::Tls => None,
    }
}

fn compile_filters(route: &InboundRoute) -> Result<Vec<Option<Arc<Filters>>>, String> {
    let compile = |rule: &RouteRule| {
        let filters = Filters::compile(&rule.filters).map_err(|error| format!("{}: {error}", route.meta))?;
        for name in filters.iter().flat_map(|filters| &filters.ignored) {
            tracing::warn!(event = "filter.ignored", route = %route.meta, %name, "only a proxy may change this header");
        }
        Ok(filters.map(Arc::new))
    };
    route.rules.iter().map(compile).collect()
}

/// A port's policy, kept in step with the controller. Each connection has one of its own.
#[derive(Clone)]
pub(crate) struct Port {
    source: watch::Receiver<PortState>,
    /// What holds until the controller answers, if the environment says so.
    default: Option<Arc<Policy>>,
}

impl Port {
    pub(crate) fn new(source: watch::Receiver<PortState>, default: Option<Arc<Policy>>) -> Self {
        Self { source, default }
    }

    /// The policy, waiting at most `within` for the first answer; then the environment's default, else a refusal.
    pub(crate) async fn resolved(&mut self, within: Duration) -> Result<Arc<Policy>, Refused> {
        let answer = self.source.wait_for(|state| !matches!(state, PortState::Waiting));
        let _ = tokio::time::timeout(within, answer).await;
        self.current()
    }

    /// The policy of this moment; [`Port::changed`] speaks of what comes after it.
    pub(crate) fn current(&mut self) -> Result<Arc<Policy>, Refused> {
        match &*self.source.borrow_and_update() {
            PortState::Known(policy) => Ok(policy.clone()),
            PortState::Invalid(why) => Err(Refused::new(Refusal::PolicyInvalid, why)),
            PortState::Waiting => self.default.clone().ok_or_else(|| Refusal::PolicyUnknown.into()),
        }
    }

    /// Whether the controller has sent another policy since [`Port::current`]; one atomic load.
    pub(crate) fn has_changed(&self) -> bool {
        self.source.has_changed().unwrap_or(false)
    }

    /// Returns once [`Port::has_changed`].
    pub(crate) async fn changed(&mut self) {
        if self.source.changed().await.is_err() {
            // The control thread has ended: the last policy stands.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrigger_model::{DefaultPolicy, Meta};

    fn deny() -> InboundPolicy {
        let authorizations = DefaultPolicy::Deny.authorizations(&[], false);
        InboundPolicy {
            meta: Meta::default_named("deny"),
            protocol: InboundProtocol::Opaque,
            authorizations,
            rate_limit: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unanswered_port_waits_and_then_denies() {
        let (states, source) = watch::channel(PortState::Waiting);
        let mut port = Port::new(source.clone(), None);
        let before = tokio::time::Instant::now();
        let refused = port.resolved(Duration::from_secs(10)).await.unwrap_err();
        assert_eq!(refused.refusal, Refusal::PolicyUnknown);
        assert_eq!(before.elapsed(), Duration::from_secs(10));

        let default = Arc::new(Policy::compile(deny()).unwrap());
        let mut with_default = Port::new(source, Some(default));
        assert!(with_default.resolved(Duration::from_secs(10)).await.is_ok(), "the explicit default holds instead");

        states.send_replace(PortState::Invalid("no kind".into()));
        assert_eq!(
            with_default.current().unwrap_err().refusal,
            Refusal::PolicyInvalid,
            "an answer replaces the default"
        );
    }
}
