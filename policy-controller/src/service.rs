//! The gRPC service: a port's policy, once or as a stream.

use crate::Index;
use futures::{Stream, StreamExt};
use linkerd2_proxy_api::inbound::inbound_server_policies_server::{InboundServerPolicies, InboundServerPoliciesServer};
use linkerd2_proxy_api::inbound::{PortSpec, Server};
use outrigger_api::inbound::policy_to_proto;
use outrigger_model::WorkloadRef;
use outrigger_mtls::grpc::Caller;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};

/// `InboundServerPolicies` over an index. Its streams end with OK once `drain` turns true.
#[derive(Debug, Clone)]
pub struct Service {
    index: Arc<Index>,
    drain: watch::Receiver<bool>,
}

impl Service {
    /// The service for a tonic server.
    pub fn new(index: Arc<Index>, drain: watch::Receiver<bool>) -> InboundServerPoliciesServer<Self> {
        InboundServerPoliciesServer::new(Self { index, drain })
    }

    /// The workload and port asked for, if they make sense and the caller may ask.
    fn authorized(&self, request: &Request<PortSpec>) -> Result<(WorkloadRef, u16), Status> {
        let PortSpec { workload, port } = request.get_ref();
        let workload = WorkloadRef::parse(workload).map_err(|why| Status::invalid_argument(why.to_string()))?;
        let port = u16::try_from(*port).ok().filter(|port| *port != 0);
        let port = port.ok_or_else(|| Status::invalid_argument("port must be 1 to 65535"))?;
        match request.extensions().get::<Caller>() {
            Some(Caller::Loopback) => Ok((workload, port)),
            Some(Caller::Peer(peer)) => {
                let allowed = self.index.identities_of(&workload).ok_or_else(|| unknown(&workload))?;
                if allowed.iter().any(|identity| peer.is(identity)) {
                    return Ok((workload, port));
                }
                let identity = peer.identity();
                tracing::warn!(event = "policy.caller_refused", %workload, %identity, "the caller is another workload");
                Err(Status::permission_denied(format!("{identity} does not speak for {workload}")))
            }
            None => Err(Status::unauthenticated("the connection says nothing about its caller")),
        }
    }
}

fn unknown(workload: &WorkloadRef) -> Status {
    Status::not_found(format!("no workload with a proxy is known as {workload}"))
}

#[tonic::async_trait]
impl InboundServerPolicies for Service {
    async fn get_port(&self, request: Request<PortSpec>) -> Result<Response<Server>, Status> {
        let (workload, port) = self.authorized(&request)?;
        let policy = self.index.policy(&workload, port).ok_or_else(|| unknown(&workload))?;
        Ok(Response::new(policy_to_proto(&policy)))
    }

    type WatchPortStream = Pin<Box<dyn Stream<Item = Result<Server, Status>> + Send>>;

    async fn watch_port(&self, request: Request<PortSpec>) -> Result<Response<Self::WatchPortStream>, Status> {
        let (workload, port) = self.authorized(&request)?;
        let policies = self.index.watch(&workload, port).ok_or_else(|| unknown(&workload))?;
        let (mut drain, open) = (self.drain.clone(), self.index.metrics().stream());
        let messages = WatchStream::new(policies).map(move |policy| {
            let _counted = &open;
            Ok(policy_to_proto(&policy))
        });
        // A dropped sender ends the streams too: nobody could any more.
        let drained = async move { _ = drain.wait_for(|drain| *drain).await };
        Ok(Response::new(Box::pin(messages.take_until(drained))))
    }
}
