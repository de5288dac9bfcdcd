//! Which objects have an address.

use super::Subject;
use outrigger_cluster::{Change, Key, Kind, Pod, World};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

/// By address: the Services that have it, and the workloads, kept in step with the world change by change.
#[derive(Debug, Default)]
pub(crate) struct Addresses(HashMap<IpAddr, BTreeSet<(Kind, Key)>>);

impl Addresses {
    /// The Services that have the address as their own.
    pub(crate) fn services(&self, ip: &IpAddr) -> Vec<&Key> {
        self.at(ip).filter(|(kind, _)| *kind == Kind::Service).map(|(_, key)| key).collect()
    }

    /// Whether a pod or an ExternalWorkload may take connections at the address.
    pub(crate) fn has_workload(&self, ip: &IpAddr) -> bool {
        self.at(ip).any(|(kind, _)| *kind != Kind::Service)
    }

    /// Applies a change to the world and to the index, and adds what it touches.
    pub(crate) fn apply(&mut self, world: &mut World, change: &Change, touched: &mut BTreeSet<Subject>) {
        let (kind, key) = match change {
            Change::Upsert(object) => (object.kind(), object.key()),
            Change::Delete(kind, key) => (*kind, key),
        };
        let before = addresses(world, kind, key);
        world.apply(change);
        let after = addresses(world, kind, key);
        let owner = (kind, key.clone());
        for ip in &before {
            self.remove(ip, &owner);
        }
        for ip in &after {
            self.0.entry(*ip).or_default().insert(owner.clone());
        }
        touched.extend(before.into_iter().chain(after).map(Subject::Address));
        match kind {
            Kind::Service => _ = touched.insert(Subject::Service(key.clone())),
            // Its lists of ports hold for its Services.
            Kind::Namespace => {
                for service in World::in_namespace(&world.services, &key.name) {
                    touched.extend(service.cluster_ips.iter().copied().map(Subject::Address));
                    touched.insert(Subject::Service(service.meta.key.clone()));
                }
            }
            _ => {}
        }
    }

    fn at<'a>(&'a self, ip: &IpAddr) -> impl Iterator<Item = &'a (Kind, Key)> + use<'a> {
        self.0.get(ip).into_iter().flatten()
    }

    fn remove(&mut self, ip: &IpAddr, owner: &(Kind, Key)) {
        let Some(owners) = self.0.get_mut(ip) else { return };
        owners.remove(owner);
        if owners.is_empty() {
            self.0.remove(ip);
        }
    }
}

fn addresses(world: &World, kind: Kind, key: &Key) -> Vec<IpAddr> {
    let found = match kind {
        Kind::Service => world.services.get(key).map(|service| service.cluster_ips.clone()),
        Kind::Pod => world.pods.get(key).map(|pod| pod_addresses(pod)),
        Kind::ExternalWorkload => world.external_workloads.get(key).map(|workload| workload.ips.clone()),
        _ => None,
    };
    found.unwrap_or_default().into_iter().map(|ip| ip.to_canonical()).collect()
}

/// A pod's own, and its host's if it takes connections there. One that has finished takes none.
fn pod_addresses(pod: &Pod) -> Vec<IpAddr> {
    if pod.finished {
        return Vec::new();
    }
    let on_host = pod.host_network || pod.ports.iter().any(|port| port.host_port.is_some());
    pod.ips.iter().copied().chain(pod.host_ip.filter(|_| on_host)).collect()
}
