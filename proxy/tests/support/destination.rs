//! A destination controller that says what the test tells it, in a stock controller's words.

use super::member::DESTINATION;
use super::messages::{endpoint_profile, service_profile, unmeshed};
use super::script::{Answer, Messages, Script};
use super::served::Served;
use linkerd2_proxy_api::destination::destination_server::{Destination as Api, DestinationServer};
use linkerd2_proxy_api::destination::{
    AddrSet, DestinationProfile, GetDestination, NoEndpoints, Update, WeightedAddr, WeightedAddrSet, update,
};
use outrigger_mtls::CredentialsWatch;
use outrigger_testkit::Host;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

/// The controller. [`Served`]'s methods are its own.
pub(crate) struct Destination {
    served: Served,
    /// What `GetProfile` answers, by `ip:port`; by itself it knows no service, and says so as B.4 has it.
    pub profiles: Arc<Script<String, DestinationProfile>>,
    /// What `Get` answers, by `name:port`.
    pub endpoints: Arc<Script<String, Vec<WeightedAddr>>>,
}

/// A service's address, and its name as `Get` is asked for it.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub addr: SocketAddr,
    pub authority: String,
}

impl Destination {
    pub(super) fn start(host: &Host, credentials: CredentialsWatch) -> Self {
        let profiles = Arc::new(Script::new(|addr: &String| match addr.parse() {
            Ok(addr) => Answer::Say(endpoint_profile(unmeshed(addr))),
            Err(_) => Answer::Fail(Code::InvalidArgument),
        }));
        let endpoints = Arc::new(Script::new(|_: &String| Answer::Fail(Code::NotFound)));
        let api = DestinationServer::new(Scripted { profiles: profiles.clone(), endpoints: endpoints.clone() });
        let served = Served::start(host, DESTINATION.1, credentials, Routes::new(api));
        Self { served, profiles, endpoints }
    }

    /// Makes a service known here; [`super::Mesh::service`] does it at both controllers.
    pub(super) fn declare(&self, addr: SocketAddr, name: &str, opaque: bool, endpoints: &[WeightedAddr]) -> Service {
        let name = format!("{name}.mixed-env.svc.cluster.local");
        let service = Service { addr, authority: format!("{name}:{}", addr.port()) };
        self.endpoints.set(service.authority.clone(), Answer::Say(endpoints.to_vec()));
        self.profiles.set(addr.to_string(), Answer::Say(service_profile(&name, opaque)));
        service
    }

    /// What `GetProfile` answers for an address.
    pub(crate) fn profile(&self, addr: SocketAddr, answer: Answer<DestinationProfile>) {
        self.profiles.set(addr.to_string(), answer);
    }

    /// A service's endpoints from now on.
    pub(crate) fn update(&self, service: &Service, endpoints: &[WeightedAddr]) {
        self.endpoints.set(service.authority.clone(), Answer::Say(endpoints.to_vec()));
    }
}

impl Deref for Destination {
    type Target = Served;

    fn deref(&self) -> &Served {
        &self.served
    }
}

struct Scripted {
    profiles: Arc<Script<String, DestinationProfile>>,
    endpoints: Arc<Script<String, Vec<WeightedAddr>>>,
}

#[tonic::async_trait]
impl Api for Scripted {
    type GetStream = Messages<Update>;
    type GetProfileStream = Messages<DestinationProfile>;

    async fn get(&self, request: Request<GetDestination>) -> Result<Response<Self::GetStream>, Status> {
        let GetDestination { path, context_token, .. } = request.into_inner();
        let mut known = Vec::new();
        let stream = self.endpoints.stream(path, context_token, move |endpoints: Vec<WeightedAddr>| {
            updates(&std::mem::replace(&mut known, endpoints.clone()), endpoints)
        });
        Ok(Response::new(stream))
    }

    async fn get_profile(&self, request: Request<GetDestination>) -> Result<Response<Self::GetProfileStream>, Status> {
        let GetDestination { path, context_token, .. } = request.into_inner();
        Ok(Response::new(self.profiles.stream(path, context_token, |profile| vec![profile])))
    }
}

/// The messages by which a stock controller leads from one set to the next.
fn updates(old: &[WeightedAddr], new: Vec<WeightedAddr>) -> Vec<Update> {
    let message = |update| Update { update: Some(update) };
    if new.is_empty() {
        return vec![message(update::Update::NoEndpoints(NoEndpoints { exists: true }))];
    }
    let gone = old.iter().filter(|old| !new.iter().any(|new| new.addr == old.addr));
    let gone: Vec<_> = gone.filter_map(|endpoint| endpoint.addr).collect();
    let changed: Vec<_> = new.into_iter().filter(|endpoint| !old.contains(endpoint)).collect();
    let mut messages = Vec::new();
    if !changed.is_empty() {
        let set = WeightedAddrSet { addrs: changed, ..WeightedAddrSet::default() };
        messages.push(message(update::Update::Add(set)));
    }
    if !gone.is_empty() {
        messages.push(message(update::Update::Remove(AddrSet { addrs: gone })));
    }
    messages
}
