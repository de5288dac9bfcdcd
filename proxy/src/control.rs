//! What the controllers say, followed once per process on the control thread; workers read the newest of it.

mod backoff;
mod endpoints;
mod outbound;
mod policy;
mod stream;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::port::PortState;
use crate::resolution::{Endpoints, Resolution};
use outrigger_model::DnsName;
use outrigger_mtls::CredentialsWatch;
use outrigger_mtls::grpc::{self, ControlAddr};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::Arc;
use stream::Controller;
use tokio::sync::{mpsc, watch};

/// A worker's way to ask for a destination or a port. Locked only when one is new to the worker.
#[derive(Clone)]
pub(crate) struct Control {
    destinations: Subjects<SocketAddr, Resolution>,
    services: Subjects<Arc<str>, Endpoints>,
    ports: Subjects<u16, PortState>,
}

/// The control thread's end of [`Control`].
pub(crate) struct Asked {
    destinations: mpsc::UnboundedReceiver<(SocketAddr, watch::Sender<Resolution>)>,
    services: mpsc::UnboundedReceiver<(Arc<str>, watch::Sender<Endpoints>)>,
    ports: mpsc::UnboundedReceiver<(u16, watch::Sender<PortState>)>,
    control: Control,
}

struct Subjects<K, V> {
    known: Arc<Mutex<HashMap<K, watch::Sender<V>>>>,
    ask: mpsc::UnboundedSender<(K, watch::Sender<V>)>,
}

impl<K, V> Clone for Subjects<K, V> {
    fn clone(&self) -> Self {
        Self { known: Arc::clone(&self.known), ask: self.ask.clone() }
    }
}

impl<K: Clone + Eq + Hash, V> Subjects<K, V> {
    fn watch(&self, key: K, unknown: V) -> watch::Receiver<V> {
        let mut known = self.known.lock();
        if let Some(values) = known.get(&key) {
            return values.subscribe();
        }
        let (values, newest) = watch::channel(unknown);
        known.insert(key.clone(), values.clone());
        // Fails only while the process ends; then nothing new will be known.
        let _ = self.ask.send((key, values));
        newest
    }

    /// Forgets the subject unless somebody has asked for it again.
    fn forget(&self, key: &K) -> bool {
        let mut known = self.known.lock();
        let unused = known.get(key).is_none_or(|values| values.receiver_count() == 0);
        if unused {
            known.remove(key);
        }
        unused
    }
}

impl Control {
    pub(crate) fn new() -> (Self, Asked) {
        let (ask_destination, destinations) = mpsc::unbounded_channel();
        let (ask_service, services) = mpsc::unbounded_channel();
        let (ask_port, ports) = mpsc::unbounded_channel();
        let control = Self {
            destinations: Subjects { known: Arc::default(), ask: ask_destination },
            services: Subjects { known: Arc::default(), ask: ask_service },
            ports: Subjects { known: Arc::default(), ask: ask_port },
        };
        (control.clone(), Asked { destinations, services, ports, control })
    }

    /// The endpoints of a backend by its path, now and later.
    pub(crate) fn watch_service(&self, path: Arc<str>) -> watch::Receiver<Endpoints> {
        self.services.watch(path, None)
    }

    /// What is known of an original destination, now and later.
    pub(crate) fn watch(&self, addr: SocketAddr) -> watch::Receiver<Resolution> {
        self.destinations.watch(addr, Resolution::Waiting)
    }

    /// The policy of an inbound port, now and later.
    pub(crate) fn watch_port(&self, port: u16) -> watch::Receiver<PortState> {
        self.ports.watch(port, PortState::Waiting)
    }
}

/// Follows whatever the workers ask for until it is dropped; needs a `LocalSet`.
pub(crate) async fn follow(config: Arc<Config>, credentials: CredentialsWatch, metrics: Metrics, mut asked: Asked) {
    let controller = |addr: &ControlAddr, limits| Controller {
        channel: grpc::channel(addr.clone(), credentials.clone()),
        limits,
        calls: metrics.calls(addr.to_string(), addr.name.as_ref().map(DnsName::as_str)),
    };
    let destination = controller(&config.destination.addr, config.destination.streams);
    let policy = controller(&config.policy.addr, config.policy.streams);
    loop {
        tokio::select! {
            Some((addr, values)) = asked.destinations.recv() => {
                let (config, subjects) = (config.clone(), asked.control.destinations.clone());
                let (destination, policy) = (destination.clone(), policy.clone());
                tokio::task::spawn_local(async move {
                    let following = outbound::follow(addr, &config, destination, policy, &values);
                    until_unused(following, &values, || subjects.forget(&addr)).await;
                });
            }
            Some((path, values)) = asked.services.recv() => {
                let (config, controller, subjects) = (config.clone(), destination.clone(), asked.control.services.clone());
                tokio::task::spawn_local(async move {
                    let following = endpoints::follow(&path, &config, controller, &values);
                    until_unused(following, &values, || subjects.forget(&path)).await;
                });
            }
            Some((port, values)) = asked.ports.recv() => {
                let (config, controller, subjects) = (config.clone(), policy.clone(), asked.control.ports.clone());
                tokio::task::spawn_local(async move {
                    let following = policy::follow(port, &config, controller, &values);
                    until_unused(following, &values, || subjects.forget(&port)).await;
                });
            }
            else => return,
        }
    }
}

/// Runs `following` until no worker reads the values any more.
async fn until_unused<V>(following: impl Future<Output = ()>, values: &watch::Sender<V>, forget: impl Fn() -> bool) {
    let unused = async {
        loop {
            values.closed().await;
            if forget() {
                return;
            }
        }
    };
    let mut unused = std::pin::pin!(unused);
    tokio::select! {
        () = following => unused.await,
        () = &mut unused => {}
    }
}

fn warn_lost(call: &str, subject: &dyn std::fmt::Display, status: &tonic::Status) {
    tracing::warn!(event = "control.lost", call, %subject, code = ?status.code(), error = status.message(),
        "a controller's stream failed; what is known stays");
}
