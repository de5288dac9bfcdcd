//! The gRPC service: a port's policy, once or as a stream.

use crate::Index;
use crate::caller::{self, Messages, admit, drained, messages, peer};
use linkerd2_proxy_api::inbound::inbound_server_policies_server::{InboundServerPolicies, InboundServerPoliciesServer};
use linkerd2_proxy_api::inbound::{PortSpec, Server};
use outrigger_api::inbound::policy_to_proto;
use outrigger_model::WorkloadRef;
use std::sync::Arc;
use tokio::sync::watch;
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
        let workload = caller::workload(workload)?;
        let port = u16::try_from(*port).ok().filter(|port| *port != 0);
        let port = port.ok_or_else(|| Status::invalid_argument("port must be 1 to 65535"))?;
        if let Some(peer) = peer(request)? {
            let identities = self.index.identities_of(&workload).ok_or_else(|| unknown(&workload))?;
            admit(peer, &workload, &identities)?;
        }
        Ok((workload, port))
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

    type WatchPortStream = Messages<Server>;

    async fn watch_port(&self, request: Request<PortSpec>) -> Result<Response<Self::WatchPortStream>, Status> {
        let (workload, port) = self.authorized(&request)?;
        let policies = self.index.watch(&workload, port).ok_or_else(|| unknown(&workload))?;
        let open = self.index.metrics().inbound_stream();
        Ok(Response::new(messages(policies, drained(self.drain.clone()), open, policy_to_proto)))
    }
}
