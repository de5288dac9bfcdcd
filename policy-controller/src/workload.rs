//! Pods and ExternalWorkloads, as policies see them.

use crate::Config;
use crate::ports::PortSet;
use outrigger_cluster::{ContainerPort, ExternalWorkload, HttpProbe, Key, Meta, Pod, PortRef, Protocol, World};
use outrigger_model::{DefaultPolicy, WorkloadKind, WorkloadRef};
use std::collections::BTreeSet;

/// Marks pods that have a proxy (C.1).
const MESHED: &str = "linkerd.io/control-plane-ns";

pub(crate) const DEFAULT_POLICY: &str = "config.linkerd.io/default-inbound-policy";
const OPAQUE_PORTS: &str = "config.linkerd.io/opaque-ports";
const REQUIRE_IDENTITY: &str = "config.linkerd.io/proxy-require-identity-inbound-ports";

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
            PortRef::Name(name) => self.named_ports().filter(|(_, n)| n == name).map(|(number, _)| number).collect(),
        }
    }

    /// Number and name of each TCP port that has a name.
    pub(crate) fn named_ports(&self) -> impl Iterator<Item = (u16, &'a str)> {
        let tcp = self.ports.iter().filter(|port| port.protocol == Protocol::Tcp);
        tcp.filter_map(|port| Some((port.port, port.name.as_deref()?)))
    }

    /// The paths that HTTP probes ask for at the port, without query.
    pub(crate) fn probe_paths(&self, port: u16) -> BTreeSet<&'a str> {
        let here = self.probes.iter().filter(|probe| self.ports(&probe.port).contains(&port));
        here.map(|probe| probe.path.split(['?', '#']).next().filter(|path| !path.is_empty()).unwrap_or("/")).collect()
    }

    /// What holds at the port without a Server. An annotation that cannot be read denies.
    pub(crate) fn settings(&self, world: &World, config: &Config, port: u16) -> Settings {
        let annotations = Annotations::of(self.meta, world);
        let names = || self.named_ports().filter(move |(number, _)| *number == port).map(|(_, name)| name);
        let opaque = annotations.value(OPAQUE_PORTS).map(|list| PortSet::read(list).0);
        let (policy, require_identity) = match (annotations.default_policy(), annotations.require_identity()) {
            (Ok(policy), Ok(ports)) => (policy, ports.is_some_and(|ports| ports.contains(port, names()))),
            _ => (Some(DefaultPolicy::Deny), false),
        };
        Settings {
            policy: policy.unwrap_or(config.default_policy),
            opaque: opaque.as_ref().unwrap_or(&config.opaque_ports).contains(port, names()),
            require_identity,
        }
    }
}

/// A workload's annotations, over its namespace's.
struct Annotations<'a> {
    own: &'a Meta,
    namespace: Option<&'a Meta>,
}

impl<'a> Annotations<'a> {
    fn of(own: &'a Meta, world: &'a World) -> Self {
        let namespace = world.namespaces.get(&Key::cluster(&own.key.namespace)).map(|namespace| &namespace.meta);
        Self { own, namespace }
    }

    fn default_policy(&self) -> Result<Option<DefaultPolicy>, InvalidAnnotation> {
        self.parsed(DEFAULT_POLICY, "every port without a Server denies")
    }

    fn require_identity(&self) -> Result<Option<PortSet>, InvalidAnnotation> {
        self.parsed(REQUIRE_IDENTITY, "every port without a Server denies")
    }

    fn opaque_ports(&self) -> Result<Option<PortSet>, InvalidAnnotation> {
        self.parsed(OPAQUE_PORTS, "the rest of the list holds")
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        self.own.annotation(name).or_else(|| self.namespace.and_then(|namespace| namespace.annotation(name)))
    }

    fn parsed<T>(&self, name: &'static str, consequence: &'static str) -> Result<Option<T>, InvalidAnnotation>
    where
        T: std::str::FromStr<Err: ToString>,
    {
        let parsed = self.value(name).map(|value| value.trim().parse()).transpose();
        parsed.map_err(|why: T::Err| InvalidAnnotation { name, why: why.to_string(), consequence })
    }
}

/// The annotations of an object itself that say nothing: of a Namespace, a Pod or an ExternalWorkload.
pub(crate) fn invalid_annotations(own: &Meta) -> Vec<InvalidAnnotation> {
    let annotations = Annotations { own, namespace: None };
    let results =
        [annotations.default_policy().err(), annotations.require_identity().err(), annotations.opaque_ports().err()];
    results.into_iter().flatten().collect()
}
