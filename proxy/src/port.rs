//! The policy of one inbound port as a worker uses it.

use crate::refused::Refused;
use outrigger_model::{Authorization, InboundPolicy, InboundProtocol, InboundRoute, Refusal};
use outrigger_proxy_core::authorize::{Client, authorize};
use outrigger_proxy_core::route::{Head, Routes};
use std::sync::Arc;
use std::time::Duration;
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

/// A policy with its routes compiled.
#[derive(Debug)]
pub(crate) struct Policy {
    pub policy: InboundPolicy,
    routes: Routes<InboundRoute>,
}

impl Policy {
    /// Compiles the routes; the error names what does not compile.
    pub(crate) fn compile(policy: InboundPolicy) -> Result<Self, String> {
        let routes = match &policy.protocol {
            InboundProtocol::Detect { routes, .. }
            | InboundProtocol::Http1 { routes }
            | InboundProtocol::Http2 { routes }
            | InboundProtocol::Grpc { routes } => routes.clone(),
            InboundProtocol::Opaque | InboundProtocol::Tls => Arc::default(),
        };
        for route in routes.iter() {
            if route.rules.iter().any(|rule| !rule.filters.is_empty()) {
                return Err(format!("{} has filters, which this proxy does not apply to inbound requests", route.meta));
            }
        }
        let routes = Routes::compile(routes).map_err(|error| error.to_string())?;
        Ok(Self { policy, routes })
    }

    /// Whether the client may open a connection that carries bytes.
    pub(crate) fn admit_connection(&self, client: Client<'_>) -> Result<&Authorization, Refused> {
        let denied = || Refused::new(Refusal::ConnectionUnauthorized, &self.policy.meta);
        authorize(&self.policy.authorizations, client).ok_or_else(denied)
    }

    /// Whether the client may send the request: a route must match, and the route or the port must admit it.
    pub(crate) fn admit_request(&self, client: Client<'_>, request: &impl Head) -> Result<&Authorization, Refused> {
        let found = self.routes.find(request).ok_or_else(|| Refused::new(Refusal::NoRoute, &self.policy.meta))?;
        let route = &self.routes.all()[found.0];
        let admitted =
            authorize(&route.authorizations, client).or_else(|| authorize(&self.policy.authorizations, client));
        admitted.ok_or_else(|| Refused::new(Refusal::RequestUnauthorized, &self.policy.meta))
    }

    /// Whether a route takes every request, so that none needs to be looked for.
    pub(crate) fn takes_every_request(&self) -> bool {
        self.routes.take_everything()
    }

    /// Whether some route admits clients that the port itself does not: then every request must be seen.
    pub(crate) fn decides_by_route(&self) -> bool {
        match &self.policy.protocol {
            InboundProtocol::Detect { routes, .. }
            | InboundProtocol::Http1 { routes }
            | InboundProtocol::Http2 { routes }
            | InboundProtocol::Grpc { routes } => routes.iter().any(|route| !route.meta.is_default()),
            InboundProtocol::Opaque | InboundProtocol::Tls => false,
        }
    }
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
