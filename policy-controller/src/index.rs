//! The objects, and the newest policy of each port and each destination that somebody watches.

use crate::affected::Affected;
use crate::metrics::Metrics;
use crate::outbound::{Addresses, Destination, NoPolicy, Watches, outbound_policy};
use crate::problem::{Problem, problems};
use crate::server::{ServerStatus, statuses};
use crate::source::{Sources, Standing};
use crate::{Config, policy};
use outrigger_cluster::{Change, World};
use outrigger_model::{Identity, InboundPolicy, OutboundPolicy, WorkloadRef};
use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::watch;

/// Shared by the stream of changes, which writes it, and the gRPC service, which reads it.
#[derive(Debug)]
pub struct Index {
    config: Config,
    metrics: Metrics,
    /// Whether the complete initial state has arrived.
    complete: watch::Sender<bool>,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    world: World,
    addresses: Addresses,
    ports: BTreeMap<(WorkloadRef, u16), Watched>,
    destinations: Watches,
    sources: Sources,
    /// By namespace.
    servers: BTreeMap<Arc<str>, Vec<ServerStatus>>,
    /// By namespace; what was logged already.
    problems: BTreeMap<Arc<str>, BTreeSet<Problem>>,
}

#[derive(Debug)]
struct Watched {
    policy: watch::Sender<Arc<InboundPolicy>>,
    /// Who may watch, as of the subscriptions.
    identities: Option<Vec<Identity>>,
}

impl Index {
    /// An index of nothing yet.
    pub fn new(config: Config, metrics: Metrics) -> Self {
        Self { config, metrics, complete: watch::Sender::new(false), state: RwLock::default() }
    }

    /// Takes in a batch of changes; the first one holds the complete initial state.
    ///
    /// Watchers hear only of policies that differ from the last. The watches of a workload that is gone, or that
    /// somebody else now speaks for, end.
    pub fn apply(&self, changes: &[Change]) {
        let mut state = self.state.write();
        let state = &mut *state;
        let mut touched = BTreeSet::new();
        for change in changes {
            state.addresses.apply(&mut state.world, change, &mut touched);
        }
        state.destinations.refresh(&touched, |destination| {
            outbound_policy(&state.world, &self.config, &state.addresses, destination)
        });
        let affected = Affected::by(&state.world, changes);
        for workload in &affected.workloads {
            let identities = state.world.identities_of(workload, &self.config.names);
            state.sources.refresh(workload, identities.as_deref());
        }
        state.ports.retain(|(workload, port), watched| {
            !affected.contains(workload) || watched.refresh(&state.world, &self.config, workload, *port)
        });
        for namespace in affected.reported() {
            self.report(state, namespace);
        }
        self.complete.send_if_modified(|complete| !std::mem::replace(complete, true));
    }

    /// The policy of one port. `None`: no workload with a proxy has this name.
    pub fn policy(&self, workload: &WorkloadRef, port: u16) -> Option<InboundPolicy> {
        policy(&self.state.read().world, &self.config, workload, port)
    }

    /// The newest policy of one port, and each one after it until the workload is gone.
    pub fn watch(&self, workload: &WorkloadRef, port: u16) -> Option<watch::Receiver<Arc<InboundPolicy>>> {
        let mut state = self.state.write();
        let key = (workload.clone(), port);
        if let Some(watched) = state.ports.get(&key) {
            return Some(watched.policy.subscribe());
        }
        let policy = policy(&state.world, &self.config, workload, port)?;
        let identities = state.world.identities_of(workload, &self.config.names);
        // Watches whose last reader left are swept each time the number of watches has doubled.
        if state.ports.len().is_power_of_two() {
            state.ports.retain(|_, watched| !watched.policy.is_closed());
        }
        let (sender, receiver) = watch::channel(Arc::new(policy));
        state.ports.insert(key, Watched { policy: sender, identities });
        Some(receiver)
    }

    /// The policy of a destination.
    pub fn outbound_policy(&self, destination: &Destination) -> Result<OutboundPolicy, NoPolicy> {
        let state = self.state.read();
        outbound_policy(&state.world, &self.config, &state.addresses, destination)
    }

    /// The newest policy of a destination, and each one after it until there is none.
    pub fn watch_outbound(&self, destination: &Destination) -> Result<watch::Receiver<Arc<OutboundPolicy>>, NoPolicy> {
        let mut state = self.state.write();
        let state = &mut *state;
        let policy = || outbound_policy(&state.world, &self.config, &state.addresses, destination);
        state.destinations.follow(destination, policy)
    }

    /// What policies are computed with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Any one of these may ask for the workload's policies. `None`: there is no such workload.
    pub fn identities_of(&self, workload: &WorkloadRef) -> Option<Vec<Identity>> {
        self.state.read().world.identities_of(workload, &self.config.names)
    }

    /// The same, and a standing that is lost when they change.
    pub(crate) fn source(&self, workload: &WorkloadRef) -> Option<(Vec<Identity>, Standing)> {
        let mut state = self.state.write();
        let identities = state.world.identities_of(workload, &self.config.names)?;
        Some(state.sources.follow(workload, identities))
    }

    /// The status of every Server, by namespace.
    pub fn server_statuses(&self) -> Vec<ServerStatus> {
        self.state.read().servers.values().flatten().cloned().collect()
    }

    /// What is wrong with objects at present.
    pub fn problems(&self) -> Vec<Problem> {
        self.state.read().problems.values().flatten().cloned().collect()
    }

    /// Whether the complete initial state has arrived.
    pub fn is_complete(&self) -> bool {
        *self.complete.borrow()
    }

    /// Waits for the complete initial state.
    pub async fn complete(&self) {
        // The sender is this index: it cannot be gone.
        _ = self.complete.subscribe().wait_for(|complete| *complete).await;
    }

    /// What the controller counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Brings a namespace's Server statuses and problems up to date, and logs each change of them once.
    fn report(&self, state: &mut State, namespace: &Arc<str>) {
        let statuses = statuses(&state.world, namespace);
        let now = problems(&state.world, &self.config, namespace, &statuses);
        let before = state.problems.remove(namespace).unwrap_or_default();
        for Problem { object, what } in now.difference(&before) {
            tracing::warn!(event = what.event(), object, "{object}: {what}");
        }
        for Problem { object, what } in before.difference(&now) {
            tracing::info!(event = "problem.gone", problem = what.event(), object, "no longer so: {object}: {what}");
        }
        let gone = state.servers.remove(namespace).unwrap_or_default();
        self.metrics.servers(&gone, &statuses);
        if !now.is_empty() {
            state.problems.insert(namespace.clone(), now);
        }
        if !statuses.is_empty() {
            state.servers.insert(namespace.clone(), statuses);
        }
    }
}

impl Watched {
    /// Computes the policy anew. Returns whether the watch goes on.
    fn refresh(&self, world: &World, config: &Config, workload: &WorkloadRef, port: u16) -> bool {
        if self.policy.is_closed() || self.identities != world.identities_of(workload, &config.names) {
            return false;
        }
        let Some(next) = policy(world, config, workload, port) else { return false };
        publish(&self.policy, next);
        true
    }
}

/// Tells watchers of a policy that differs from the last.
pub(crate) fn publish<P: PartialEq>(policies: &watch::Sender<Arc<P>>, next: P) {
    policies.send_if_modified(|last| {
        let differs = **last != next;
        if differs {
            *last = Arc::new(next);
        }
        differs
    });
}
