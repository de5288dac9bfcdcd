//! Routes of whole connections: opaque, and TLS by SNI. Both say their rule alike, in messages of their own.

use super::distribution;
use crate::meta::{meta_from_proto, meta_to_proto};
use crate::{InvalidMessage, all};
use linkerd2_proxy_api::http_route::{HostMatch, host_match};
use linkerd2_proxy_api::opaque_route::{Forbidden, Invalid};
use linkerd2_proxy_api::outbound;
use linkerd2_proxy_api::tls_route::{SniMatch, sni_match};
use outrigger_model::{OpaqueFilter, OpaqueRoute, OpaqueRule, TlsRoute};

pub(super) fn routes_to_proto(routes: &[OpaqueRoute]) -> Vec<outbound::OpaqueRoute> {
    let one = |route: &OpaqueRoute| outbound::OpaqueRoute {
        metadata: Some(meta_to_proto(&route.meta)),
        rules: vec![opaque_route::to_proto(&route.rule)],
    };
    routes.iter().map(one).collect()
}

pub(super) fn route_from_proto(message: outbound::OpaqueRoute) -> Result<OpaqueRoute, InvalidMessage> {
    Ok(OpaqueRoute {
        meta: meta_from_proto(message.metadata)?,
        rule: opaque_route::from_proto(message.rules).map_err(|e| e.within("rules"))?,
    })
}

pub(super) fn tls_routes_to_proto(routes: &[TlsRoute]) -> Vec<outbound::TlsRoute> {
    let one = |route: &TlsRoute| outbound::TlsRoute {
        metadata: Some(meta_to_proto(&route.meta)),
        snis: crate::http_route::hosts_to_proto(&route.snis).into_iter().map(sni_to_proto).collect(),
        rules: vec![tls_route::to_proto(&route.rule)],
    };
    routes.iter().map(one).collect()
}

pub(super) fn tls_route_from_proto(message: outbound::TlsRoute) -> Result<TlsRoute, InvalidMessage> {
    let sni = |sni| crate::http_route::host_from_proto(sni_from_proto(sni));
    Ok(TlsRoute {
        meta: meta_from_proto(message.metadata)?,
        snis: all("snis", message.snis, sni)?,
        rule: tls_route::from_proto(message.rules).map_err(|e| e.within("rules"))?,
    })
}

fn sni_to_proto(host: HostMatch) -> SniMatch {
    SniMatch {
        r#match: host.r#match.map(|host| match host {
            host_match::Match::Exact(name) => sni_match::Match::Exact(name),
            host_match::Match::Suffix(host_match::Suffix { reverse_labels }) => {
                sni_match::Match::Suffix(sni_match::Suffix { reverse_labels })
            }
        }),
    }
}

fn sni_from_proto(sni: SniMatch) -> HostMatch {
    HostMatch {
        r#match: sni.r#match.map(|sni| match sni {
            sni_match::Match::Exact(name) => host_match::Match::Exact(name),
            sni_match::Match::Suffix(sni_match::Suffix { reverse_labels }) => {
                host_match::Match::Suffix(host_match::Suffix { reverse_labels })
            }
        }),
    }
}

macro_rules! opaque_rule {
    ($route:ident) => {
        mod $route {
            use super::distribution::$route as distribution;
            use super::*;
            use linkerd2_proxy_api::outbound::$route::{Filter, Rule, filter::Kind};

            pub(super) fn to_proto(rule: &OpaqueRule) -> Rule {
                Rule {
                    backends: distribution::to_proto(&rule.backends, |filter| Some(filter_to_proto(filter))),
                    filters: rule.filters.iter().map(filter_to_proto).collect(),
                }
            }

            /// A route without a rule goes nowhere, and nothing chooses among several.
            pub(super) fn from_proto(rules: Vec<Rule>) -> Result<OpaqueRule, InvalidMessage> {
                let rules: [Rule; 1] =
                    rules.try_into().map_err(|_| InvalidMessage::new("len", "it is not exactly one"))?;
                let [Rule { backends, filters }] = rules;
                Ok(OpaqueRule {
                    filters: all("filters", filters, filter_from_proto)?,
                    backends: distribution::from_proto(backends, filter_from_proto)?,
                })
            }

            fn filter_to_proto(filter: &OpaqueFilter) -> Filter {
                let kind = match filter {
                    OpaqueFilter::Forbidden => Kind::Forbidden(Forbidden {}),
                    OpaqueFilter::Invalid(message) => Kind::Invalid(Invalid { message: message.to_string() }),
                    OpaqueFilter::Unknown => {
                        Kind::Invalid(Invalid { message: "the route has a filter that is not supported".to_owned() })
                    }
                };
                Filter { kind: Some(kind) }
            }

            fn filter_from_proto(filter: Filter) -> Result<OpaqueFilter, InvalidMessage> {
                Ok(match filter.kind {
                    Some(Kind::Forbidden(Forbidden {})) => OpaqueFilter::Forbidden,
                    Some(Kind::Invalid(Invalid { message })) => OpaqueFilter::Invalid(message.into()),
                    None => OpaqueFilter::Unknown,
                })
            }
        }
    };
}

opaque_rule!(opaque_route);
opaque_rule!(tls_route);
