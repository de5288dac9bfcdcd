//! The HTTP routes of a port: those attached to its Server, else one for everything and one for its probes.

use crate::authorization::{self, GROUP};
use crate::{Config, workload::Workload};
use outrigger_cluster::{HttpRoute, ParentRef, Server, World};
use outrigger_model::{
    Authentication, Authorization, InboundRoute, Meta, NetworkMatch, PathMatch, RouteMatch, RouteRule,
};
use std::sync::Arc;
use thiserror::Error;

/// Why a route does not attach to a Server that it names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum NotAccepted {
    #[error("Server {0} does not exist")]
    NoServer(String),
    #[error("Server {0} is of another namespace; a route attaches to Servers of its own")]
    OtherNamespace(String),
    #[error("a port or sectionName means nothing with Server {0}, which is one port; leave it out")]
    PortOrSection(String),
}

/// The Server that a parent reference names: `None` for a reference to something else.
pub(crate) fn parent<'a>(
    world: &'a World,
    route: &HttpRoute,
    parent: &ParentRef,
) -> Option<Result<&'a Server, NotAccepted>> {
    if !parent.target.is(GROUP, "Server") {
        return None;
    }
    let own = &route.meta.key.namespace;
    let key = parent.target.key(own);
    Some(if key.namespace != *own {
        Err(NotAccepted::OtherNamespace(key.to_string()))
    } else if parent.port.is_some() || parent.section.is_some() {
        Err(NotAccepted::PortOrSection(key.to_string()))
    } else {
        world.servers.get(&key).map(|server| &**server).ok_or_else(|| NotAccepted::NoServer(key.to_string()))
    })
}

/// The routes attached to the Server, oldest first. None: the default routes.
pub(crate) fn of_server(world: &World, config: &Config, server: &Server, probes: &[&str]) -> Arc<[InboundRoute]> {
    let attached = |route: &&HttpRoute| {
        let mut parents = route.parents.iter().filter_map(|p| parent(world, route, p));
        parents.any(|accepted| accepted.is_ok_and(|s| s.meta.key == server.meta.key))
    };
    let mut routes: Vec<_> = all(world, &server.meta.key.namespace).filter(attached).collect();
    if routes.is_empty() {
        return defaults(config, probes);
    }
    routes.sort_by(|a, b| a.meta.precedence().cmp(&b.meta.precedence()));
    let inbound = |route: &HttpRoute| InboundRoute {
        meta: Meta::object(route.group, "HTTPRoute", &route.meta.key.namespace, &route.meta.key.name),
        hosts: route.hosts.clone(),
        authorizations: authorization::of_route(world, config, route),
        rules: route.rules.clone(),
    };
    routes.into_iter().map(inbound).collect()
}

/// Both groups' HTTPRoutes of the namespace.
pub(crate) fn all<'a>(world: &'a World, namespace: &str) -> impl Iterator<Item = &'a HttpRoute> {
    let gateway = World::in_namespace(&world.gateway_http_routes, namespace);
    World::in_namespace(&world.http_routes, namespace).chain(gateway).map(|route| &**route)
}

/// One route for every request; beside it one for the probes, which come without an identity (A.3.5).
pub(crate) fn defaults(config: &Config, probes: &[&str]) -> Arc<[InboundRoute]> {
    let everything = RouteMatch { path: Some(PathMatch::Prefix("/".into())), ..RouteMatch::default() };
    let default = default_route("default", vec![everything], Arc::default());
    if probes.is_empty() || config.probe_networks.is_empty() {
        return [default].into();
    }
    let probe = |path: &&str| RouteMatch {
        path: Some(PathMatch::Exact((*path).into())),
        method: Some("GET".into()),
        ..RouteMatch::default()
    };
    let kubelets = Authorization {
        meta: Meta::default_named("probe"),
        networks: config.probe_networks.iter().copied().map(NetworkMatch::all_of).collect(),
        authentication: Authentication::Unauthenticated,
    };
    [default, default_route("probe", probes.iter().map(probe).collect(), [kubelets].into())].into()
}

fn default_route(name: &str, matches: Vec<RouteMatch>, authorizations: Arc<[Authorization]>) -> InboundRoute {
    let rules = vec![RouteRule { matches, filters: Vec::new() }];
    InboundRoute { meta: Meta::default_named(name), hosts: Vec::new(), authorizations, rules }
}

/// The paths that the workload's probes ask for at the port.
pub(crate) fn probes<'a>(workload: &Workload<'a>, port: u16) -> Vec<&'a str> {
    workload.probe_paths(port).into_iter().collect()
}
