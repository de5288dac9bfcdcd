//! What in a namespace does not do what its author probably meant.

use crate::Config;
use crate::authorization::{Ignored, Target, authorization_policy};
use crate::outbound;
use crate::route::{self, NotAccepted};
use crate::server::ServerStatus;
use crate::workload::{DEFAULT_POLICY, InvalidAnnotation, Workload, invalid_annotations};
use outrigger_cluster::{Key, World};
use std::collections::BTreeSet;
use std::fmt;

/// An object, and why it has less effect than it seems.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Kind, namespace and name.
    pub object: String,
    pub what: What,
}

/// What is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// The Server's status, as a sentence.
    SelectsNothing(String),
    /// The Server's status, as a sentence.
    Shadowed(String),
    AnnotatedServer,
    PolicyIgnored(Ignored),
    /// The target, which does not exist.
    PolicyWithoutTarget(String),
    RouteNotAccepted(NotAccepted),
    Annotation(InvalidAnnotation),
}

impl What {
    /// The stable key of the log line.
    pub fn event(&self) -> &'static str {
        match self {
            Self::SelectsNothing(_) => "server.selects_nothing",
            Self::Shadowed(_) => "server.shadowed",
            Self::AnnotatedServer => "server.annotation_without_effect",
            Self::PolicyIgnored(_) => "authorization_policy.ignored",
            Self::PolicyWithoutTarget(_) => "authorization_policy.without_target",
            Self::RouteNotAccepted(_) => "route.not_accepted",
            Self::Annotation(_) => "annotation.invalid",
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SelectsNothing(status) | Self::Shadowed(status) => f.write_str(status),
            Self::AnnotatedServer => write!(
                f,
                "the annotation {DEFAULT_POLICY} does nothing on a Server, whose port denies by default already; put \
                 it on the pods, their Namespace or the ExternalWorkload, or write the Server's accessPolicy"
            ),
            Self::PolicyIgnored(why) => write!(f, "it admits nobody: {why}"),
            Self::PolicyWithoutTarget(target) => write!(f, "it admits nobody: its target {target} does not exist"),
            Self::RouteNotAccepted(why) => write!(f, "the route is not attached: {why}"),
            Self::Annotation(InvalidAnnotation { name, why, consequence }) => write!(f, "{name}: {why}; {consequence}"),
        }
    }
}

/// Every problem of the namespace's objects, given its Servers' statuses.
pub(crate) fn problems(
    world: &World,
    config: &Config,
    namespace: &str,
    statuses: &[ServerStatus],
) -> BTreeSet<Problem> {
    let servers = World::in_namespace(&world.servers, namespace)
        .filter(|server| server.meta.annotation(DEFAULT_POLICY).is_some())
        .map(|server| problem("Server", &server.meta.key, What::AnnotatedServer));
    let statuses = statuses
        .iter()
        .filter_map(|status| Some(problem("Server", &Key::new(&status.namespace, &status.name), of_status(status)?)));
    let policies = World::in_namespace(&world.authorization_policies, namespace).filter_map(|policy| {
        let ignored = authorization_policy(world, config, policy).err().map(What::PolicyIgnored);
        let what = ignored.or_else(|| of_target(world, namespace, Target::of(policy)));
        Some(problem("AuthorizationPolicy", &policy.meta.key, what?))
    });
    let routes = route::all(world, namespace).flat_map(|route| {
        let refused = route.parents.iter().filter_map(|parent| route::parent(world, route, parent)?.err());
        refused.map(|why| problem("HTTPRoute", &route.meta.key, What::RouteNotAccepted(why)))
    });
    servers.chain(statuses).chain(policies).chain(routes).chain(annotations(world, namespace)).collect()
}

fn problem(kind: &str, key: &Key, what: What) -> Problem {
    Problem { object: format!("{kind} {key}"), what }
}

fn of_status(status: &ServerStatus) -> Option<What> {
    if status.selected.is_empty() {
        Some(What::SelectsNothing(status.to_string()))
    } else {
        (status.ruled() < status.selected.len()).then(|| What::Shadowed(status.to_string()))
    }
}

fn of_target(world: &World, namespace: &str, target: Result<Target<'_>, Ignored>) -> Option<What> {
    let (kind, name, exists) = match target {
        Err(ignored) => return Some(What::PolicyIgnored(ignored)),
        Ok(Target::Namespace) => return None,
        Ok(Target::Server(name)) => ("Server", name, world.servers.contains_key(&Key::new(namespace, name))),
        Ok(Target::HttpRoute(group, name)) => {
            let is = |route: &outrigger_cluster::HttpRoute| route.group == group && *route.meta.key.name == *name;
            ("HTTPRoute", name, route::all(world, namespace).any(is))
        }
    };
    (!exists).then(|| What::PolicyWithoutTarget(format!("{kind} {namespace}/{name}")))
}

fn annotations(world: &World, namespace: &str) -> impl Iterator<Item = Problem> {
    let own = world.namespaces.get(&Key::cluster(namespace)).map(|object| ("Namespace", &object.meta));
    let workloads = Workload::all(world, namespace).map(|workload| (kind(&workload), workload.meta));
    let own = own.into_iter().chain(workloads).flat_map(|(kind, meta)| {
        invalid_annotations(meta).into_iter().map(move |invalid| problem(kind, &meta.key, What::Annotation(invalid)))
    });
    let services = World::in_namespace(&world.services, namespace).flat_map(|service| {
        let invalid = outbound::invalid_annotations(&service.meta);
        invalid.map(|invalid| problem("Service", &service.meta.key, What::Annotation(invalid)))
    });
    own.chain(services)
}

fn kind(workload: &Workload<'_>) -> &'static str {
    match workload.kind {
        outrigger_model::WorkloadKind::Pod => "Pod",
        outrigger_model::WorkloadKind::ExternalWorkload => "ExternalWorkload",
    }
}
