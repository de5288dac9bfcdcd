//! Who may ask, and how an answer becomes a stream.

use crate::metrics::OpenStream;
use futures::{Stream, StreamExt};
use outrigger_model::{Identity, Peer, WorkloadRef};
use outrigger_mtls::grpc::Caller;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Status};

/// A stream of messages.
pub(crate) type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// Reads who the caller says it is.
pub(crate) fn workload(text: &str) -> Result<WorkloadRef, Status> {
    WorkloadRef::parse(text).map_err(|why| Status::invalid_argument(why.to_string()))
}

/// Who must prove something: `None` is a process of the same host, which need not.
pub(crate) fn peer<R>(request: &Request<R>) -> Result<Option<&Peer>, Status> {
    match request.extensions().get::<Caller>() {
        Some(Caller::Loopback) => Ok(None),
        Some(Caller::Peer(peer)) => Ok(Some(peer)),
        None => Err(Status::unauthenticated("the connection says nothing about its caller")),
    }
}

/// Whether the peer has one of the workload's identities.
pub(crate) fn admit(peer: &Peer, workload: &WorkloadRef, identities: &[Identity]) -> Result<(), Status> {
    if identities.iter().any(|identity| peer.is(identity)) {
        return Ok(());
    }
    let identity = peer.identity();
    tracing::warn!(event = "policy.caller_refused", %workload, %identity, "the caller is another workload");
    Err(Status::permission_denied(format!("{identity} does not speak for {workload}")))
}

/// Each newest policy as a message, until the sender is gone, or `ended` resolves; then the stream ends with OK.
pub(crate) fn messages<P: Send + Sync + 'static, M: Send + 'static>(
    policies: watch::Receiver<Arc<P>>,
    ended: impl Future<Output = ()> + Send + 'static,
    open: OpenStream,
    message: fn(&P) -> M,
) -> Messages<M> {
    let messages = WatchStream::new(policies).map(move |policy| {
        let _counted = &open;
        Ok(message(&policy))
    });
    Box::pin(messages.take_until(Box::pin(ended)))
}

/// Resolves when the controller drains. A dropped sender is a drain too: nobody could tell of one any more.
pub(crate) async fn drained(mut drain: watch::Receiver<bool>) {
    _ = drain.wait_for(|drain| *drain).await;
}
