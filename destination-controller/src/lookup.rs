//! Which objects stand behind an address, which slices behind a Service, and what a change of an object touches.

use crate::name::service_of;
use crate::slices::is_selected;
use crate::workload::{Workload, selects, zone_of_node};
use outrigger_cluster::{Change, EndpointSlice, Key, Kind, Pod, PortSet, Server, ServerProtocol, Service, World};
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;

/// What answers are about; a change touches some of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    Service(Key),
    Address(IpAddr),
}

/// An object that has an address: a Service, a Pod or an ExternalWorkload.
type Owner = (Kind, Key);

/// Secondary indexes of a [`World`], kept in step with it change by change.
#[derive(Debug)]
pub(crate) struct Lookup {
    /// `cluster.local`, by which a ServiceProfile names its Service.
    cluster_domain: String,
    by_address: Sets<IpAddr, Owner>,
    slices_of: Sets<Key, Key>,
    /// The Service and slice that a workload is written in. A workload is named as slices name it.
    written_in: Sets<(String, Key), (Key, Key)>,
}

impl Lookup {
    /// Indexes of an empty world.
    pub(crate) fn new(cluster_domain: &str) -> Self {
        Self {
            cluster_domain: cluster_domain.to_owned(),
            by_address: Sets::default(),
            slices_of: Sets::default(),
            written_in: Sets::default(),
        }
    }

    /// The Services that have the address.
    pub(crate) fn services_at<'a>(&'a self, world: &'a World, ip: &IpAddr) -> impl Iterator<Item = &'a Service> {
        let services = self.by_address.at(ip).filter(|(kind, _)| *kind == Kind::Service);
        services.filter_map(|(_, key)| world.services.get(key)).map(|service| &**service)
    }

    /// The workloads that have the address, and the pods that have it as their host's and take connections there.
    pub(crate) fn workloads_at<'a>(&'a self, world: &'a World, ip: &IpAddr) -> impl Iterator<Item = Workload<'a>> {
        self.by_address.at(ip).filter_map(|(kind, key)| Workload::find(world, *kind, key))
    }

    /// The slices that were written for a Service.
    pub(crate) fn slices<'a>(&'a self, world: &'a World, service: &Key) -> impl Iterator<Item = &'a EndpointSlice> {
        self.slices_of.at(service).filter_map(|key| world.slices.get(key)).map(|slice| &**slice)
    }

    /// Applies a change to the world and to the indexes, and adds what it touches.
    pub(crate) fn apply(&mut self, world: &mut World, change: &Change, touched: &mut BTreeSet<Subject>) {
        let (kind, key) = match change {
            Change::Upsert(object) => (object.kind(), object.key()),
            Change::Delete(kind, key) => (*kind, key),
        };
        let before = bequest(world, kind, key);
        self.touch(world, kind, key, touched);
        self.index(world, kind, key, false);
        world.apply(change);
        self.index(world, kind, key, true);
        self.touch(world, kind, key, touched);
        if before != bequest(world, kind, key) {
            self.touch_heirs(world, kind, key, touched);
        }
    }

    /// Adds an object, as it is in the world now, to the indexes, or removes it.
    fn index(&mut self, world: &World, kind: Kind, key: &Key, present: bool) {
        for ip in addresses(world, kind, key) {
            self.by_address.put(ip, (kind, key.clone()), present);
        }
        let written = world.slices.get(key).filter(|_| kind == Kind::EndpointSlice);
        if let Some((slice, service)) = written.and_then(|slice| Some((slice, written_for(slice)?))) {
            self.slices_of.put(service.clone(), key.clone(), present);
            for target in slice.endpoints.iter().filter_map(|endpoint| endpoint.target.clone()) {
                self.written_in.put((target.kind, target.key), (service.clone(), key.clone()), present);
            }
        }
    }

    fn touch(&self, world: &World, kind: Kind, key: &Key, touched: &mut BTreeSet<Subject>) {
        touched.extend(addresses(world, kind, key).map(Subject::Address));
        match kind {
            Kind::Service => {
                touched.insert(Subject::Service(key.clone()));
            }
            Kind::ServiceProfile => {
                if let Some(service) = service_of(&key.name, &self.cluster_domain) {
                    touched.extend(addresses(world, Kind::Service, &service).map(Subject::Address));
                    touched.insert(Subject::Service(service));
                }
            }
            Kind::EndpointSlice => {
                touched.extend(world.slices.get(key).and_then(|s| written_for(s)).map(Subject::Service))
            }
            Kind::Pod | Kind::ExternalWorkload => {
                let workload = Workload::find(world, kind, key);
                workload.into_iter().for_each(|workload| self.touch_services(world, workload, touched));
            }
            Kind::Server => {
                let server = world.servers.get(key);
                server.into_iter().for_each(|server| self.touch_selected(world, server, touched));
            }
            _ => {}
        }
    }

