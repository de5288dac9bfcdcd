//! A policy controller that says what the test tells it, in a stock controller's words.

use super::member::POLICY;
use super::messages::{default_policy, detect, everyone};
use super::script::{Answer, Messages, Script};
use super::served::Served;
use linkerd2_proxy_api::inbound::inbound_server_policies_server::{
    InboundServerPolicies as Api, InboundServerPoliciesServer,
};
use linkerd2_proxy_api::inbound::{PortSpec, Server};
use linkerd2_proxy_api::outbound::outbound_policies_server::{OutboundPolicies as OutboundApi, OutboundPoliciesServer};
use linkerd2_proxy_api::outbound::{OutboundPolicy, TrafficSpec, traffic_spec};
use outrigger_mtls::CredentialsWatch;
use outrigger_testkit::Host;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

/// The controller; [`Served`]'s methods are its own.
pub(crate) struct Policy {
    served: Served,
    /// What `WatchPort` answers, by port, whoever asks; by itself the default policy `all-unauthenticated`.
    pub ports: Arc<Script<u16, Server>>,
    /// What `OutboundPolicies.Watch` answers, by address; by itself it knows none, as of a pod's address.
    pub outbound: Arc<Script<SocketAddr, OutboundPolicy>>,
}

impl Policy {
    pub(super) fn start(host: &Host, credentials: CredentialsWatch) -> Self {
        let ports = Arc::new(Script::new(|_: &u16| {
            Answer::Say(default_policy("all-unauthenticated", detect(vec![everyone()])))
        }));
        let outbound = Arc::new(Script::new(|_: &SocketAddr| Answer::Fail(Code::NotFound)));
        let routes = Routes::new(InboundServerPoliciesServer::new(Inbound(ports.clone())))
            .add_service(OutboundPoliciesServer::new(Outbound(outbound.clone())));
        Self { served: Served::start(host, POLICY.1, credentials, routes), ports, outbound }
    }

    /// A port's policy from now on.
    pub(crate) fn set(&self, port: u16, policy: Server) {
        self.ports.set(port, Answer::Say(policy));
    }
}

impl Deref for Policy {
    type Target = Served;

    fn deref(&self) -> &Served {
        &self.served
    }
}

struct Inbound(Arc<Script<u16, Server>>);

#[tonic::async_trait]
impl Api for Inbound {
    type WatchPortStream = Messages<Server>;

    async fn get_port(&self, _: Request<PortSpec>) -> Result<Response<Server>, Status> {
        Err(Status::unimplemented("proxies watch"))
    }

    async fn watch_port(&self, request: Request<PortSpec>) -> Result<Response<Self::WatchPortStream>, Status> {
        let PortSpec { workload, port } = request.into_inner();
        let port = u16::try_from(port).map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Response::new(self.0.stream(port, workload, |policy| vec![policy])))
    }
}

struct Outbound(Arc<Script<SocketAddr, OutboundPolicy>>);

#[tonic::async_trait]
impl OutboundApi for Outbound {
    type WatchStream = Messages<OutboundPolicy>;

    async fn get(&self, _: Request<TrafficSpec>) -> Result<Response<OutboundPolicy>, Status> {
        Err(Status::unimplemented("proxies watch"))
    }

    async fn watch(&self, request: Request<TrafficSpec>) -> Result<Response<Self::WatchStream>, Status> {
        let TrafficSpec { source_workload, target } = request.into_inner();
        let Some(traffic_spec::Target::Addr(addr)) = target else {
            return Err(Status::invalid_argument("a proxy that is no gateway asks for addresses"));
        };
        let addr = SocketAddr::try_from(addr).map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Response::new(self.0.stream(addr, source_workload, |policy| vec![policy])))
    }
}
