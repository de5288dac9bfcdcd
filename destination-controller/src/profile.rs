//! What `GetProfile` says of a Service, of an address, and of one instance of a headless Service (B.4).

use crate::endpoints::{declared, instance, slices_of};
use crate::lookup::Lookup;
use crate::mesh::Mesh;
use crate::snapshot::{Answer, Denial};
use crate::workload::{self, Workload, Zones};
use outrigger_cluster::{ContainerPort, EndpointSlice, Key, Override, Pod, Protocol, ServiceProfile, World};
use outrigger_model::{Endpoint, Meta, Profile, RetryBudget, WeightedAuthority};
use std::net::SocketAddr;
use std::sync::Arc;
use tonic::Code;

/// A Service's profile, for clients of one namespace. A port that it does not declare, or a Service that does not exist,
/// has an empty one.
pub(crate) fn of_service(world: &World, mesh: &Mesh, key: &Key, port: u16, client: Option<&str>) -> Answer {
    let Some(service) = world.services.get(key) else { return Answer::Profile(Box::default()) };
    if service.external_name.is_some() {
        return external_name(key);
    }
    if declared(service, port).is_none() {
        return Answer::Profile(Box::default());
    }
    let name = mesh.service_name(key);
    let written = client.and_then(|namespace| service_profile(world, &name, namespace));
    let written = written.or_else(|| service_profile(world, &name, &key.namespace));
    let listed = world.is_opaque(&service.meta, port, service.named_ports(), &mesh.default_opaque_ports);
    Answer::Profile(Box::new(Profile {
        opaque: listed || written.is_some_and(|p| p.opaque_ports.contains(port)),
        routes: written.map(|p| Arc::clone(&p.routes)).unwrap_or_default(),
        retry_budget: Some(written.and_then(|p| p.retry_budget).unwrap_or(RetryBudget::DEFAULT)),
        overrides: written.iter().flat_map(|p| &p.overrides).map(|to| with_port(to, port)).collect(),
        parent: Some(Meta::object("core", "Service", &key.namespace, &key.name).at_port(port)),
        source: written.map(|p| source(&p.meta.key)),
        service: Some(name.into()),
        endpoint: None,
    }))
}

/// The ServiceProfile of a Service, by the Service's full name, that a namespace holds.
pub(crate) fn service_profile<'a>(world: &'a World, name: &str, namespace: &str) -> Option<&'a ServiceProfile> {
    world.service_profiles.get(&Key::new(namespace, name)).map(|profile| &**profile)
}

fn source(profile: &Key) -> Meta {
    Meta::object("linkerd.io", "ServiceProfile", &profile.namespace, &profile.name)
}

fn with_port(to: &Override, port: u16) -> WeightedAuthority {
    let authority = format!("{}:{}", to.name, to.port.unwrap_or(port)).into();
    WeightedAuthority { authority, weight: to.weight }
}

/// An ExternalName Service is a name of something else, outside of discovery (B.2.5).
pub(crate) fn external_name(key: &Key) -> Answer {
    Answer::denied(Code::InvalidArgument, format!("Service {key} is of type ExternalName, which has no endpoints"))
}

/// An address's profile: a Service's, an endpoint's, or that of an address of which nothing is known.
pub(crate) fn of_address(
    world: &World,
    mesh: &Mesh,
    lookup: &Lookup,
    addr: SocketAddr,
    client: Option<&str>,
) -> Answer {
    let services: Vec<_> = lookup.services_at(world, &addr.ip()).map(|service| &service.meta.key).collect();
    match services[..] {
        [] => {}
        [service] => return of_service(world, mesh, service, addr.port(), client),
        _ => return Answer::Denied(conflict(addr, services.into_iter())),
    }
    match workload_at(lookup.workloads_at(world, &addr.ip()).collect(), addr) {
        Err(denial) => Answer::Denied(denial),
        Ok(None) => unknown(mesh, addr),
        Ok(Some((workload, port))) => of_endpoint(world, mesh, workload, addr, port),
    }
}

fn conflict<'a>(addr: SocketAddr, keys: impl Iterator<Item = &'a Key>) -> Denial {
    let names: Vec<_> = keys.map(Key::to_string).collect();
    Denial { code: Code::FailedPrecondition, message: format!("{addr} belongs to several: {}", names.join(", ")) }
}

