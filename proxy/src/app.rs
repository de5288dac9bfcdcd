//! The process: the control thread with everything that exists once, and the workers that carry traffic.

use crate::admin::{AdminServer, actions};
use crate::config::{Config, Side, SocketOptions};
use crate::control::{self, Control};
use crate::directory::{Defaults, Directory};
use crate::listen::{self, Accepted};
use crate::log::Log;
use crate::metrics::{Direction, Metrics};
use crate::port::Policy;
use crate::refused::Refused;
use crate::worker::Worker;
use crate::{direct, inbound, outbound};
use anyhow::{Context, Result};
use outrigger_admin::{Action, Admin, Process};
use outrigger_model::{DefaultPolicy, InboundPolicy, InboundProtocol, InboundRoute, Meta, Refusal, RouteRule};
use outrigger_mtls::{CredentialsWatch, WorkloadApi};
use prometheus_client::registry::Registry;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::LocalSet;

/// Connections that may wait to be accepted on the admin port.
const ADMIN_BACKLOG: u32 = 128;

/// Runs until SIGTERM or SIGINT, then drains. Fails if a port cannot be bound.
pub fn run(config: Config, log: Log) -> Result<()> {
    for warning in &config.warnings {
        tracing::warn!(event = "environment.no_effect", "{warning}");
    }
    let config = Arc::new(config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, control_thread(config, log))
}

async fn control_thread(config: Arc<Config>, log: Log) -> Result<()> {
    let shutdown = Arc::new(Notify::new());
    let told_to_stop = told_to_stop(Arc::clone(&shutdown))?;
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Process::starting()));
    let metrics = Metrics::new(&mut registry);
    let sockets = (0..config.process.workers).map(|_| Sockets::bind(&config)).collect::<Result<Vec<_>>>()?;
    let admin = listen::bind(config.process.admin, ADMIN_BACKLOG, false)
        .with_context(|| taken("ADMIN_LISTEN_ADDR", config.process.admin))?;
    let credentials = WorkloadApi {
        socket: config.identity.socket.clone(),
        expected_id: Some(config.identity.id.clone()),
        anchors_pem: Some(config.identity.trust_anchors.clone()),
    }
    .follow();
    let (control, asked) = Control::new();
    tokio::task::spawn_local(control::follow(config.clone(), credentials.clone(), metrics.clone(), asked));
    tokio::task::spawn_local(note_rotations(credentials.clone(), metrics.clone()));
    tokio::task::spawn_local(metrics.clone().forget_idle(config.process.retain_idle));
    let actions = actions(&config, log, shutdown);
    let parts = (config.clone(), credentials.clone(), metrics.clone(), control.clone());
    tokio::task::spawn_local(serve_admin(admin, parts, registry, actions));
    // Ports that are named are watched from the start, for the life of the process.
    let _eager: Vec<_> = config.inbound.ports.iter().cloned().flatten().map(|port| control.watch_port(port)).collect();

    let (drain, draining) = watch::channel(false);
    let mut workers = Vec::new();
    for sockets in sockets {
        let parts = (config.clone(), credentials.clone(), metrics.clone(), control.clone(), draining.clone());
        let worker = std::thread::Builder::new().name("worker".into());
        workers.push(worker.spawn(move || worker_thread(sockets, parts))?);
    }
    drop(draining);
    told_to_stop.await;
    drain_workers(&drain, config.process.grace).await;
    Ok(())
}

/// Returns once SIGTERM, SIGINT or the admin port says so; an error if signals cannot be heard.
fn told_to_stop(shutdown: Arc<Notify>) -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = shutdown.notified() => {}
        }
    })
}

/// Drains every worker; ends the process if that takes longer than `grace`.
async fn drain_workers(drain: &watch::Sender<bool>, grace: Duration) {
    tracing::info!(event = "drain.began", grace_seconds = grace.as_secs());
    drain.send_replace(true);
    // Every worker holds a receiver until it has drained.
    if tokio::time::timeout(grace, drain.closed()).await.is_err() {
        tracing::warn!(event = "drain.unfinished", "the grace period is over; what is still open is cut off");
        std::process::exit(0);
    }
    tracing::info!(event = "drain.done");
}

fn taken(variable: &str, addr: SocketAddr) -> String {
    format!("cannot listen on {addr}; if another process has the port, end it or set LINKERD2_PROXY_{variable}")
}

/// One worker's listening sockets.
struct Sockets {
    outbound: Vec<std::net::TcpListener>,
    inbound: std::net::TcpListener,
}

impl Sockets {
    fn bind(config: &Config) -> Result<Self> {
        // Shared only among our own workers: two proxies on one port would split its traffic unnoticed.
        let shared = config.process.workers > 1;
        let bind = |variable, addr, side: &Side| {
            listen::bind(addr, side.backlog, shared).with_context(|| taken(variable, addr))
        };
        let (outbound, inbound) = (&config.outbound, &config.inbound);
        let listeners = outbound.listen.iter().map(|addr| bind("OUTBOUND_LISTEN_ADDRS", *addr, &outbound.side));
        Ok(Self {
            outbound: listeners.collect::<Result<_>>()?,
            inbound: bind("INBOUND_LISTEN_ADDR", inbound.listen, &inbound.side)?,
        })
    }
}

async fn note_rotations(mut credentials: CredentialsWatch, metrics: Metrics) {
    loop {
        if let Some(current) = credentials.borrow_and_update().clone() {
            metrics.certificate(current.not_after());
            tracing::info!(event = "svid.installed", id = %current.id(), revision = current.revision());
        }
        if credentials.changed().await.is_err() {
            return;
        }
    }
}

