//! A policy controller that says what the test tells it, in a stock controller's words.

use super::member::POLICY;
use super::messages::{default_policy, detect, everyone};
use super::script::{Answer, Messages, Script};
use super::served::Served;
use linkerd2_proxy_api::inbound::inbound_server_policies_server::{
    InboundServerPolicies as Api, InboundServerPoliciesServer,
};
use linkerd2_proxy_api::inbound::{PortSpec, Server};
use outrigger_mtls::CredentialsWatch;
use outrigger_testkit::Host;
use std::ops::Deref;
use std::sync::Arc;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// The controller; unless a test says otherwise every port has the default policy `all-unauthenticated`.
/// [`Served`]'s methods are its own.
pub(crate) struct Policy {
    served: Served,
    /// What `WatchPort` answers, by port, whoever asks.
    pub ports: Arc<Script<u16, Server>>,
}

impl Policy {
    pub(super) fn start(host: &Host, credentials: CredentialsWatch) -> Self {
        let ports = Arc::new(Script::new(|_: &u16| {
            Answer::Say(default_policy("all-unauthenticated", detect(vec![everyone()])))
        }));
        let api = InboundServerPoliciesServer::new(Scripted { ports: ports.clone() });
        Self { served: Served::start(host, POLICY.1, credentials, Routes::new(api)), ports }
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

struct Scripted {
    ports: Arc<Script<u16, Server>>,
}

#[tonic::async_trait]
impl Api for Scripted {
    type WatchPortStream = Messages<Server>;

    async fn get_port(&self, _: Request<PortSpec>) -> Result<Response<Server>, Status> {
        Err(Status::unimplemented("proxies watch"))
    }

    async fn watch_port(&self, request: Request<PortSpec>) -> Result<Response<Self::WatchPortStream>, Status> {
        let PortSpec { workload, port } = request.into_inner();
        let port = u16::try_from(port).map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Response::new(self.ports.stream(port, workload, |policy| vec![policy])))
    }
}
