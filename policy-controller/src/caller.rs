//! Who may ask, and how an answer becomes a stream.

use crate::Index;
use crate::metrics::OpenStream;
use futures::{Stream, StreamExt};
use outrigger_model::WorkloadRef;
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

/// Whether the caller may speak for the workload: a peer must prove to be it, a process of the same host need not.
pub(crate) fn authorize<R>(
    index: &Index,
    request: &Request<R>,
    workload: &WorkloadRef,
    unknown: impl FnOnce() -> Status,
) -> Result<(), Status> {
    let peer = match request.extensions().get::<Caller>() {
        Some(Caller::Loopback) => return Ok(()),
        Some(Caller::Peer(peer)) => peer,
        None => return Err(Status::unauthenticated("the connection says nothing about its caller")),
    };
    let allowed = index.identities_of(workload).ok_or_else(unknown)?;
    if allowed.iter().any(|identity| peer.is(identity)) {
        return Ok(());
    }
    let identity = peer.identity();
    tracing::warn!(event = "policy.caller_refused", %workload, %identity, "the caller is another workload");
    Err(Status::permission_denied(format!("{identity} does not speak for {workload}")))
}

/// Each newest policy as a message, until the sender is gone or `drain` turns true; then the stream ends with OK.
pub(crate) fn messages<P: Send + Sync + 'static, M: Send + 'static>(
    policies: watch::Receiver<Arc<P>>,
    mut drain: watch::Receiver<bool>,
    open: OpenStream,
    message: fn(&P) -> M,
) -> Messages<M> {
    let messages = WatchStream::new(policies).map(move |policy| {
        let _counted = &open;
        Ok(message(&policy))
    });
    // A dropped sender ends the streams too: nobody could any more.
    let drained = async move { _ = drain.wait_for(|drain| *drain).await };
    Box::pin(messages.take_until(drained))
}
