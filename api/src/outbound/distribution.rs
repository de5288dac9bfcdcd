//! How rules choose among backends. Each of the four kinds of route says the same in messages of its own.

use super::backend::{backend_from_proto, backend_to_proto};
use crate::{InvalidMessage, all};
use outrigger_model::{Distribution, Filter, OpaqueFilter, RouteBackend};

macro_rules! distribution {
    ($route:ident, $filter:ty $(, $rest:expr)?) => {
        pub(super) mod $route {
            use super::*;
            use linkerd2_proxy_api::outbound::$route as wire;
            use wire::distribution::{Empty, FirstAvailable, Kind, RandomAvailable};

            /// `None`: a filter cannot be said.
            pub(in crate::outbound) fn to_proto(
                distribution: &Distribution<$filter>,
                filter: impl Fn(&$filter) -> Option<wire::Filter>,
            ) -> Option<wire::Distribution> {
                let backend = |backend: &RouteBackend<$filter>| {
                    Some(wire::RouteBackend {
                        backend: Some(backend_to_proto(&backend.backend)),
                        filters: backend.filters.iter().map(&filter).collect::<Option<_>>()?,
                        $(..$rest)?
                    })
                };
                let weighted = |(weight, of): &(u32, RouteBackend<$filter>)| {
                    Some(wire::WeightedRouteBackend { backend: Some(backend(of)?), weight: *weight })
                };
                let kind = match distribution {
                    Distribution::Empty => Kind::Empty(Empty {}),
                    Distribution::FirstAvailable(backends) => Kind::FirstAvailable(FirstAvailable {
                        backends: backends.iter().map(backend).collect::<Option<_>>()?,
                    }),
                    Distribution::RandomAvailable(backends) => Kind::RandomAvailable(RandomAvailable {
                        backends: backends.iter().map(weighted).collect::<Option<_>>()?,
                    }),
                };
                Some(wire::Distribution { kind: Some(kind) })
            }

            pub(in crate::outbound) fn from_proto(
                message: Option<wire::Distribution>,
                filter: impl Fn(wire::Filter) -> Result<$filter, InvalidMessage>,
            ) -> Result<Distribution<$filter>, InvalidMessage> {
                let backend = |backend: wire::RouteBackend| {
                    Ok(RouteBackend {
                        backend: backend_from_proto(backend.backend)?,
                        filters: all("filters", backend.filters, &filter)?,
                    })
                };
                let weighted = |weighted: wire::WeightedRouteBackend| {
                    let of = weighted.backend.ok_or_else(|| InvalidMessage::new("backend", "it is missing"))?;
                    Ok((weighted.weight, backend(of).map_err(|e: InvalidMessage| e.within("backend"))?))
                };
                match message.and_then(|message| message.kind) {
                    None => Err(InvalidMessage::new("backends.kind", "it is missing or of an unknown kind")),
                    Some(Kind::Empty(_)) => Ok(Distribution::Empty),
                    Some(Kind::FirstAvailable(first)) => {
                        first_available(all("backends.first_available.backends", first.backends, backend)?)
                    }
                    Some(Kind::RandomAvailable(random)) => {
                        random_available(all("backends.random_available.backends", random.backends, weighted)?)
                    }
                }
            }
        }
    };
}

distribution!(http_route, Filter, wire::RouteBackend::default());
distribution!(grpc_route, Filter, wire::RouteBackend::default());
distribution!(opaque_route, OpaqueFilter);
distribution!(tls_route, OpaqueFilter);

fn first_available<F>(backends: Vec<RouteBackend<F>>) -> Result<Distribution<F>, InvalidMessage> {
    if backends.is_empty() {
        return Err(InvalidMessage::new("backends.first_available.backends", "it is empty"));
    }
    Ok(Distribution::FirstAvailable(backends.into()))
}

fn random_available<F>(backends: Vec<(u32, RouteBackend<F>)>) -> Result<Distribution<F>, InvalidMessage> {
    if backends.is_empty() {
        return Err(InvalidMessage::new("backends.random_available.backends", "it is empty"));
    }
    // Gateway API, `HTTPBackendRef.weight`: where no backend has any, the rule's requests fail.
    let any = backends.iter().any(|(weight, _)| *weight != 0);
    Ok(if any { Distribution::RandomAvailable(backends.into()) } else { Distribution::Empty })
}
