//! What inbound policies decided.

use super::connections::{Security, target};
use super::kept::{Kept, Labels, Metric};
use outrigger_model::Meta;
use outrigger_proxy_core::rate::Scope;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A decision that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decided {
    HttpAllow,
    HttpDeny,
    HttpNoRoute,
    HttpLimited,
    TcpAllow,
    TcpDeny,
    TcpTerminate,
}

/// What a decision was about.
pub(crate) struct About<'a> {
    pub to: SocketAddr,
    pub security: Security<'a>,
    /// The Server, or the default policy.
    pub server: &'a Meta,
    pub route: Option<&'a Meta>,
    pub authorization: Option<&'a Meta>,
    pub limit: Option<(&'a Meta, Scope)>,
}

/// A family for each decision.
#[derive(Clone)]
pub(super) struct Decisions([Kept<Counter>; 7]);

macro_rules! families {
    ($($name:literal $help:literal),* $(,)?) => {
        [$(&[Metric { name: $name, help: $help, of: |counter| counter }]),*]
    };
}

/// In the order of [`Decided`].
const FAMILIES: [&[Metric<Counter>]; 7] = families![
    "inbound_http_authz_allow" "Requests that an authorization admitted",
    "inbound_http_authz_deny" "Requests that no authorization admitted",
    "inbound_http_route_not_found" "Requests that no route matched",
    "inbound_http_local_ratelimit" "Requests over the rate limit",
    "inbound_tcp_authz_allow" "Connections that an authorization admitted",
    "inbound_tcp_authz_deny" "Connections that no authorization admitted",
    "inbound_tcp_authz_terminate" "Connections that were ended because their authorization was withdrawn",
];

impl Decisions {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self(FAMILIES.map(|family| Kept::register(registry, family)))
    }

    pub(super) fn of(&self, decided: Decided, about: &About<'_>) -> Arc<Counter> {
        self.0[decided as usize].of(about.labels())
    }

    pub(super) fn forget_idle(&self, now: Instant, retain: Duration) {
        self.0.iter().for_each(|family| family.forget_idle(now, retain));
    }
}

impl About<'_> {
    fn labels(&self) -> Labels {
        let object = |names: [&'static str; 3], meta: &Meta| {
            names.into_iter().zip([&meta.group, &meta.kind, &meta.name].map(|value| value.to_string()))
        };
        let mut labels = target(self.to);
        labels.extend(object(["srv_group", "srv_kind", "srv_name"], self.server));
        if let Some(route) = self.route {
            labels.extend(object(["route_group", "route_kind", "route_name"], route));
        }
        if let Some(authorization) = self.authorization {
            labels.extend(object(["authz_group", "authz_kind", "authz_name"], authorization));
        }
        if let Some((limit, scope)) = self.limit {
            labels.extend(object(["ratelimit_group", "ratelimit_kind", "ratelimit_name"], limit));
            let scope = match scope {
                Scope::Total => "total",
                Scope::Identity => "identity",
            };
            labels.push(("scope", scope.to_owned()));
        }
        labels.extend(self.security.labels("client_id"));
        labels
    }
}