/// The workload behind an address, and the port of it that is meant. Of several the better match wins: a live pod over
/// a terminating one, since addresses are used again; an ExternalWorkload that documents the port over its neighbours
/// on the machine.
fn workload_at(workloads: Vec<Workload<'_>>, addr: SocketAddr) -> Result<Option<(Workload<'_>, u16)>, Denial> {
    let mut matches: Vec<_> = workloads.into_iter().filter_map(|w| matched(w, addr)).collect();
    let best = matches.iter().map(|found| found.0).max();
    matches.retain(|found| Some(found.0) == best);
    match matches[..] {
        [] => Ok(None),
        [(_, workload, port)] => Ok(Some((workload, port))),
        _ => Err(conflict(addr, matches.iter().map(|(_, workload, _)| &workload.meta().key))),
    }
}

/// How well a workload with this address matches, in B.4's order: pod network, host network, ExternalWorkload.
fn matched(workload: Workload<'_>, addr: SocketAddr) -> Option<(u8, Workload<'_>, u16)> {
    let (rank, port) = match workload {
        Workload::Pod(pod) if pod.finished => return None,
        Workload::Pod(pod) if !pod.host_network && pod.ips.contains(&addr.ip()) => (5, addr.port()),
        Workload::Pod(pod) => (4, port_on_host(pod, addr.port())?),
        Workload::External(workload) => {
            let documented = workload.ports.iter().any(|port| port.port == addr.port());
            (if documented { 3 } else { 2 }, addr.port())
        }
    };
    let terminating = matches!(workload, Workload::Pod(pod) if pod.terminating);
    Some((if terminating { 1 } else { rank }, workload, port))
}

fn port_on_host(pod: &Pod, port: u16) -> Option<u16> {
    let exposes = |p: &&ContainerPort| p.host_port == Some(port) || pod.host_network && p.port == port;
    pod.ports.iter().filter(|p| p.protocol == Protocol::Tcp).find(exposes).map(|p| p.port)
}

fn unknown(mesh: &Mesh, addr: SocketAddr) -> Answer {
    let opaque = mesh.default_opaque_ports.contains(addr.port());
    endpoint_profile(Endpoint::unmeshed(addr), opaque)
}

fn endpoint_profile(endpoint: Endpoint, opaque: bool) -> Answer {
    let retry_budget = Some(RetryBudget::DEFAULT);
    Answer::Profile(Box::new(Profile { opaque, endpoint: Some(endpoint), retry_budget, ..Profile::default() }))
}

/// The profile of a workload's port at an address. `addr` differs from the workload's own only for a hostPort.
fn of_endpoint(world: &World, mesh: &Mesh, workload: Workload<'_>, addr: SocketAddr, port: u16) -> Answer {
    let zones = Zones { endpoint: workload.zone(world), client: None };
    let own = SocketAddr::new(addr.ip(), port);
    let Some(mut endpoint) = workload::endpoint(world, mesh, workload, own, zones) else {
        let key = &workload.meta().key;
        return Answer::denied(Code::FailedPrecondition, format!("the identity of {key} cannot be told"));
    };
    if let Workload::Pod(pod) = workload
        && !pod.host_network
        && !pod.ips.contains(&addr.ip())
    {
        // The host forwards this port only, not the proxy's own.
        endpoint.inbound_port = None;
    }
    endpoint.addr = addr;
    let namespace = workload.meta().key.namespace.clone();
    Arc::make_mut(&mut endpoint.labels).insert("namespace".into(), namespace);
    let opaque = workload::is_opaque(world, mesh, workload, port);
    endpoint_profile(endpoint, opaque)
}

/// The profile of `instance.svc.ns`: its one endpoint, at the port as it is asked for, since the name resolves to the
/// workload's own address.
pub(crate) fn of_instance<'a>(
    world: &'a World,
    mesh: &Mesh,
    key: &Key,
    name: &str,
    port: u16,
    written: impl Iterator<Item = &'a EndpointSlice>,
) -> Answer {
    let unknown_name =
        || Answer::denied(Code::NotFound, format!("Service {key} has no endpoint with the hostname {name:?}"));
    let Some(service) = world.services.get(key) else { return unknown_name() };
    let slices = slices_of(world, service, written);
    match instance(mesh, &slices, name) {
        None => unknown_name(),
        Some((ip, None)) => unknown(mesh, SocketAddr::new(ip, port)),
        Some((ip, Some(target))) => match Workload::of_target(world, target) {
            None => unknown_name(),
            Some(workload) => of_endpoint(world, mesh, workload, SocketAddr::new(ip, port), port),
        },
    }
}
