//! Which workloads' policies a change may touch.

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
            Kind::Service | Kind::EndpointSlice => {}
        }
    }

    pub(crate) fn contains(&self, workload: &WorkloadRef) -> bool {
        self.workloads.contains(workload) || self.namespaces.contains(&workload.namespace)
    }

    /// The namespaces in which something is affected.
    pub(crate) fn all_namespaces(&self) -> BTreeSet<&Arc<str>> {
        self.namespaces.iter().chain(self.workloads.iter().map(|workload| &workload.namespace)).collect()
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
