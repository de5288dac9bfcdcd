//! The two RPCs: a question becomes a topic, and the topic's snapshots a stream of messages (B.2 to B.5).

use crate::authorize::{Client, Standing, admit};
use crate::endpoints::Filter;
use crate::index::{Shared, Subscription, Topic};
use crate::mesh::Mesh;
use crate::metrics::{Metrics, Rpc, Stream};
use crate::name::{Authority, Host};
use crate::snapshot::Snapshot;
use bytes::Bytes;
use linkerd2_proxy_api::destination::GetDestination;
use outrigger_mtls::grpc::Caller;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;
use tonic::{Request, Status};

/// `io.linkerd.proxy.destination.Destination`.
#[derive(Clone)]
pub struct Destination {
    index: Shared,
    mesh: Arc<Mesh>,
    metrics: Metrics,
    drain: watch::Receiver<bool>,
}

impl Destination {
    /// Serves from `index`. Streams end, with OK, when `drain` becomes true.
    pub fn new(index: Shared, mesh: Arc<Mesh>, metrics: Metrics, drain: watch::Receiver<bool>) -> Self {
        Self { index, mesh, metrics, drain }
    }

    /// Starts a stream, or says why there is none.
    pub(crate) fn follow(&self, rpc: Rpc, request: &Request<GetDestination>) -> Result<Follow, Status> {
        let asked = request.get_ref();
        let caller = request.extensions().get::<Caller>();
        let (client, claim) = admit(caller, &asked.context_token, self.index.lock().world(), &self.mesh.names)?;
        let authority = Authority::parse(&asked.path, &self.mesh.cluster_domain)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let topic = match rpc {
            Rpc::Get => endpoints_topic(authority, client)?,
            Rpc::GetProfile => profile_topic(authority, client),
        };
        let mut subscription = Subscription::new(Arc::clone(&self.index), topic);
        subscription.newest().since(None)?;
        let standing = claim.map(|claim| Standing::new(Arc::clone(&self.index), claim));
        let (stream, drain) = (self.metrics.stream(rpc), self.drain.clone());
        Ok(Follow { subscription, standing, last: None, pending: VecDeque::new(), drain, stream })
    }
}

fn endpoints_topic(authority: Authority, client: Client) -> Result<Topic, Status> {
    match authority.host {
        Host::Ip(ip) => Err(Status::invalid_argument(format!("Get takes names of Services, not the address {ip}"))),
        Host::Service { service, instance } => {
            let filter = Filter { instance, node: client.node, zone: client.zone };
            Ok(Topic::Endpoints { service, port: authority.port, filter })
        }
    }
}

fn profile_topic(authority: Authority, client: Client) -> Topic {
    let (port, client) = (authority.port, client.namespace);
    match authority.host {
        Host::Ip(ip) => Topic::Address { addr: SocketAddr::new(ip.to_canonical(), port), client },
        Host::Service { service, instance: None } => Topic::Service { service, port, client },
        Host::Service { service, instance: Some(instance) } => Topic::Instance { service, instance, port },
    }
}

/// A stream's state: what it sent last. It has no queue: `pending` is the rest of one difference.
pub(crate) struct Follow {
    subscription: Subscription,
    /// `None`: the caller says nothing that it would have to prove.
    standing: Option<Standing>,
    last: Option<Arc<Snapshot>>,
    pending: VecDeque<Bytes>,
    drain: watch::Receiver<bool>,
    stream: Stream,
}

impl Follow {
    /// The next message, when the connection has room for one; `None` when the controller drains.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if *self.drain.borrow() {
                return Ok(None);
            }
            if let Some(standing) = &mut self.standing {
                standing.check()?;
            }
            if let Some(message) = self.pending.pop_front() {
                self.stream.sent();
                return Ok(Some(message));
            }
            let newest = self.subscription.newest();
            let messages = newest.since(self.last.as_deref())?;
            self.last = Some(newest);
            if !messages.is_empty() {
                self.pending.extend(messages.iter().cloned());
                continue;
            }
            tokio::select! {
                // An error means that the sender is gone, and the program with it.
                _ = self.drain.wait_for(|draining| *draining) => return Ok(None),
                () = changed(&self.standing) => {}
                () = self.subscription.changed() => {}
            }
        }
    }
}

async fn changed(standing: &Option<Standing>) {
    match standing {
        Some(standing) => standing.changed().await,
        None => std::future::pending().await,
    }
}
