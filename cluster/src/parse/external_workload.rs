//! workload.linkerd.io ExternalWorkload.

use super::values::{address, namespaced, port_name, typed};
use crate::error::FieldError;
use crate::{ContainerPort, ExternalWorkload, Object, Protocol};
use outrigger_crds as crds;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

pub(super) fn external_workload(value: Value) -> Result<Object, FieldError> {
    // Each version spells it its own way, and an error must, too.
    let old = value.get("apiVersion").is_some_and(|version| version == "workload.linkerd.io/v1alpha1");
    let tls = if old { "/spec/meshTls" } else { "/spec/meshTLS" };
    if value.pointer(tls).is_none() {
        return Err(FieldError::new(tls, "missing; write the workload's identity and serverName"));
    }
    let raw: crds::ExternalWorkload = typed(value)?;
    let invalid = |field: &str, problem: &dyn std::fmt::Display| FieldError::new(format!("{tls}/{field}"), problem);
    let identity = raw.spec.mesh_tls.identity.parse().map_err(|error| invalid("identity", &error))?;
    let server_name = raw.spec.mesh_tls.server_name.parse().map_err(|error| invalid("serverName", &error))?;
    let conditions = raw.status.and_then(|status| status.conditions).unwrap_or_default();
    Ok(Object::ExternalWorkload(Arc::new(ExternalWorkload {
        meta: namespaced(raw.metadata)?,
        identity,
        server_name: Some(server_name),
        ips: addresses(&raw.spec.workload_ips.unwrap_or_default())?,
        ports: ports(&raw.spec.ports.unwrap_or_default())?,
        ready: conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"),
    })))
}

fn addresses(raw: &[crds::WorkloadIp]) -> Result<Vec<IpAddr>, FieldError> {
    let mut ips: Vec<IpAddr> = Vec::new();
    for (index, raw) in raw.iter().enumerate() {
        let at = format!("/spec/workloadIPs/{index}/ip");
        let ip = address(&raw.ip, &at)?;
        if ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() {
            return Err(FieldError::new(at, format!("{ip} is no address of a machine; write one that others reach")));
        }
        if ips.iter().any(|other| other.is_ipv4() == ip.is_ipv4()) {
            let problem = "a workload has one IPv4 and one IPv6 address at most; remove the others";
            return Err(FieldError::new(at, problem));
        }
        ips.push(ip);
    }
    Ok(ips)
}

fn ports(raw: &[crds::Port]) -> Result<Vec<ContainerPort>, FieldError> {
    let mut names = BTreeSet::new();
    let one = |(index, raw): (usize, &crds::Port)| {
        let at = format!("/spec/ports/{index}");
        if raw.port == 0 {
            return Err(FieldError::new(format!("{at}/port"), "0 is no port; write a number from 1 to 65535"));
        }
        let name = raw.name.as_deref().map(|name| port_name(name, &format!("{at}/name"))).transpose()?;
        if name.as_ref().is_some_and(|name| !names.insert(name.clone())) {
            return Err(FieldError::new(format!("{at}/name"), "two ports have this name; rename one of them"));
        }
        let protocol = match raw.protocol {
            crds::Transport::Tcp => Protocol::Tcp,
            crds::Transport::Udp => Protocol::Udp,
        };
        Ok(ContainerPort { name, port: raw.port, protocol, host_port: None })
    };
    raw.iter().enumerate().map(one).collect()
}
