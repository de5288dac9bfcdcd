//! Kubernetes' own kinds, read with its own types: fields that a mesh does not read are let be.

use super::values::{address, cluster_wide, is_name, namespaced, not_a_name, port, port_ref, typed};
use crate::error::FieldError;
use crate::{
    ContainerPort, EndpointSlice, HttpProbe, Key, Namespace, Node, Object, Pod, PortRef, Protocol, Service,
    ServicePort, SliceEndpoint, SlicePort, TargetRef,
};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use serde_json::Value;
use std::net::IpAddr;
use std::sync::Arc;

pub(super) fn namespace(value: Value) -> Result<Object, FieldError> {
    let raw: core::Namespace = typed(value)?;
    Ok(Object::Namespace(Arc::new(Namespace { meta: cluster_wide(raw.metadata)? })))
}

pub(super) fn node(value: Value) -> Result<Object, FieldError> {
    let raw: core::Node = typed(value)?;
    Ok(Object::Node(Arc::new(Node { meta: cluster_wide(raw.metadata)? })))
}

pub(super) fn service(value: Value) -> Result<Object, FieldError> {
    let raw: core::Service = typed(value)?;
    let spec = raw.spec.unwrap_or_default();
    let external = spec.type_.as_deref() == Some("ExternalName");
    let texts = spec.cluster_ips.filter(|ips| !ips.is_empty()).unwrap_or_else(|| spec.cluster_ip.into_iter().collect());
    let texts: Vec<_> = texts.into_iter().filter(|ip| !ip.is_empty()).collect();
    let headless = texts.first().is_some_and(|ip| ip == "None");
    let cluster_ips = if headless || external {
        Vec::new()
    } else {
        texts.iter().map(|ip| address(ip, "/spec/clusterIP")).collect::<Result<_, _>>()?
    };
    let ports = spec.ports.unwrap_or_default();
    Ok(Object::Service(Arc::new(Service {
        meta: namespaced(raw.metadata)?,
        cluster_ips,
        headless,
        external_name: spec.external_name.filter(|_| external),
        selector: spec.selector,
        ports: ports.into_iter().enumerate().map(service_port).collect::<Result<_, _>>()?,
        publish_not_ready: spec.publish_not_ready_addresses == Some(true),
        internal_traffic_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
    })))
}

fn service_port((index, raw): (usize, core::ServicePort)) -> Result<ServicePort, FieldError> {
    let at = format!("/spec/ports/{index}");
    let number = port(raw.port, &format!("{at}/port"))?;
    let target = match &raw.target_port {
        Some(target) => port_ref(target, &format!("{at}/targetPort"))?,
        None => PortRef::Number(number),
    };
    Ok(ServicePort {
        name: raw.name.filter(|name| !name.is_empty()),
        port: number,
        target,
        protocol: protocol(raw.protocol.as_deref(), &at)?,
        app_protocol: raw.app_protocol,
    })
}

fn protocol(raw: Option<&str>, at: &str) -> Result<Protocol, FieldError> {
    match raw {
        None | Some("TCP") => Ok(Protocol::Tcp),
        Some("UDP") => Ok(Protocol::Udp),
        Some("SCTP") => Ok(Protocol::Sctp),
        Some(other) => {
            Err(FieldError::new(format!("{at}/protocol"), format!("unknown protocol {other}; write TCP, UDP or SCTP")))
        }
    }
}

pub(super) fn pod(value: Value) -> Result<Object, FieldError> {
    let raw: core::Pod = typed(value)?;
    let terminating = raw.metadata.deletion_timestamp.is_some();
    let spec = raw.spec.unwrap_or_default();
    let status = raw.status.unwrap_or_default();
    let conditions = status.conditions.clone().unwrap_or_default();
    let service_account = spec.service_account_name.clone().filter(|name| !name.is_empty());
    let service_account = service_account.unwrap_or_else(|| "default".to_owned());
    if !is_name(&service_account) {
        return Err(FieldError::new("/spec/serviceAccountName", not_a_name(&service_account)));
    }
    let host_ip = status.host_ip.as_deref().filter(|ip| !ip.is_empty());
    Ok(Object::Pod(Arc::new(Pod {
        meta: namespaced(raw.metadata)?,
        ips: pod_ips(&status)?,
        host_ip: host_ip.map(|ip| address(ip, "/status/hostIP")).transpose()?,
        host_network: spec.host_network == Some(true),
        node: spec.node_name.clone(),
        service_account,
        hostname: spec.hostname.clone(),
        subdomain: spec.subdomain.clone(),
        ready: conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        terminating,
        finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
        ports: container_ports(&spec)?,
        probes: probes(&spec)?,
        inbound_proxy_port: proxy_port(&spec, "LINKERD2_PROXY_INBOUND_LISTEN_ADDR")?,
        admin_proxy_port: proxy_port(&spec, "LINKERD2_PROXY_ADMIN_LISTEN_ADDR")?,
    })))
}

fn pod_ips(status: &core::PodStatus) -> Result<Vec<IpAddr>, FieldError> {
    let mut ips = Vec::new();
    for (index, raw) in status.pod_ips.iter().flatten().enumerate() {
        if !raw.ip.is_empty() {
            ips.push(address(&raw.ip, &format!("/status/podIPs/{index}/ip"))?);
        }
    }
    if let (true, Some(ip)) = (ips.is_empty(), status.pod_ip.as_deref().filter(|ip| !ip.is_empty())) {
        ips.push(address(ip, "/status/podIP")?);
    }
    Ok(ips)
}

