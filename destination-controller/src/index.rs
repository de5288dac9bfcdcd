//! The world, and the answers that somebody follows: a change recomputes those that it touches, once for everybody.
//!
//! ```text
//! changes ─▶ lookup ─▶ touched subjects ─▶ their topics' answers ─▶ a watch each ─▶ any number of streams
//! ```

use crate::endpoints::{self, Filter};
use crate::lookup::{Lookup, Subject};
use crate::mesh::Mesh;
use crate::profile;
use crate::snapshot::{Answer, Snapshot};
use outrigger_cluster::{Change, Key, Kind, Object, World};
use outrigger_model::{Identity, WorkloadKind, WorkloadRef};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::watch;
use tonic::Code;

/// A question that has one answer for everybody who asks it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Topic {
    /// `Get` of a Service's port.
    Endpoints { service: Key, port: u16, filter: Filter },
    /// `GetProfile` of a Service's port, by a client of a namespace that may have a ServiceProfile of its own for it.
    Service { service: Key, port: u16, client: Option<Arc<str>> },
    /// `GetProfile` of an instance's port.
    Instance { service: Key, instance: Arc<str>, port: u16 },
    /// `GetProfile` of an address, which may be a Service's.
    Address { addr: SocketAddr, client: Option<Arc<str>> },
}

impl Topic {
    fn subject(&self) -> Subject {
        match self {
            Self::Endpoints { service, .. } | Self::Service { service, .. } | Self::Instance { service, .. } => {
                Subject::Service(service.clone())
            }
            Self::Address { addr, .. } => Subject::Address(addr.ip()),
        }
    }
}

impl Topic {
    /// Whether clients of every namespace share it.
    fn is_for_every_client(&self) -> bool {
        matches!(self, Self::Service { client: None, .. } | Self::Address { client: None, .. })
    }
}

type Followed = HashMap<Topic, watch::Sender<Arc<Snapshot>>>;

/// What the controller knows, and what of it is being followed.
pub struct Index {
    mesh: Arc<Mesh>,
    world: World,
    lookup: Lookup,
    followed: HashMap<Subject, Followed>,
    /// What a caller must prove, one of them, to speak for a workload that somebody speaks for. `None`: it is gone.
    identities: HashMap<WorkloadRef, watch::Sender<Option<Vec<Identity>>>>,
    revision: u64,
    changed: Option<SystemTime>,
}

/// The index, shared by the watch and all streams. Nobody holds the lock across an await.
pub type Shared = Arc<Mutex<Index>>;

impl Index {
    /// An index of an empty world.
    pub fn new(mesh: Arc<Mesh>) -> Self {
        let (world, lookup) = (World::default(), Lookup::new(&mesh.cluster_domain));
        let (followed, identities) = (HashMap::new(), HashMap::new());
        Self { mesh, world, lookup, followed, identities, revision: 0, changed: None }
    }

    /// The latest of every object.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// When the last batch of changes came; `None` before the first, which holds the whole world.
    pub fn changed(&self) -> Option<SystemTime> {
        self.changed
    }

    /// How many topics are followed.
    pub fn topics(&self) -> usize {
        self.followed.values().map(HashMap::len).sum()
    }

    /// Applies a batch and publishes the answers that it changed. Returns what it touched.
    pub fn apply(&mut self, batch: &[Change], now: SystemTime) -> BTreeSet<Subject> {
        let mut touched = BTreeSet::new();
        for change in batch {
            let service = changed_service(change);
            let local = service.map(|key| self.is_local(key));
            let mut by_change = BTreeSet::new();
            self.lookup.apply(&mut self.world, change, &mut by_change);
            if let Some(service) = service.filter(|key| Some(self.is_local(key)) != local) {
                let subject = Subject::Service(service.clone());
                self.ask_anew(&subject, |topic| matches!(topic, Topic::Endpoints { .. }));
            }
            if may_narrow(change) && !self.world.service_profiles.is_empty() {
                by_change.iter().for_each(|subject| self.ask_anew(subject, Topic::is_for_every_client));
            }
            touched.append(&mut by_change);
        }
        // Before the answers: nobody may get a new one who may no longer ask.
        self.check_speakers(batch);
        for subject in &touched {
            self.publish(subject);
        }
        self.changed = Some(now);
        touched
    }

