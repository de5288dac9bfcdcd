//! The endpoints of a Service's port, for one kind of client (B.2).

use crate::mesh::Mesh;
use crate::workload::{self, Workload, Zones};
use outrigger_cluster::{
    EndpointSlice, Key, Meta, Protocol, Service, ServicePort, SliceEndpoint, SlicePort, TargetRef, World,
};
use outrigger_model::{DnsName, Endpoint, EndpointSet, Identity, Labels, ProtocolHint, TlsIdentity};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What of the client decides which endpoints it gets. Clients with the same filter share one answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    /// One endpoint of a headless Service, by hostname.
    pub instance: Option<Arc<str>>,
    /// The client's node; only ever set for a Service with internalTrafficPolicy Local.
    pub node: Option<Arc<str>>,
    pub zone: Option<Arc<str>>,
}

#[derive(Clone, Copy)]
struct Candidate<'a> {
    addr: SocketAddr,
    endpoint: &'a SliceEndpoint,
    slice: &'a Meta,
}

/// Of a slice whose addresses are another cluster's gateway: the gateway's identity.
const GATEWAY_IDENTITY: &str = "mirror.linkerd.io/remote-gateway-identity";
/// The full name that the Service has in the other cluster.
const REMOTE_NAME: &str = "mirror.linkerd.io/remote-svc-fq-name";
/// A label: the other cluster.
const CLUSTER_NAME: &str = "mirror.linkerd.io/cluster-name";

/// A Service's slices: those that were written for it, else those that its selector stands for.
pub(crate) fn slices_of<'a>(
    world: &'a World,
    service: &Service,
    written: impl Iterator<Item = &'a EndpointSlice>,
) -> Vec<Cow<'a, EndpointSlice>> {
    let written: Vec<_> = written.map(Cow::Borrowed).collect();
    if !written.is_empty() {
        return written;
    }
    let namespace = &service.meta.key.namespace;
    let pods = World::in_namespace(&world.pods, namespace);
    let external = World::in_namespace(&world.external_workloads, namespace);
    crate::slices::computed(service, pods, external).into_iter().map(Cow::Owned).collect()
}

/// Resolves a declared port to endpoints. Filters in B.2's order: hostname, internalTrafficPolicy, zone hints, family.
pub(crate) fn resolve(
    world: &World,
    mesh: &Mesh,
    service: &Service,
    port: &ServicePort,
    slices: &[Cow<'_, EndpointSlice>],
    filter: &Filter,
) -> EndpointSet {
    let mut candidates: Vec<_> = slices.iter().flat_map(|slice| ready(slice, port)).collect();
    if let Some(instance) = &filter.instance {
        candidates.retain(|c| c.endpoint.hostname.as_deref() == Some(&**instance));
    }
    if service.internal_traffic_local {
        candidates.retain(|c| c.endpoint.node.is_some() && c.endpoint.node.as_deref() == filter.node.as_deref());
    }
    let candidates = by_family(mesh, by_hints(candidates, filter.zone.as_deref()));
    let endpoint = |c| to_endpoint(world, mesh, c, port.port, filter);
    EndpointSet::new(candidates.into_iter().filter_map(endpoint).collect())
}

/// The port of a Service that callers may ask for.
pub(crate) fn declared(service: &Service, port: u16) -> Option<&ServicePort> {
    service.ports.iter().find(|declared| declared.port == port && declared.protocol == Protocol::Tcp)
}

fn ready<'a>(slice: &'a EndpointSlice, port: &ServicePort) -> impl Iterator<Item = Candidate<'a>> {
    // An absent name and an empty one are the same.
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    let same = |p: &&SlicePort| p.protocol == port.protocol && name(&p.name) == name(&port.name);
    let number = slice.ports.iter().find(same).and_then(|p| p.port);
    let ready = slice.endpoints.iter().filter(|endpoint| endpoint.ready && !endpoint.terminating);
    ready.flat_map(move |endpoint| {
        let addresses = endpoint.addresses.iter();
        addresses
            .filter_map(move |ip| Some(Candidate { addr: SocketAddr::new(*ip, number?), endpoint, slice: &slice.meta }))
    })
}

/// Hints count only if every candidate has them, and never leave a client with nothing.
fn by_hints<'a>(candidates: Vec<Candidate<'a>>, zone: Option<&str>) -> Vec<Candidate<'a>> {
    let Some(zone) = zone.filter(|_| candidates.iter().all(|c| !c.endpoint.for_zones.is_empty())) else {
        return candidates;
    };
    let near: Vec<_> =
        candidates.iter().filter(|c| c.endpoint.for_zones.iter().any(|hint| hint == zone)).copied().collect();
    if near.is_empty() { candidates } else { near }
}