/// Containers that run as long as the pod does, with their places: the ordinary ones, then native sidecars.
fn running(spec: &core::PodSpec) -> impl Iterator<Item = (String, &core::Container)> {
    let ordinary = spec.containers.iter().enumerate().map(|(i, c)| (format!("/spec/containers/{i}"), c));
    let init = spec.init_containers.iter().flatten().enumerate().map(|(i, c)| (format!("/spec/initContainers/{i}"), c));
    ordinary.chain(init.filter(|(_, container)| container.restart_policy.as_deref() == Some("Always")))
}

fn container_ports(spec: &core::PodSpec) -> Result<Vec<ContainerPort>, FieldError> {
    let mut ports = Vec::new();
    for (at, container) in running(spec) {
        for (index, raw) in container.ports.iter().flatten().enumerate() {
            let at = format!("{at}/ports/{index}");
            let host_port = raw.host_port.filter(|port| *port != 0);
            ports.push(ContainerPort {
                name: raw.name.clone().filter(|name| !name.is_empty()),
                port: port(raw.container_port, &format!("{at}/containerPort"))?,
                protocol: protocol(raw.protocol.as_deref(), &at)?,
                host_port: host_port.map(|number| port(number, &format!("{at}/hostPort"))).transpose()?,
            });
        }
    }
    Ok(ports)
}

fn probes(spec: &core::PodSpec) -> Result<Vec<HttpProbe>, FieldError> {
    let mut probes = Vec::new();
    for (at, container) in running(spec) {
        let each = [
            ("livenessProbe", &container.liveness_probe),
            ("readinessProbe", &container.readiness_probe),
            ("startupProbe", &container.startup_probe),
        ];
        for (field, probe) in each {
            let Some(http) = probe.as_ref().and_then(|probe| probe.http_get.as_ref()) else { continue };
            let path = http.path.as_deref().unwrap_or_default();
            probes.push(HttpProbe {
                path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
                port: port_ref(&http.port, &format!("{at}/{field}/httpGet/port"))?,
            });
        }
    }
    Ok(probes)
}

/// The port of an address in the environment of the container linkerd-proxy.
fn proxy_port(spec: &core::PodSpec, variable: &str) -> Result<Option<u16>, FieldError> {
    let Some((at, proxy)) = running(spec).find(|(_, container)| container.name == "linkerd-proxy") else {
        return Ok(None);
    };
    let mut env = proxy.env.iter().flatten().enumerate();
    let Some((index, env)) = env.find(|(_, env)| env.name == variable) else { return Ok(None) };
    let Some(value) = env.value.as_deref() else { return Ok(None) };
    let port = value.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).filter(|port| *port > 0);
    let invalid = || {
        let problem = format!("{variable} is {value:?}; write an address with a port, such as 0.0.0.0:4143");
        FieldError::new(format!("{at}/env/{index}/value"), problem)
    };
    port.map(Some).ok_or_else(invalid)
}

pub(super) fn endpoint_slice(value: Value) -> Result<Object, FieldError> {
    let raw: discovery::EndpointSlice = typed(value)?;
    let meta = namespaced(raw.metadata)?;
    if !matches!(raw.address_type.as_str(), "IPv4" | "IPv6") {
        let problem = format!("{:?} is not supported; write IPv4 or IPv6", raw.address_type);
        return Err(FieldError::new("/addressType", problem));
    }
    let endpoint = |(index, raw)| slice_endpoint(raw, &format!("/endpoints/{index}"), &meta.key.namespace);
    let endpoints = raw.endpoints.into_iter().enumerate().map(endpoint).collect::<Result<_, _>>()?;
    let ports = raw.ports.unwrap_or_default().into_iter().enumerate().map(slice_port).collect::<Result<_, _>>()?;
    let service = meta.labels.get("kubernetes.io/service-name").map(|name| name.as_str().into());
    Ok(Object::EndpointSlice(Arc::new(EndpointSlice { meta, service, endpoints, ports })))
}

fn slice_endpoint(raw: discovery::Endpoint, at: &str, namespace: &str) -> Result<SliceEndpoint, FieldError> {
    let addresses = raw.addresses.iter().enumerate();
    let addresses = addresses.map(|(index, ip)| address(ip, &format!("{at}/addresses/{index}")));
    let conditions = raw.conditions.unwrap_or_default();
    let zones = raw.hints.and_then(|hints| hints.for_zones).unwrap_or_default();
    Ok(SliceEndpoint {
        addresses: addresses.collect::<Result<_, _>>()?,
        ready: conditions.ready != Some(false),
        terminating: conditions.terminating == Some(true),
        target: raw.target_ref.and_then(|target| {
            let namespace = target.namespace.as_deref().unwrap_or(namespace);
            Some(TargetRef { kind: target.kind?, key: Key::new(namespace, &target.name?) })
        }),
        node: raw.node_name,
        zone: raw.zone,
        hostname: raw.hostname,
        for_zones: zones.into_iter().map(|zone| zone.name).collect(),
    })
}

fn slice_port((index, raw): (usize, discovery::EndpointPort)) -> Result<SlicePort, FieldError> {
    let at = format!("/ports/{index}");
    Ok(SlicePort {
        name: raw.name.filter(|name| !name.is_empty()),
        port: raw.port.map(|number| port(number, &format!("{at}/port"))).transpose()?,
        protocol: protocol(raw.protocol.as_deref(), &at)?,
    })
}