    fn is_local(&self, service: &Key) -> bool {
        self.world.services.get(service).is_some_and(|service| service.internal_traffic_local)
    }

    /// Makes the followers of some topics ask again, with all that is known of them.
    fn ask_anew(&mut self, subject: &Subject, which: impl Fn(&Topic) -> bool) {
        if let Some(topics) = self.followed.get_mut(subject) {
            topics.retain(|topic, _| !which(topic));
        }
    }

    /// Tells those who speak for workloads what these must prove now.
    fn check_speakers(&mut self, batch: &[Change]) {
        for workload in batch.iter().filter_map(changed_workload) {
            if let Some(speakers) = self.identities.get(&workload) {
                let now = self.world.identities_of(&workload, &self.mesh.names);
                speakers.send_if_modified(|known| std::mem::replace(known, now.clone()) != now);
            }
        }
    }

    /// What a caller must prove to speak for the workload, now and from now on.
    pub(crate) fn follow_identities(&mut self, workload: &WorkloadRef) -> watch::Receiver<Option<Vec<Identity>>> {
        let identities = || watch::Sender::new(self.world.identities_of(workload, &self.mesh.names));
        self.identities.entry(workload.clone()).or_insert_with(identities).subscribe()
    }

    /// Forgets a workload for which nobody else speaks.
    pub(crate) fn release_identities(&mut self, workload: &WorkloadRef) {
        if self.identities.get(workload).is_some_and(|speakers| speakers.receiver_count() <= 1) {
            self.identities.remove(workload);
        }
    }

    fn publish(&mut self, subject: &Subject) {
        // Taken out and put back, so that the answers can be computed from the rest of the index.
        let Some(topics) = self.followed.remove(subject) else { return };
        for (topic, sender) in &topics {
            self.revision += 1;
            let next = sender.borrow().next(self.revision, self.answer(topic));
            if let Some(next) = next {
                sender.send_replace(Arc::new(next));
            }
        }
        self.followed.insert(subject.clone(), topics);
    }

    /// The topic's answer now.
    pub fn answer(&self, topic: &Topic) -> Answer {
        let (world, mesh) = (&self.world, &*self.mesh);
        match topic {
            Topic::Endpoints { service, port, filter } => self.endpoints(service, *port, filter),
            Topic::Service { service, port, client } => {
                profile::of_service(world, mesh, service, *port, client.as_deref())
            }
            Topic::Instance { service, instance, port } => {
                let written = self.lookup.slices(world, service);
                profile::of_instance(world, mesh, service, instance, *port, written)
            }
            Topic::Address { addr, client } => profile::of_address(world, mesh, &self.lookup, *addr, client.as_deref()),
        }
    }

    fn endpoints(&self, key: &Key, port: u16, filter: &Filter) -> Answer {
        let Some(service) = self.world.services.get(key) else {
            return Answer::denied(Code::NotFound, format!("there is no Service {key}"));
        };
        if service.external_name.is_some() {
            return profile::external_name(key);
        }
        let Some(declared) = endpoints::declared(service, port) else {
            return Answer::denied(Code::NotFound, format!("Service {key} declares no TCP port {port}"));
        };
        let slices = endpoints::slices_of(&self.world, service, self.lookup.slices(&self.world, key));
        let set = endpoints::resolve(&self.world, &self.mesh, service, declared, &slices, filter);
        Answer::Endpoints { set, labels: endpoints::set_labels(key, &slices) }
    }

    fn follow(&mut self, asked: &Topic) -> (Topic, watch::Receiver<Arc<Snapshot>>) {
        let topic = self.narrowed(asked);
        let followed = self.followed.get(&topic.subject()).and_then(|topics| topics.get(&topic));
        if let Some(sender) = followed {
            return (topic, sender.subscribe());
        }
        self.revision += 1;
        let (sender, receiver) = watch::channel(Arc::new(Snapshot::first(self.revision, self.answer(&topic))));
        self.followed.entry(topic.subject()).or_default().insert(topic.clone(), sender);
        (topic, receiver)
    }