/// Without IPv6 there are no IPv6 endpoints; with it a workload of both families is its IPv6 addresses.
fn by_family<'a>(mesh: &Mesh, candidates: Vec<Candidate<'a>>) -> Vec<Candidate<'a>> {
    let workload = |c: &Candidate<'a>| c.endpoint.target.as_ref().map(|target| (&target.kind, &target.key));
    let dual: BTreeSet<_> = candidates.iter().filter(|c| c.addr.is_ipv6()).filter_map(workload).collect();
    let kept = |c: &Candidate<'a>| match c.addr {
        SocketAddr::V6(_) => mesh.ipv6,
        SocketAddr::V4(_) => !mesh.ipv6 || !workload(c).is_some_and(|workload| dual.contains(&workload)),
    };
    candidates.iter().filter(|c| kept(c)).copied().collect()
}

/// An address without workload is what its slice says. One of a workload that is not known (yet) is left out: whether it
/// is meshed cannot be told, and unmeshed is not the answer.
fn to_endpoint(world: &World, mesh: &Mesh, candidate: Candidate<'_>, port: u16, filter: &Filter) -> Option<Endpoint> {
    let Candidate { addr, endpoint, slice } = candidate;
    let zones = |known| Zones { endpoint: endpoint.zone.as_deref().or(known), client: filter.zone.as_deref() };
    match &endpoint.target {
        None => gateway(mesh, slice, addr, port, zones(None)),
        Some(target) => {
            let workload = Workload::of_target(world, target)?;
            workload::endpoint(world, mesh, workload, addr, zones(workload.zone(world)))
        }
    }
}

/// An address that no object of this cluster stands behind: another cluster's gateway, if its slice names one.
fn gateway(mesh: &Mesh, slice: &Meta, addr: SocketAddr, port: u16, zones: Zones<'_>) -> Option<Endpoint> {
    let name = |annotation| slice.annotation(annotation).filter(|name| !name.is_empty());
    let parsed = |name: &str| {
        let invalid = |error: &_| tracing::warn!(event = "endpoint.no_identity", slice = %slice.key, %error);
        name.parse::<DnsName>().inspect_err(invalid).ok()
    };
    let tls = match name(GATEWAY_IDENTITY).map(parsed) {
        Some(None) => return None,
        identity => {
            identity.flatten().map(|name| TlsIdentity { id: Identity::Dns(name.clone()), server_name: Some(name) })
        }
    };
    let authority = match name(REMOTE_NAME).map(parsed) {
        Some(None) => return None,
        remote => remote.flatten().map(|name| format!("{}:{port}", name.as_str()).into()),
    };
    let meshed = tls.is_some();
    Some(Endpoint {
        tls,
        hint: if meshed && mesh.h2_upgrade { ProtocolHint::Http2 } else { ProtocolHint::Unknown },
        authority_override: authority,
        http2: mesh.http2.clone().filter(|_| meshed),
        weight: workload::weight(mesh, zones),
        labels: Arc::new(workload::locality(zones)),
        ..Endpoint::unmeshed(addr)
    })
}

/// The labels of a Service's set of endpoints; of a mirrored one also what it is in the other cluster.
pub(crate) fn set_labels(service: &Key, slices: &[Cow<'_, EndpointSlice>]) -> Labels {
    let mut labels = Labels::new();
    let mut set = |name: &str, value: &str| labels.insert(name.into(), value.into());
    set("namespace", &service.namespace);
    set("service", &service.name);
    let mirrored = slices.iter().find_map(|slice| Some((slice, slice.meta.labels.get(CLUSTER_NAME)?)));
    if let Some((slice, cluster)) = mirrored {
        set("target_cluster", cluster);
        let mut remote = slice.meta.annotation(REMOTE_NAME).unwrap_or_default().split('.');
        if let (Some(name), Some(namespace)) = (remote.next(), remote.next()) {
            set("target_service", name);
            set("target_service_namespace", namespace);
        }
    }
    labels
}

/// The address and workload of one instance of a headless Service, ready or not: its name resolves all the same.
pub(crate) fn instance<'a>(
    mesh: &Mesh,
    slices: &'a [Cow<'_, EndpointSlice>],
    instance: &str,
) -> Option<(IpAddr, Option<&'a TargetRef>)> {
    let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
    let named = endpoints.filter(|endpoint| endpoint.hostname.as_deref() == Some(instance));
    let addresses = named.flat_map(|e| e.addresses.iter().map(|ip| (*ip, e.target.as_ref())));
    let usable = addresses.filter(|(ip, _)| mesh.ipv6 || ip.is_ipv4());
    usable.max_by_key(|(ip, _)| ip.is_ipv6())
}
