//! Which Server rules a port, and what each Server selects.

use crate::workload::Workload;
use outrigger_cluster::{PortRef, Server, World};
use outrigger_model::WorkloadRef;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// What a Server selects at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerStatus {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// A number or a name, as the Server writes it.
    pub port: String,
    /// By workload, then port. Empty: the Server has no effect.
    pub selected: Vec<SelectedPort>,
    /// How many workloads its selector matches, whatever their ports.
    pub workloads: usize,
    /// The TCP port names that those workloads have.
    pub port_names: BTreeSet<String>,
}

/// A port of a workload that a Server selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedPort {
    pub workload: WorkloadRef,
    pub port: u16,
    /// The Server that rules the port instead: it is older, or as old and first by name.
    pub shadowed_by: Option<Arc<str>>,
}

/// The Server that rules the port: of those that select it the oldest, then the first by name (C.1).
pub(crate) fn server_of<'a>(world: &'a World, workload: &Workload<'_>, port: u16) -> Option<&'a Server> {
    let servers = World::in_namespace(&world.servers, &workload.meta.key.namespace);
    let selecting = servers.filter(|server| matches(server, workload) && workload.ports(&server.port).contains(&port));
    selecting.min_by(|a, b| a.meta.precedence().cmp(&b.meta.precedence())).map(|server| &**server)
}

/// What the Server selects, and what stands in its way.
pub fn server_status(world: &World, server: &Server) -> ServerStatus {
    let key = &server.meta.key;
    let others = World::in_namespace(&world.servers, &key.namespace).map(|s| &**s).filter(|s| s.meta.key != *key);
    let mut statuses = statuses_of(world, &key.namespace, others.chain([server]).collect());
    let at = statuses.iter().position(|status| status.name == key.name).unwrap_or_default();
    statuses.swap_remove(at)
}

/// The status of each Server of the namespace.
pub(crate) fn statuses(world: &World, namespace: &str) -> Vec<ServerStatus> {
    statuses_of(world, namespace, World::in_namespace(&world.servers, namespace).map(|s| &**s).collect())
}

/// One pass over the workloads, the Servers in the order in which they take a port.
fn statuses_of(world: &World, namespace: &str, mut servers: Vec<&Server>) -> Vec<ServerStatus> {
    servers.sort_by(|a, b| a.meta.precedence().cmp(&b.meta.precedence()));
    let mut statuses: Vec<_> = servers.iter().map(|server| ServerStatus::empty(server)).collect();
    for workload in Workload::all(world, namespace) {
        let mut rulers = BTreeMap::<u16, &Arc<str>>::new();
        for (server, status) in servers.iter().zip(&mut statuses).filter(|(server, _)| matches(server, &workload)) {
            let name = &server.meta.key.name;
            status.workloads += 1;
            status.port_names.extend(workload.named_ports().map(|(name, _)| name.to_owned()));
            for port in workload.ports(&server.port) {
                let ruler = *rulers.entry(port).or_insert(name);
                let shadowed_by = (ruler != name).then(|| ruler.clone());
                status.selected.push(SelectedPort { workload: workload.reference(), port, shadowed_by });
            }
        }
    }
    statuses
}

fn matches(server: &Server, workload: &Workload<'_>) -> bool {
    server.selects(workload.kind, &workload.meta.labels)
}

impl ServerStatus {
    fn empty(server: &Server) -> Self {
        Self {
            namespace: server.meta.key.namespace.clone(),
            name: server.meta.key.name.clone(),
            port: match &server.port {
                PortRef::Number(number) => number.to_string(),
                PortRef::Name(name) => name.clone(),
            },
            selected: Vec::new(),
            workloads: 0,
            port_names: BTreeSet::new(),
        }
    }

    /// The ports that the Server rules: it selects them and no other Server goes before it.
    pub fn ruled(&self) -> usize {
        self.selected.iter().filter(|port| port.shadowed_by.is_none()).count()
    }

    /// The status as `GET /servers.json` shows it.
    pub fn to_json(&self) -> Value {
        let port = |selected: &SelectedPort| {
            json!({
                "workload": selected.workload.to_string(),
                "port": selected.port,
                "shadowedBy": selected.shadowed_by.as_deref(),
            })
        };
        json!({
            "namespace": &*self.namespace,
            "name": &*self.name,
            "port": self.port,
            "selected": self.selected.iter().map(port).collect::<Vec<_>>(),
            "workloads": self.workloads,
            "portNames": self.port_names,
            "message": self.to_string(),
        })
    }
}

impl fmt::Display for ServerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shadow = self.selected.iter().find_map(|port| port.shadowed_by.as_deref());
        match (self.selected.len(), self.ruled(), shadow) {
            (0, ..) if self.workloads == 0 => {
                f.write_str("selects nothing, so it protects nothing: no workload with a proxy matches its selector")
            }
            (0, ..) => {
                let names: Vec<_> = self.port_names.iter().map(String::as_str).collect();
                let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                let (port, workloads) = (&self.port, self.workloads);
                write!(
                    f,
                    "selects nothing, so it protects nothing: of the workloads that match its selector ({workloads}) \
                     none has a TCP port named {port:?}; their port names: {names}"
                )
            }
            (selected, ruled, Some(other)) => {
                write!(f, "rules {ruled} of the {selected} ports that it selects; Server {other} goes before it")
            }
            (_, ruled, None) => write!(f, "rules {ruled} ports"),
        }
    }
}