    /// The Services that the workload is an endpoint of.
    fn touch_services(&self, world: &World, workload: Workload<'_>, touched: &mut BTreeSet<Subject>) {
        let meta = workload.meta();
        let services = World::in_namespace(&world.services, &meta.key.namespace);
        let selecting = services.filter(|service| is_selected(service, &meta.labels));
        touched.extend(selecting.map(|service| Subject::Service(service.meta.key.clone())));
        let target = (workload.kind().as_str().to_owned(), meta.key.clone());
        touched.extend(self.written_in.at(&target).map(|(service, _)| Subject::Service(service.clone())));
    }

    /// What inherits from a Namespace or a Node.
    fn touch_heirs(&self, world: &World, kind: Kind, key: &Key, touched: &mut BTreeSet<Subject>) {
        let pods = world.pods.values().map(|pod| Workload::Pod(pod));
        let external = world.external_workloads.values().map(|workload| Workload::External(workload));
        let is_heir = |workload: &Workload<'_>| match kind {
            Kind::Node => workload.node() == Some(&key.name),
            _ => workload.meta().key.namespace == key.name,
        };
        for workload in pods.chain(external).filter(is_heir) {
            self.touch(world, workload.kind(), &workload.meta().key, touched);
        }
        if kind == Kind::Namespace {
            let services = World::in_namespace(&world.services, &key.name);
            services.for_each(|service| self.touch(world, Kind::Service, &service.meta.key, touched));
        }
    }

    /// Of a Server only `proxyProtocol: opaque` is seen in discovery.
    fn touch_selected(&self, world: &World, server: &Server, touched: &mut BTreeSet<Subject>) {
        if server.protocol != ServerProtocol::Opaque {
            return;
        }
        let namespace = &server.meta.key.namespace;
        let pods = World::in_namespace(&world.pods, namespace).map(|pod| Workload::Pod(pod));
        let external = World::in_namespace(&world.external_workloads, namespace).map(|w| Workload::External(w));
        for workload in pods.chain(external).filter(|workload| selects(server, *workload)) {
            touched.extend(addresses(world, workload.kind(), &workload.meta().key).map(Subject::Address));
            self.touch_services(world, workload, touched);
        }
    }
}

fn written_for(slice: &EndpointSlice) -> Option<Key> {
    let namespace = slice.meta.key.namespace.clone();
    slice.service.clone().map(|name| Key { namespace, name })
}

/// What others take over from a Namespace or a Node: its list of opaque ports, its zone.
fn bequest(world: &World, kind: Kind, key: &Key) -> (Option<PortSet>, Option<String>) {
    match kind {
        Kind::Namespace => (world.namespaces.get(key).and_then(|object| object.meta.ports.opaque.clone()), None),
        Kind::Node => (None, zone_of_node(world, &key.name).map(str::to_owned)),
        _ => (None, None),
    }
}

/// The addresses at which the object may be asked for; none for an object that is not there.
fn addresses(world: &World, kind: Kind, key: &Key) -> impl Iterator<Item = IpAddr> + use<> {
    let addresses = match kind {
        Kind::Service => world.services.get(key).map(|service| service.cluster_ips.clone()),
        Kind::Pod => world.pods.get(key).map(|pod| pod_addresses(pod)),
        Kind::ExternalWorkload => world.external_workloads.get(key).map(|workload| workload.ips.clone()),
        _ => None,
    };
    addresses.unwrap_or_default().into_iter()
}

/// A pod's own, and its host's if it takes connections there.
fn pod_addresses(pod: &Pod) -> Vec<IpAddr> {
    let on_host = pod.host_network || pod.ports.iter().any(|port| port.host_port.is_some());
    pod.ips.iter().copied().chain(pod.host_ip.filter(|_| on_host)).collect()
}

/// Sets by key; a key with an empty set is not there.
#[derive(Debug)]
struct Sets<K, V>(HashMap<K, BTreeSet<V>>);

impl<K, V> Default for Sets<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq, V: Ord> Sets<K, V> {
    fn at<'a>(&'a self, key: &K) -> impl Iterator<Item = &'a V> + use<'a, K, V> {
        self.0.get(key).into_iter().flatten()
    }

    fn put(&mut self, key: K, value: V, present: bool) {
        if present {
            self.0.entry(key).or_default().insert(value);
        } else if let Some(set) = self.0.get_mut(&key) {
            set.remove(&value);
            if set.is_empty() {
                self.0.remove(&key);
            }
        }
    }
}
