//! A Pod or ExternalWorkload as an endpoint: its identity, what its proxy understands, its labels (B.2, table).

use crate::mesh::Mesh;
use outrigger_cluster::{
    ContainerPort, ExternalWorkload, IdentityNames, Key, Kind, Meta, Pod, PortRef, Protocol, Server, ServerProtocol,
    TargetRef, World,
};
use outrigger_model::{
    DnsName, Endpoint, Identity, InvalidName, Labels, ProtocolHint, TlsIdentity, WorkloadKind, WorkloadRef,
};
use std::net::SocketAddr;
use std::sync::Arc;

const CONTROL_PLANE_NS: &str = "linkerd.io/control-plane-ns";
pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";
const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// The name that an ExternalWorkload gives its proxy's port.
const PROXY_PORT_NAME: &str = "linkerd-proxy";
const DEFAULT_INBOUND_PORT: u16 = 4143;
const DEFAULT_ADMIN_PORT: u16 = 4191;
const TAP_PORT: u16 = 4190;

/// What may stand behind an address.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Workload<'a> {
    Pod(&'a Pod),
    External(&'a ExternalWorkload),
}

/// Where an endpoint and who asks for it are, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Zones<'a> {
    pub(crate) endpoint: Option<&'a str>,
    pub(crate) client: Option<&'a str>,
}

impl<'a> Workload<'a> {
    /// The workload that an EndpointSlice refers to.
    pub(crate) fn of_target(world: &'a World, target: &TargetRef) -> Option<Self> {
        let kind = [Kind::Pod, Kind::ExternalWorkload].into_iter().find(|kind| kind.as_str() == target.kind)?;
        Self::find(world, kind, &target.key)
    }

    /// The workload that a proxy says it is (B.3).
    pub(crate) fn of_ref(world: &'a World, workload: &WorkloadRef) -> Option<Self> {
        let kind = match workload.kind {
            WorkloadKind::Pod => Kind::Pod,
            WorkloadKind::ExternalWorkload => Kind::ExternalWorkload,
        };
        Self::find(world, kind, &Key { namespace: workload.namespace.clone(), name: workload.name.clone() })
    }

    /// The Pod or ExternalWorkload of this key.
    pub(crate) fn find(world: &'a World, kind: Kind, key: &Key) -> Option<Self> {
        match kind {
            Kind::Pod => world.pods.get(key).map(|pod| Self::Pod(pod)),
            Kind::ExternalWorkload => world.external_workloads.get(key).map(|workload| Self::External(workload)),
            _ => None,
        }
    }

    /// The zone that its label names, or that of its node.
    pub(crate) fn zone(self, world: &'a World) -> Option<&'a str> {
        let own = self.meta().labels.get(ZONE).map(String::as_str);
        own.or_else(|| zone_of_node(world, self.node()?))
    }

    /// The node of a pod.
    pub(crate) fn node(self) -> Option<&'a str> {
        match self {
            Self::Pod(pod) => pod.node.as_deref(),
            Self::External(_) => None,
        }
    }

    pub(crate) fn meta(self) -> &'a Meta {
        match self {
            Self::Pod(pod) => &pod.meta,
            Self::External(workload) => &workload.meta,
        }
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Pod(_) => Kind::Pod,
            Self::External(_) => Kind::ExternalWorkload,
        }
    }

    pub(crate) fn ports(self) -> &'a [ContainerPort] {
        match self {
            Self::Pod(pod) => &pod.ports,
            Self::External(workload) => &workload.ports,
        }
    }

    fn named_ports(self) -> impl Iterator<Item = (&'a str, u16)> {
        ContainerPort::named(self.ports())
    }
}

/// The zone that a Node's label names.
pub(crate) fn zone_of_node<'a>(world: &'a World, node: &str) -> Option<&'a str> {
    world.nodes.get(&Key::cluster(node))?.meta.labels.get(ZONE).map(String::as_str)
}

