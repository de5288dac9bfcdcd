//! The EndpointSlices that a Service's selector stands for: Pods and ExternalWorkloads alike (B.6).

use crate::workload::{Workload, ZONE, port_named};
use outrigger_cluster::{
    ContainerPort, EndpointSlice, ExternalWorkload, Key, Meta, Pod, PortRef, Service, ServicePort, SliceEndpoint,
    SlicePort, TargetRef,
};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// One slice's address family and, for each of the Service's ports, the endpoint's.
type Shape = (bool, Vec<Option<u16>>);

/// Computes a Service's slices from its namespace's workloads: one for each address family and set of ports.
///
/// A workload has the families of the Service's addresses, or both if the Service has none. A port that the workload
/// does not have is left out of its slice. Workloads that are not ready are in it and say so; pods that terminate or
/// have finished are not. A Service without selector has no slices of this kind.
pub fn computed<'a>(
    service: &Service,
    pods: impl Iterator<Item = &'a Arc<Pod>>,
    external_workloads: impl Iterator<Item = &'a Arc<ExternalWorkload>>,
) -> Vec<EndpointSlice> {
    let pods = pods.filter(|pod| !pod.terminating && !pod.finished).map(|pod| Workload::Pod(pod));
    let workloads = pods.chain(external_workloads.map(|workload| Workload::External(workload)));
    let mut shapes: BTreeMap<Shape, Vec<SliceEndpoint>> = BTreeMap::new();
    for workload in workloads.filter(|workload| is_selected(service, &workload.meta().labels)) {
        let ports: Vec<_> = service.ports.iter().map(|port| target_port(port, workload)).collect();
        for v6 in [false, true] {
            let addresses: Vec<_> = addresses(workload).iter().copied().filter(|ip| ip.is_ipv6() == v6).collect();
            if has_family(service, v6) && !addresses.is_empty() {
                let slice = shapes.entry((v6, ports.clone())).or_default();
                slice.push(endpoint(service, workload, addresses));
            }
        }
    }
    shapes.into_iter().enumerate().map(|(n, (shape, endpoints))| slice(service, n, &shape.1, endpoints)).collect()
}

/// Whether the Service's selector takes a workload of its namespace with these labels. An empty one takes none.
pub(crate) fn is_selected(service: &Service, labels: &BTreeMap<String, String>) -> bool {
    let selector = service.selector.as_ref().filter(|selector| !selector.is_empty());
    selector.is_some_and(|selector| selector.iter().all(|(label, value)| labels.get(label) == Some(value)))
}

fn has_family(service: &Service, v6: bool) -> bool {
    service.cluster_ips.is_empty() || service.cluster_ips.iter().any(|ip| ip.is_ipv6() == v6)
}

fn addresses<'a>(workload: Workload<'a>) -> &'a [IpAddr] {
    match workload {
        Workload::Pod(pod) => &pod.ips,
        Workload::External(workload) => &workload.ips,
    }
}

/// A pod takes any number; an ExternalWorkload must document the port, since nothing else says that it serves it.
fn target_port(port: &ServicePort, workload: Workload<'_>) -> Option<u16> {
    let documented = |ports: &[ContainerPort], number| {
        ports.iter().any(|p| p.port == number && p.protocol == port.protocol).then_some(number)
    };
    match (workload, &port.target) {
        (Workload::Pod(_), PortRef::Number(number)) => Some(*number),
        (Workload::Pod(pod), PortRef::Name(name)) => port_named(&pod.ports, name, port.protocol),
        (Workload::External(workload), PortRef::Number(number)) => documented(&workload.ports, *number),
        (Workload::External(workload), PortRef::Name(name)) => port_named(&workload.ports, name, port.protocol),
    }
}

fn endpoint(service: &Service, workload: Workload<'_>, addresses: Vec<IpAddr>) -> SliceEndpoint {
    let name = &service.meta.key.name;
    let (kind, ready, node, hostname) = match workload {
        Workload::Pod(pod) => {
            let hostname = pod.hostname.clone().filter(|_| pod.subdomain.as_deref() == Some(name));
            ("Pod", pod.ready, pod.node.clone(), hostname)
        }
        Workload::External(workload) => {
            let hostname = service.headless.then(|| workload.meta.key.name.to_string());
            ("ExternalWorkload", workload.ready, None, hostname)
        }
    };
    SliceEndpoint {
        addresses,
        ready: ready || service.publish_not_ready,
        terminating: false,
        target: Some(TargetRef { kind: kind.to_owned(), key: workload.meta().key.clone() }),
        node,
        zone: workload.meta().labels.get(ZONE).cloned(),
        hostname,
        for_zones: Vec::new(),
    }
}

fn slice(service: &Service, n: usize, ports: &[Option<u16>], endpoints: Vec<SliceEndpoint>) -> EndpointSlice {
    let key = &service.meta.key;
    let port = |(port, number): (&ServicePort, &Option<u16>)| {
        number.map(|number| SlicePort { name: port.name.clone(), port: Some(number), protocol: port.protocol })
    };
    EndpointSlice {
        meta: Meta::named(Key::new(&key.namespace, &format!("{}-{n}", key.name))),
        service: Some(key.name.clone()),
        endpoints,
        ports: service.ports.iter().zip(ports).filter_map(port).collect(),
    }
}
