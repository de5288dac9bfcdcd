//! Who may ask, and what of them may shape the answer (B.3).

use crate::index::Shared;
use crate::workload::{Workload, zone_of_node};
use outrigger_cluster::{IdentityNames, World};
use outrigger_model::{ContextToken, Identity, Peer, WorkloadRef};
use outrigger_mtls::grpc::Caller;
use std::sync::Arc;
use tokio::sync::watch;
use tonic::Status;

/// What is known of where a client is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    pub namespace: Option<Arc<str>>,
    pub node: Option<Arc<str>>,
    pub zone: Option<Arc<str>>,
}

/// A peer that says which workload it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    peer: Peer,
    workload: WorkloadRef,
}

impl Claim {
    /// Whether the peer has one of the workload's identities. `None`: there is no such workload.
    fn check(&self, identities: Option<&[Identity]>) -> Result<(), Status> {
        let Self { peer, workload } = self;
        let identities =
            identities.ok_or_else(|| Status::permission_denied(format!("there is no workload {workload}")))?;
        if identities.iter().any(|identity| peer.is(identity)) {
            return Ok(());
        }
        let peer = peer.identity();
        tracing::warn!(event = "caller.refused", %peer, claimed = %workload, "a caller claims to be another workload");
        Err(Status::permission_denied(format!("{peer} may not speak for {workload}")))
    }
}

/// Admits a caller with its context token; a claim has to hold as long as the answer is followed.
///
/// A peer that says which workload it is must prove one of that workload's identities; one that does not say gets
/// answers that are the same for everybody. A process of the same host may say what it likes. A refusal is always
/// PERMISSION_DENIED: INVALID_ARGUMENT would mean to a proxy that the destination is not meshed.
pub fn admit(
    caller: Option<&Caller>,
    token: &str,
    world: &World,
    names: &IdentityNames,
) -> Result<(Client, Option<Claim>), Status> {
    let caller = caller.ok_or_else(|| Status::unauthenticated("the connection says nothing of its peer"))?;
    if token.starts_with("ns:") {
        tracing::warn!(event = "token.legacy", %token, "the context token is of a form that Linkerd gave up");
    }
    let token = ContextToken::parse(token)
        .map_err(|e| Status::permission_denied(format!("the context token is unreadable: {e}")))?;
    let claim = match (caller, &token.workload) {
        (Caller::Loopback, _) => None,
        (Caller::Peer(_), None) => return Ok((Client::default(), None)),
        (Caller::Peer(peer), Some(workload)) => Some(Claim { peer: peer.clone(), workload: workload.clone() }),
    };
    if let Some(claim) = &claim {
        claim.check(world.identities_of(&claim.workload, names).as_deref())?;
    }
    let found = token.workload.as_ref().and_then(|workload| Workload::of_ref(world, workload));
    let node = found.and_then(Workload::node).map(Arc::from).or(token.node);
    let zone = found.and_then(|workload| workload.zone(world));
    let zone = zone.or_else(|| zone_of_node(world, node.as_deref()?));
    Ok((Client { namespace: token.namespace, zone: zone.map(Arc::from), node }, claim))
}

/// A claim that is checked again whenever the workload's identities change.
pub(crate) struct Standing {
    index: Shared,
    claim: Claim,
    identities: watch::Receiver<Option<Vec<Identity>>>,
}

impl Standing {
    pub(crate) fn new(index: Shared, claim: Claim) -> Self {
        let mut identities = index.lock().follow_identities(&claim.workload);
        // Since the claim was admitted they may have changed.
        identities.mark_changed();
        Self { index, claim, identities }
    }

    /// Whether the claim still holds.
    pub(crate) fn check(&mut self) -> Result<(), Status> {
        // A sender that is gone cannot say; the index keeps it as long as somebody follows.
        if self.identities.has_changed().unwrap_or(true) {
            return self.claim.check(self.identities.borrow_and_update().as_deref());
        }
        Ok(())
    }

    /// Waits until the claim has to be checked again.
    pub(crate) async fn changed(&self) {
        let mut identities = self.identities.clone();
        if identities.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.index.lock().release_identities(&self.claim.workload);
    }
}