    /// Without what makes no difference to the answer now: clients on any node share one, but for a Local Service, and
    /// clients of any namespace, but for one with a ServiceProfile of its own.
    fn narrowed(&self, asked: &Topic) -> Topic {
        let mut topic = asked.clone();
        match &mut topic {
            Topic::Endpoints { service, filter, .. } if !self.is_local(service) => filter.node = None,
            Topic::Endpoints { .. } | Topic::Instance { .. } => {}
            Topic::Service { service, client, .. } => {
                client.take_if(|client| !self.has_own_profile(client, service));
            }
            Topic::Address { addr, client } => {
                let ip = addr.ip();
                let mut services = self.lookup.services_at(&self.world, &ip).map(|service| &service.meta.key);
                client.take_if(|client| !services.any(|service| self.has_own_profile(client, service)));
            }
        }
        topic
    }

    fn has_own_profile(&self, namespace: &Arc<str>, service: &Key) -> bool {
        let name = self.mesh.service_name(service);
        *namespace != service.namespace && profile::service_profile(&self.world, &name, namespace).is_some()
    }

    /// Forgets a topic whose last follower is about to go.
    fn release(&mut self, topic: &Topic) {
        let subject = topic.subject();
        let Some(topics) = self.followed.get_mut(&subject) else { return };
        if topics.get(topic).is_some_and(|sender| sender.receiver_count() <= 1) {
            topics.remove(topic);
        }
        if topics.is_empty() {
            self.followed.remove(&subject);
        }
    }
}

/// Whether an answer that was the same for every client may now differ by namespace.
fn may_narrow(change: &Change) -> bool {
    let kind = match change {
        Change::Upsert(object) => object.kind(),
        Change::Delete(kind, _) => *kind,
    };
    matches!(kind, Kind::Service | Kind::ServiceProfile)
}

fn changed_workload(change: &Change) -> Option<WorkloadRef> {
    let (kind, key) = match change {
        Change::Upsert(object) => (object.kind(), object.key()),
        Change::Delete(kind, key) => (*kind, key),
    };
    let kind = match kind {
        Kind::Pod => WorkloadKind::Pod,
        Kind::ExternalWorkload => WorkloadKind::ExternalWorkload,
        _ => return None,
    };
    Some(WorkloadRef { namespace: key.namespace.clone(), kind, name: key.name.clone() })
}

fn changed_service(change: &Change) -> Option<&Key> {
    match change {
        Change::Upsert(Object::Service(service)) => Some(&service.meta.key),
        Change::Delete(Kind::Service, key) => Some(key),
        _ => None,
    }
}

/// A followed topic. Dropping the last one of a topic ends the work for it.
pub struct Subscription {
    index: Shared,
    /// With everything known of the client, whether the answer depends on it now or not.
    asked: Topic,
    topic: Topic,
    receiver: watch::Receiver<Arc<Snapshot>>,
}

impl Subscription {
    /// Follows a topic.
    pub fn new(index: Shared, asked: Topic) -> Self {
        let (topic, receiver) = index.lock().follow(&asked);
        Self { index, asked, topic, receiver }
    }

    /// The newest answer; the ones that came before it since the last call are lost, as they should be.
    pub fn newest(&mut self) -> Arc<Snapshot> {
        if self.receiver.has_changed().is_err() {
            self.ask_again();
        }
        self.receiver.borrow_and_update().clone()
    }

    /// Waits until there may be a newer answer.
    pub async fn changed(&mut self) {
        if self.receiver.changed().await.is_err() {
            self.ask_again();
        }
    }

    /// The topic is no longer the one that suits the question.
    fn ask_again(&mut self) {
        (self.topic, self.receiver) = self.index.lock().follow(&self.asked);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.index.lock().release(&self.topic);
    }
}
