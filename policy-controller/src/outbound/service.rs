//! The gRPC service: a destination's policy, once or as a stream.

use super::name::{InvalidAuthority, parse};
use super::{Destination, NoPolicy, Subject};
use crate::Index;
use crate::caller::{self, Messages, admit, drained, messages, peer};
use crate::source::Standing;
use linkerd2_proxy_api::outbound::outbound_policies_server::{OutboundPolicies, OutboundPoliciesServer};
use linkerd2_proxy_api::outbound::{OutboundPolicy, TrafficSpec};
use outrigger_api::outbound::{policy_to_proto, traffic_from_proto};
use outrigger_model::Target;
use std::sync::Arc;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// `OutboundPolicies` over an index. Its streams end with OK once `drain` turns true.
#[derive(Debug, Clone)]
pub struct OutboundService {
    index: Arc<Index>,
    drain: watch::Receiver<bool>,
}

impl OutboundService {
    /// The service for a tonic server.
    pub fn new(index: Arc<Index>, drain: watch::Receiver<bool>) -> OutboundPoliciesServer<Self> {
        OutboundPoliciesServer::new(Self { index, drain })
    }

    /// What is asked about, if it makes sense and the caller may ask, and what has to hold as long as it is told.
    ///
    /// A source that is not known is denied, not NOT_FOUND: that would mean to its proxy that the destination is no
    /// Service.
    fn authorized(&self, request: &Request<TrafficSpec>) -> Result<(Destination, Option<Standing>), Status> {
        let traffic = traffic_from_proto(request.get_ref().clone());
        let traffic = traffic.map_err(|why| Status::invalid_argument(why.to_string()))?;
        let source = caller::workload(&traffic.source)?;
        let standing = match peer(request)? {
            None => None,
            Some(peer) => {
                let known = self.index.source(&source);
                let unknown = || Status::permission_denied(format!("no workload is known as {source}"));
                let (identities, standing) = known.ok_or_else(unknown)?;
                admit(peer, &source, &identities)?;
                Some(standing)
            }
        };
        let destination = match traffic.target {
            Target::Addr(addr) => {
                Destination { subject: Subject::Address(addr.ip().to_canonical()), port: addr.port() }
            }
            Target::Authority(authority) => parse(&authority, &self.index.config().cluster_domain)?,
        };
        Ok((destination, standing))
    }
}

impl From<InvalidAuthority> for Status {
    fn from(invalid: InvalidAuthority) -> Self {
        match invalid {
            InvalidAuthority::Malformed(_) => Self::invalid_argument(invalid.to_string()),
            InvalidAuthority::NoService { .. } => Self::not_found(invalid.to_string()),
        }
    }
}

impl From<NoPolicy> for Status {
    fn from(none: NoPolicy) -> Self {
        match none {
            NoPolicy::NoService(_) | NoPolicy::NotAService(_) => Self::not_found(none.to_string()),
            NoPolicy::Ambiguous { .. } => Self::failed_precondition(none.to_string()),
        }
    }
}

#[tonic::async_trait]
impl OutboundPolicies for OutboundService {
    async fn get(&self, request: Request<TrafficSpec>) -> Result<Response<OutboundPolicy>, Status> {
        let (destination, _) = self.authorized(&request)?;
        Ok(Response::new(policy_to_proto(&self.index.outbound_policy(&destination)?)))
    }

    type WatchStream = Messages<OutboundPolicy>;

    async fn watch(&self, request: Request<TrafficSpec>) -> Result<Response<Self::WatchStream>, Status> {
        let (destination, standing) = self.authorized(&request)?;
        let policies = self.index.watch_outbound(&destination)?;
        let (open, drained) = (self.index.metrics().outbound_stream(), drained(self.drain.clone()));
        let ended = async move {
            match standing {
                None => drained.await,
                Some(standing) => tokio::select! {
                    () = drained => {}
                    () = standing.lost() => {}
                },
            }
        };
        Ok(Response::new(messages(policies, ended, open, policy_to_proto)))
    }
}