async fn serve_admin(
    listener: std::net::TcpListener,
    (config, credentials, metrics, control): (Arc<Config>, CredentialsWatch, Metrics, Control),
    registry: Registry,
    actions: Vec<Action>,
) {
    let svid = credentials.clone();
    let ready = move || match svid.borrow().as_ref() {
        None => Err("not ready: the Workload API has sent no SVID yet".to_owned()),
        Some(current) if current.expired(SystemTime::now()) => Err("not ready: the SVID has expired".to_owned()),
        Some(_) => Ok(()),
    };
    let admin = Admin::new(ready, Arc::new(registry)).with_actions(actions);
    let directory = Directory::new(Worker::new(config.clone(), credentials, metrics), control, defaults(&config));
    // Whoever may reach it is known before they come; the directory keeps the watch.
    if !config.process.admin.ip().is_loopback() {
        directory.port(config.process.admin.port());
    }
    match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => AdminServer::new(admin, directory).serve(listener).await,
        Err(error) => tracing::error!(event = "admin.failed", %error),
    }
}

type Parts = (Arc<Config>, CredentialsWatch, Metrics, Control, watch::Receiver<bool>);

fn worker_thread(sockets: Sockets, (config, credentials, metrics, control, draining): Parts) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(event = "worker.failed", %error),
    };
    let worker = Worker::new(config.clone(), credentials, metrics);
    let directory = Directory::new(worker, control, defaults(&config));
    LocalSet::new().block_on(&runtime, work(directory, sockets, draining));
}

/// Accepts once there is an SVID, until the drain begins; then waits for the last connection.
async fn work(directory: Rc<Directory>, sockets: Sockets, mut draining: watch::Receiver<bool>) {
    let worker = Rc::clone(&directory.worker);
    let mut credentials = worker.credentials.clone();
    let (inbound, outbound) = (worker.config.inbound.side.accepted, worker.config.outbound.side.accepted);
    tokio::task::spawn_local(Rc::clone(&directory).sweep_forever());
    let accepting = async {
        if credentials.wait_for(Option::is_some).await.is_err() {
            return std::future::pending().await;
        }
        let inbound = accept_forever(&directory, sockets.inbound, Direction::inbound, inbound);
        let outbound =
            sockets.outbound.into_iter().map(|l| accept_forever(&directory, l, Direction::outbound, outbound));
        futures::future::join(inbound, futures::future::join_all(outbound)).await;
    };
    tokio::select! {
        () = accepting => {}
        _ = draining.wait_for(|draining| *draining) => {}
    }
    worker.drain.begin();
    while !worker.is_idle() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn accept_forever(
    directory: &Rc<Directory>,
    listener: std::net::TcpListener,
    direction: Direction,
    options: SocketOptions,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(event = "listen.failed", %error),
    };
    loop {
        let (stream, client) = listen::accept(&listener).await;
        listen::set_options(&stream, options);
        tokio::task::spawn_local(connection(Rc::clone(directory), stream, client, direction));
    }
}

/// One connection from its acceptance to its end; whatever refuses it is counted and logged here.
async fn connection(directory: Rc<Directory>, stream: TcpStream, client: SocketAddr, direction: Direction) {
    let worker = &directory.worker;
    let mut target = client;
    let served = match worker.admit(direction) {
        Err(refusal) => Err(Refused::from(refusal)),
        Ok(_place) => match listen::original_dst(stream, client) {
            Err(refused) => Err(refused),
            Ok(accepted) => {
                target = accepted.original_dst;
                journey(&directory, accepted, direction).await
            }
        },
    };
    if let Err(refused) = served {
        worker.refused(direction, client, target, &refused);
    }
}

async fn journey(directory: &Rc<Directory>, accepted: Accepted, direction: Direction) -> Result<(), Refused> {
    let inbound = &directory.worker.config.inbound;
    let target = accepted.original_dst;
    match direction {
        Direction::outbound => Box::pin(outbound::serve(directory, accepted)).await,
        Direction::inbound if !inbound.ips.is_empty() && !inbound.ips.contains(&target.ip().to_canonical()) => {
            Err(Refusal::AddressNotOurs.into())
        }
        Direction::inbound if target.port() == inbound.listen.port() => {
            Box::pin(direct::serve(directory, accepted)).await
        }
        Direction::inbound => Box::pin(inbound::serve(directory, accepted)).await,
    }
}

/// The environment's default policy, for ports with and without detection.
fn defaults(config: &Config) -> Defaults {
    let Some(policy) = config.inbound.default_policy else { return Defaults::default() };
    let make = |protocol| compile_default(policy, protocol, config).ok().map(Arc::new);
    let route = InboundRoute {
        meta: Meta::default_named("default"),
        hosts: Vec::new(),
        authorizations: Arc::default(),
        rules: vec![RouteRule::default()],
    };
    let timeout = config.inbound.side.detect_timeout;
    Defaults {
        detect: make(InboundProtocol::Detect { timeout, routes: [route].into() }),
        opaque: make(InboundProtocol::Opaque),
    }
}

fn compile_default(policy: DefaultPolicy, protocol: InboundProtocol, config: &Config) -> Result<Policy, Refusal> {
    let authorizations = policy.authorizations(&config.inbound.cluster_networks, false);
    let policy =
        InboundPolicy { meta: Meta::default_named(policy.as_str()), protocol, authorizations, rate_limit: None };
    Policy::compile(policy).map_err(|_| Refusal::PolicyInvalid)
}
