//! Pods and ExternalWorkloads, as policies see them.

use crate::Config;
use outrigger_cluster::{
    ContainerPort, ExternalWorkload, HttpProbe, Key, Meta, Pod, PortRef, PortSet, REQUIRE_IDENTITY_PORTS, World,
};
use outrigger_model::{DefaultPolicy, WorkloadKind, WorkloadRef};
use std::collections::BTreeSet;
use std::str::FromStr;

/// Marks pods that have a proxy (C.1).
const MESHED: &str = "linkerd.io/control-plane-ns";

pub(crate) const DEFAULT_POLICY: &str = "config.linkerd.io/default-inbound-policy";

/// A workload with a proxy.
pub(crate) struct Workload<'a> {
    pub(crate) kind: WorkloadKind,
    pub(crate) meta: &'a Meta,
    ports: &'a [ContainerPort],
    probes: &'a [HttpProbe],
}

/// What a workload's annotations, or its namespace's, decide of one port that no Server selects.
pub(crate) struct Settings {
    pub(crate) policy: DefaultPolicy,
    pub(crate) opaque: bool,
    pub(crate) require_identity: bool,
}

/// An annotation that says nothing, and what follows from that.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InvalidAnnotation {
    pub name: &'static str,
    pub why: String,
    pub consequence: &'static str,
}

impl<'a> Workload<'a> {
    /// The workload, if it exists and has a proxy.
    pub(crate) fn find(world: &'a World, workload: &WorkloadRef) -> Option<Self> {
        let key = Key { namespace: workload.namespace.clone(), name: workload.name.clone() };
        match workload.kind {
            WorkloadKind::Pod => world.pods.get(&key).and_then(|pod| Self::pod(pod)),
            WorkloadKind::ExternalWorkload => world.external_workloads.get(&key).map(|vm| Self::external(vm)),
        }
    }

    /// Every workload of the namespace that has a proxy.
    pub(crate) fn all(world: &'a World, namespace: &str) -> impl Iterator<Item = Self> {
        let pods = World::in_namespace(&world.pods, namespace).filter_map(|pod| Self::pod(pod));
        pods.chain(World::in_namespace(&world.external_workloads, namespace).map(|vm| Self::external(vm)))
    }

    fn pod(pod: &'a Pod) -> Option<Self> {
        let (meta, kind) = (&pod.meta, WorkloadKind::Pod);
        meta.labels.contains_key(MESHED).then_some(Self { kind, meta, ports: &pod.ports, probes: &pod.probes })
    }

    fn external(vm: &'a ExternalWorkload) -> Self {
        Self { kind: WorkloadKind::ExternalWorkload, meta: &vm.meta, ports: &vm.ports, probes: &[] }
    }

    pub(crate) fn reference(&self) -> WorkloadRef {
        let Key { namespace, name } = self.meta.key.clone();
        WorkloadRef { namespace, kind: self.kind, name }
    }

    /// The ports that the reference means: several of a pod's containers may give their ports one name.
    pub(crate) fn ports(&self, port: &PortRef) -> BTreeSet<u16> {
        match port {
            PortRef::Number(number) => [*number].into(),
            PortRef::Name(name) => self.named_ports().filter(|(n, _)| n == name).map(|(_, number)| number).collect(),
        }
    }

    /// Name and number of each TCP port that has a name.
    pub(crate) fn named_ports(&self) -> impl Iterator<Item = (&'a str, u16)> + use<'a> {
        ContainerPort::named(self.ports)
    }

    /// The paths that HTTP probes ask for at the port, without query.
    pub(crate) fn probe_paths(&self, port: u16) -> BTreeSet<&'a str> {
        let here = self.probes.iter().filter(|probe| self.ports(&probe.port).contains(&port));
        here.map(|probe| probe.path.split(['?', '#']).next().filter(|path| !path.is_empty()).unwrap_or("/")).collect()
    }

    /// What holds at the port without a Server. An annotation that cannot be read denies.
    pub(crate) fn settings(&self, world: &World, config: &Config, port: u16) -> Settings {
        let (default_policy, require_identity) = (default_policy(self.meta, world), require_identity(self.meta, world));
        let (policy, require_identity) = match (default_policy, require_identity) {
            (Ok(policy), Ok(ports)) => {
                (policy, ports.is_some_and(|ports| ports.contains_named(port, self.named_ports())))
            }
            _ => (Some(DefaultPolicy::Deny), false),
        };
        Settings {
            policy: policy.unwrap_or(config.default_policy),
            opaque: world.is_opaque(self.meta, port, self.named_ports(), &config.opaque_ports),
            require_identity,
        }
    }
}

/// What follows from an annotation that cannot be read.
const DENIES: &str = "every port without a Server denies";

/// Of the workload itself, else of its namespace.
fn default_policy(own: &Meta, world: &World) -> Result<Option<DefaultPolicy>, InvalidAnnotation> {
    let namespace = || world.namespaces.get(&Key::cluster(&own.key.namespace));
    let inherited = || namespace().and_then(|namespace| namespace.meta.annotation(DEFAULT_POLICY));
    own.annotation(DEFAULT_POLICY).or_else(inherited).map(parse_policy).transpose()
}

fn parse_policy(text: &str) -> Result<DefaultPolicy, InvalidAnnotation> {
    let invalid = |why: String| InvalidAnnotation { name: DEFAULT_POLICY, why, consequence: DENIES };
    text.trim().parse().map_err(|why: <DefaultPolicy as FromStr>::Err| invalid(why.to_string()))
}

/// Of the workload itself, else of its namespace.
fn require_identity<'a>(own: &'a Meta, world: &'a World) -> Result<Option<&'a PortSet>, InvalidAnnotation> {
    world.ports_of(own, |lists| lists.require_identity.as_ref()).map(valid_ports).transpose()
}

/// An entry that cannot be read might be the one that matters.
fn valid_ports(ports: &PortSet) -> Result<&PortSet, InvalidAnnotation> {
    let invalid = |why: String| InvalidAnnotation { name: REQUIRE_IDENTITY_PORTS, why, consequence: DENIES };
    ports.invalid().first().map_or(Ok(ports), |entry| Err(invalid(entry.to_string())))
}

/// The annotations of an object itself that say nothing and so deny: of a Namespace, a Pod or an ExternalWorkload.
pub(crate) fn invalid_annotations(own: &Meta) -> Vec<InvalidAnnotation> {
    let policy = own.annotation(DEFAULT_POLICY).map(parse_policy).and_then(Result::err);
    let ports = own.ports.require_identity.as_ref().map(valid_ports).and_then(Result::err);
    policy.into_iter().chain(ports).collect()
}