/// The number of a port that a Service or Server refers to by name, among the workload's ports of the same protocol.
pub(crate) fn port_named(ports: &[ContainerPort], name: &str, protocol: Protocol) -> Option<u16> {
    ports.iter().find(|p| p.protocol == protocol && p.name.as_deref() == Some(name)).map(|p| p.port)
}

/// A workload's address as an endpoint. `None` where its identity cannot be told: it must not be reached then.
pub(crate) fn endpoint(
    world: &World,
    mesh: &Mesh,
    workload: Workload<'_>,
    addr: SocketAddr,
    zones: Zones<'_>,
) -> Option<Endpoint> {
    let tls = identity(mesh, workload, addr.port());
    let tls = tls
        .inspect_err(|error| tracing::warn!(event = "endpoint.no_identity", workload = %workload.meta().key, %error))
        .ok()?;
    let meshed = tls.is_some();
    let opaque = is_opaque(world, mesh, workload, addr.port());
    Some(Endpoint {
        tls,
        hint: if meshed { hint(mesh, workload, opaque) } else { ProtocolHint::Unknown },
        inbound_port: inbound_port(workload, addr.port()).filter(|_| meshed && (opaque || mesh.transport_header)),
        http2: mesh.http2.clone().filter(|_| meshed),
        weight: weight(mesh, zones),
        labels: Arc::new(labels(workload, zones)),
        resource: Some(resource(workload)),
        ..Endpoint::unmeshed(addr)
    })
}

/// The weight of an endpoint there, for a client there.
pub(crate) fn weight(mesh: &Mesh, zones: Zones<'_>) -> u32 {
    let near = zones.endpoint.is_some() && zones.endpoint == zones.client;
    if mesh.zone_weights && near { 10 * Endpoint::WEIGHT } else { Endpoint::WEIGHT }
}

fn resource(workload: Workload<'_>) -> outrigger_model::Meta {
    let group = match workload {
        Workload::Pod(_) => "core",
        Workload::External(_) => "workload.linkerd.io",
    };
    let key = &workload.meta().key;
    outrigger_model::Meta::object(group, workload.kind().as_str(), &key.namespace, &key.name)
}

/// What the endpoint must prove; `None`: it is not of this mesh, or its proxy does not see the port.
fn identity(mesh: &Mesh, workload: Workload<'_>, port: u16) -> Result<Option<TlsIdentity>, InvalidName> {
    let skipped = workload.meta().ports.skip_inbound.as_ref();
    if skipped.is_some_and(|ports| ports.contains_named(port, workload.named_ports())) {
        return Ok(None);
    }
    match workload {
        Workload::Pod(pod) => pod_identity(&mesh.names, pod),
        Workload::External(workload) => {
            Ok(Some(TlsIdentity { id: workload.identity.clone(), server_name: workload.server_name.clone() }))
        }
    }
}

/// The Linkerd name of a pod that our control plane injected.
fn pod_identity(names: &IdentityNames, pod: &Pod) -> Result<Option<TlsIdentity>, InvalidName> {
    if pod.meta.labels.get(CONTROL_PLANE_NS) != Some(&names.control_plane_namespace) {
        return Ok(None);
    }
    let name = DnsName::service_account(
        &pod.service_account,
        &pod.meta.key.namespace,
        &names.control_plane_namespace,
        &names.identity_domain,
    )?;
    Ok(Some(TlsIdentity { id: Identity::Dns(name.clone()), server_name: Some(name) }))
}

fn hint(mesh: &Mesh, workload: Workload<'_>, opaque: bool) -> ProtocolHint {
    match workload {
        _ if opaque => ProtocolHint::Opaque,
        Workload::Pod(_) if !mesh.h2_upgrade => ProtocolHint::Unknown,
        Workload::Pod(_) | Workload::External(_) => ProtocolHint::Http2,
    }
}

