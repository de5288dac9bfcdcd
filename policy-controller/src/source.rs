//! The workloads that others proved to be, for as long as those identities are theirs.

use outrigger_model::{Identity, WorkloadRef};
use std::collections::BTreeMap;
use tokio::sync::watch;

/// By workload: the identities that speak for it, as of the first who asked as it.
#[derive(Debug, Default)]
pub(crate) struct Sources(BTreeMap<WorkloadRef, Source>);

#[derive(Debug)]
struct Source {
    identities: Vec<Identity>,
    /// Dropped when the workload is gone, or somebody else speaks for it.
    standing: watch::Sender<()>,
}

/// Holds as long as the workload has the identities that were proved.
#[derive(Debug)]
pub(crate) struct Standing(watch::Receiver<()>);

impl Standing {
    /// Resolves when it does not hold any more.
    pub(crate) async fn lost(mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

impl Sources {
    /// What must be proved to be the workload, and how long that holds. `identities` are those of now.
    pub(crate) fn follow(&mut self, workload: &WorkloadRef, identities: Vec<Identity>) -> (Vec<Identity>, Standing) {
        // Those whose last stream has ended are swept each time their number has doubled.
        if !self.0.contains_key(workload) && self.0.len().is_power_of_two() {
            self.0.retain(|_, source| !source.standing.is_closed());
        }
        let new = || Source { identities: identities.clone(), standing: watch::Sender::new(()) };
        let source = self.0.entry(workload.clone()).or_insert_with(new);
        let standing = Standing(source.standing.subscribe());
        (identities, standing)
    }

    /// Ends what rests on identities that are not the workload's any more.
    pub(crate) fn refresh(&mut self, workload: &WorkloadRef, identities: Option<&[Identity]>) {
        if self.0.get(workload).is_some_and(|source| Some(&*source.identities) != identities) {
            self.0.remove(workload);
        }
    }
}
