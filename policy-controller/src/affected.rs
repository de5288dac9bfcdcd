//! Which workloads' inbound policies a change may touch, and where problems may come or go.

use outrigger_cluster::{Change, Key, Kind, World};
use outrigger_model::{WorkloadKind, WorkloadRef};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What must be computed anew.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Affected {
    /// Every workload of these namespaces.
    pub(crate) namespaces: BTreeSet<Arc<str>>,
    pub(crate) workloads: BTreeSet<WorkloadRef>,
    /// Where a Service changed: it has problems of its own, and no part in inbound policies.
    services: BTreeSet<Arc<str>>,
}

impl Affected {
    /// What the changes touch, seen from the world after them.
    pub(crate) fn by(world: &World, changes: &[Change]) -> Self {
        let mut affected = Self::default();
        for change in changes {
            match change {
                Change::Upsert(object) => affected.add(world, object.kind(), object.key()),
                Change::Delete(kind, key) => affected.add(world, *kind, key),
            }
        }
        affected
    }

    fn add(&mut self, world: &World, kind: Kind, key: &Key) {
        let workload = |kind| WorkloadRef { namespace: key.namespace.clone(), kind, name: key.name.clone() };
        match kind {
            Kind::Pod => _ = self.workloads.insert(workload(WorkloadKind::Pod)),
            Kind::ExternalWorkload => _ = self.workloads.insert(workload(WorkloadKind::ExternalWorkload)),
            Kind::Namespace => _ = self.namespaces.insert(key.name.clone()),
            Kind::Server
            | Kind::ServerAuthorization
            | Kind::AuthorizationPolicy
            | Kind::HttpRoute
            | Kind::GatewayHttpRoute => _ = self.namespaces.insert(key.namespace.clone()),
            Kind::MeshTlsAuthentication | Kind::NetworkAuthentication => {
                self.namespaces.extend(namespaces_requiring(world, kind, key));
            }
            Kind::Service => _ = self.services.insert(key.namespace.clone()),
            Kind::EndpointSlice | Kind::Node | Kind::ServiceProfile => {}
        }
    }

    pub(crate) fn contains(&self, workload: &WorkloadRef) -> bool {
        self.workloads.contains(workload) || self.namespaces.contains(&workload.namespace)
    }

    /// The namespaces whose Servers' statuses and problems may be others now.
    pub(crate) fn reported(&self) -> BTreeSet<&Arc<str>> {
        let workloads = self.workloads.iter().map(|workload| &workload.namespace);
        self.namespaces.iter().chain(&self.services).chain(workloads).collect()
    }
}

/// Where an AuthorizationPolicy requires the authentication: it may be of any namespace.
fn namespaces_requiring<'a>(world: &'a World, kind: Kind, key: &'a Key) -> impl Iterator<Item = Arc<str>> + use<'a> {
    world.authorization_policies.values().filter_map(move |policy| {
        let own = &policy.meta.key.namespace;
        let required = policy.required.iter().any(|r| r.kind == kind.as_str() && r.key(own) == *key);
        required.then(|| own.clone())
    })
}
