//! The world, and the answers that somebody follows: a change recomputes those that it touches, once for everybody.
//!
//! ```text
//! changes ─▶ lookup ─▶ touched subjects ─▶ their topics' answers ─▶ a watch each ─▶ any number of streams
//! ```

use crate::endpoints::{self, Filter};
use crate::lookup::{Lookup, Subject};
use crate::mesh::Mesh;
use crate::ports;
use crate::profile;
use crate::snapshot::{Answer, Snapshot};
use crate::workload::{OPAQUE_PORTS, Workload, named_ports};
use outrigger_cluster::{Change, Key, Object, World};
use outrigger_model::Labels;
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
    /// `GetProfile` of a Service's port.
    Service { service: Key, port: u16 },
    /// `GetProfile` of an instance's port.
    Instance { service: Key, instance: Arc<str>, port: u16 },
    /// `GetProfile` of an address.
    Address(SocketAddr),
}

impl Topic {
    fn subject(&self) -> Subject {
        match self {
            Self::Endpoints { service, .. } | Self::Service { service, .. } | Self::Instance { service, .. } => {
                Subject::Service(service.clone())
            }
            Self::Address(addr) => Subject::Address(addr.ip()),
        }
    }
}

type Followed = HashMap<Topic, watch::Sender<Arc<Snapshot>>>;

/// What the controller knows, and what of it is being followed.
pub struct Index {
    mesh: Arc<Mesh>,
    world: World,
    lookup: Lookup,
    followed: HashMap<Subject, Followed>,
    revision: u64,
    changed: Option<SystemTime>,
}

/// The index, shared by the watch and all streams. Nobody holds the lock across an await.
pub type Shared = Arc<Mutex<Index>>;

impl Index {
    /// An index of an empty world.
    pub fn new(mesh: Arc<Mesh>) -> Self {
        let (world, lookup) = (World::default(), Lookup::default());
        Self { mesh, world, lookup, followed: HashMap::new(), revision: 0, changed: None }
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
        let mut refiltered = BTreeSet::new();
        for change in batch {
            warn_of_ports(change);
            let service = changed_service(change);
            let local = service.map(|key| self.is_local(key));
            self.lookup.apply(&mut self.world, change, &mut touched);
            refiltered.extend(service.filter(|key| Some(self.is_local(key)) != local).cloned());
        }
        for service in refiltered {
            self.refilter(&service);
        }
        for subject in &touched {
            self.publish(subject);
        }
        self.changed = Some(now);
        touched
    }

    fn is_local(&self, service: &Key) -> bool {
        self.world.services.get(service).is_some_and(|service| service.internal_traffic_local)
    }

    /// Makes the followers of a Service's endpoints ask again, with the filter that it needs now.
    fn refilter(&mut self, service: &Key) {
        if let Some(topics) = self.followed.get_mut(&Subject::Service(service.clone())) {
            topics.retain(|topic, _| !matches!(topic, Topic::Endpoints { .. }));
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
            Topic::Service { service, port } => profile::of_service(world, mesh, service, *port),
            Topic::Instance { service, instance, port } => {
                let written = self.lookup.slices(world, service);
                profile::of_instance(world, mesh, service, instance, *port, written)
            }
            Topic::Address(addr) => profile::of_address(world, mesh, &self.lookup, *addr),
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
        let labels = [("namespace", &key.namespace), ("service", &key.name)];
        let labels: Labels = labels.into_iter().map(|(name, value)| (name.into(), value.clone())).collect();
        Answer::Endpoints { set, labels }
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

    /// Without what makes no difference to the answer now: clients on any node share one, but for a Local Service.
    fn narrowed(&self, asked: &Topic) -> Topic {
        let mut topic = asked.clone();
        if let Topic::Endpoints { service, filter, .. } = &mut topic
            && !self.is_local(service)
        {
            filter.node = None;
        }
        topic
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

fn changed_service(change: &Change) -> Option<&Key> {
    match change {
        Change::Upsert(Object::Service(service)) => Some(&service.meta.key),
        Change::Delete(outrigger_cluster::Kind::Service, key) => Some(key),
        _ => None,
    }
}

/// An entry that means nothing makes its port detected where opaque was meant; the object's author should hear of it.
fn warn_of_ports(change: &Change) {
    let Change::Upsert(object) = change else { return };
    let Some(list) = object.meta().annotation(OPAQUE_PORTS) else { return };
    let wrong: Vec<_> = match object {
        Object::Pod(pod) => ports::meaningless(list, named_ports(Workload::Pod(pod).ports())).collect(),
        Object::ExternalWorkload(w) => ports::meaningless(list, named_ports(&w.ports)).collect(),
        Object::Service(service) => ports::meaningless(list, profile::service_ports(service)).collect(),
        _ => return,
    };
    if !wrong.is_empty() {
        tracing::warn!(event = "annotation.invalid", kind = %object.kind(), object = %object.key(),
            annotation = OPAQUE_PORTS, entries = %wrong.join(","), "these are neither ports nor names of ports");
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
        self.receiver.borrow_and_update().clone()
    }

    /// Waits until there may be a newer answer.
    pub async fn changed(&mut self) {
        if self.receiver.changed().await.is_err() {
            (self.topic, self.receiver) = self.index.lock().follow(&self.asked);
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.index.lock().release(&self.topic);
    }
}
