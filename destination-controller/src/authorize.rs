//! Who may ask, and what of them may shape the answer (B.3).

use crate::workload::Workload;
use outrigger_cluster::{IdentityNames, World};
use outrigger_model::ContextToken;
use outrigger_mtls::grpc::Caller;
use std::sync::Arc;
use tonic::Status;

/// What is known of where a client is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    pub node: Option<Arc<str>>,
    pub zone: Option<Arc<str>>,
}

/// Admits a caller with its context token.
///
/// A peer that says which workload it is must prove one of that workload's identities; one that does not say gets
/// answers that are the same for everybody. A process of the same host may say what it likes. A refusal is always
/// PERMISSION_DENIED: INVALID_ARGUMENT would mean to a proxy that the destination is not meshed.
pub fn admit(caller: Option<&Caller>, token: &str, world: &World, names: &IdentityNames) -> Result<Client, Status> {
    let caller = caller.ok_or_else(|| Status::unauthenticated("the connection says nothing of its peer"))?;
    let token = ContextToken::parse(token)
        .map_err(|e| Status::permission_denied(format!("the context token is unreadable: {e}")))?;
    let workload = token.workload.as_ref();
    if let Caller::Peer(peer) = caller {
        let Some(claimed) = workload else { return Ok(Client::default()) };
        let proofs = world.identities_of(claimed, names);
        let proofs = proofs.ok_or_else(|| Status::permission_denied(format!("there is no workload {claimed}")))?;
        if !proofs.iter().any(|identity| peer.is(identity)) {
            let peer = peer.identity();
            tracing::warn!(event = "caller.refused", %peer, %claimed, "a caller claims to be another workload");
            return Err(Status::permission_denied(format!("{peer} may not speak for {claimed}")));
        }
    }
    let found = workload.and_then(|workload| Workload::of_ref(world, workload));
    Ok(Client {
        node: found.and_then(Workload::node).map(Arc::from).or(token.node),
        zone: found.and_then(Workload::zone).map(Arc::from),
    })
}