/// The proxy's own port, unless `port` is one of those that the proxy serves itself.
fn inbound_port(workload: Workload<'_>, port: u16) -> Option<u16> {
    let (inbound, admin) = match workload {
        Workload::Pod(pod) => (pod.inbound_proxy_port, pod.admin_proxy_port),
        Workload::External(workload) => (port_named(&workload.ports, PROXY_PORT_NAME, Protocol::Tcp), None),
    };
    let own = [admin.unwrap_or(DEFAULT_ADMIN_PORT), TAP_PORT].contains(&port);
    (!own).then(|| inbound.unwrap_or(DEFAULT_INBOUND_PORT))
}

/// Whether no protocol is to be detected at the workload's port: its annotation, else its Namespace's, else the default
/// says so, or a Server does.
pub(crate) fn is_opaque(world: &World, mesh: &Mesh, workload: Workload<'_>, port: u16) -> bool {
    let meta = workload.meta();
    world.is_opaque(meta, port, workload.named_ports(), &mesh.default_opaque_ports)
        || World::in_namespace(&world.servers, &meta.key.namespace)
            .any(|server| server.protocol == ServerProtocol::Opaque && serves(server, workload, port))
}

fn serves(server: &Server, workload: Workload<'_>, port: u16) -> bool {
    selects(server, workload)
        && match &server.port {
            PortRef::Number(number) => *number == port,
            PortRef::Name(name) => workload.named_ports().any(|named| named == (name, port)),
        }
}

/// Whether a Server of the workload's namespace selects it.
pub(crate) fn selects(server: &Server, workload: Workload<'_>) -> bool {
    let kind = match workload {
        Workload::Pod(_) => WorkloadKind::Pod,
        Workload::External(_) => WorkloadKind::ExternalWorkload,
    };
    server.selects(kind, &workload.meta().labels)
}

/// The metric labels of the table in B.2.
fn labels(workload: Workload<'_>, zones: Zones<'_>) -> Labels {
    let mut labels = locality(zones);
    let mut set = |name: &str, value: &str| labels.insert(name.into(), value.into());
    let meta = workload.meta();
    if let Some((kind, name)) = owner(meta) {
        set(&kind, &name);
    }
    match workload {
        Workload::Pod(pod) => {
            set("pod", &meta.key.name);
            set("serviceaccount", &pod.service_account);
            for (label, name) in [(CONTROL_PLANE_NS, "control_plane_ns"), (POD_TEMPLATE_HASH, "pod_template_hash")] {
                meta.labels.get(label).map(|value| set(name, value));
            }
        }
        Workload::External(_) => {
            set("external_workload", &meta.key.name);
        }
    }
    labels
}

/// Where the endpoint is, and whether the client is there too.
pub(crate) fn locality(zones: Zones<'_>) -> Labels {
    let locality = match (zones.endpoint, zones.client) {
        (Some(endpoint), Some(client)) if endpoint == client => "local",
        (Some(_), Some(_)) => "remote",
        _ => "unknown",
    };
    let zone = zones.endpoint.map(|zone| ("zone".into(), zone.into()));
    zone.into_iter().chain([("zone_locality".into(), locality.into())]).collect()
}

/// The owner's kind and name as labels. A ReplicaSet named after its pods' template hash is a Deployment's; a Job is
/// `k8s_job`, since `job` is the scraper's own label.
fn owner(meta: &Meta) -> Option<(String, String)> {
    let (kind, name) = meta.owner.as_ref()?;
    let deployment = || name.strip_suffix(meta.labels.get(POD_TEMPLATE_HASH)?)?.strip_suffix('-');
    Some(match (kind.as_str(), deployment()) {
        ("ReplicaSet", Some(deployment)) => ("deployment".to_owned(), deployment.to_owned()),
        ("Job", _) => ("k8s_job".to_owned(), name.clone()),
        _ => (kind.to_ascii_lowercase(), name.clone()),
    })
}
