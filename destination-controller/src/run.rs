//! The running controller: sockets, credentials, the stream of changes, and the end.

use crate::args::Args;
use crate::index::{Index, Shared};
use crate::metrics::Metrics;
use crate::serve::Destination;
use ipnet::IpNet;
use outrigger_cluster::{FolderError, folder};
use outrigger_mtls::grpc::incoming;
use outrigger_mtls::{CredentialsWatch, InvalidAnchors, WorkloadApi, parse_anchors};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::Server;
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;

/// Requests that may be under way before more are refused; a stream counts until it has begun.
const REQUESTS: usize = 1024;
/// Streams of one proxy: a gateway follows thousands of destinations.
const STREAMS_PER_CONNECTION: u32 = 16_384;
/// A proxy's host that is gone sends no FIN.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// From the end of the streams to the end of their connections, at most.
const DRAIN: Duration = Duration::from_secs(10);

/// Why the controller does not start, or ends early.
#[derive(Debug, Error)]
pub enum RunError {
    #[error("cannot listen on {flag} {addr}: {cause}; is another controller running?")]
    Listen { flag: &'static str, addr: SocketAddr, cause: io::Error },
    #[error("--grpc-addr {0} needs --spire-socket: without an SVID only loopback is served, in plaintext")]
    Plaintext(SocketAddr),
    #[error("--trust-anchors {path}: {cause}")]
    ReadAnchors { path: PathBuf, cause: io::Error },
    #[error("--trust-anchors {path}: {cause}")]
    Anchors { path: PathBuf, cause: InvalidAnchors },
    #[error("--manifests: {0}")]
    Manifests(#[from] FolderError),
    #[error("--manifests: the folder is no longer followed")]
    ManifestsEnded,
    #[error("the gRPC server ended: {0}")]
    Grpc(#[from] tonic::transport::Error),
}

/// Serves until `stop` resolves, then ends every stream with OK. An error on the way ends it too.
pub async fn run(args: Args, stop: impl Future<Output = ()>) -> Result<(), RunError> {
    let grpc = listen("--grpc-addr", grpc_addr(&args)?).await?;
    let admin = listen("--admin-addr", args.admin_addr).await?;
    let credentials = credentials(&args)?;
    if let (Ok(grpc), Ok(admin)) = (grpc.local_addr(), admin.local_addr()) {
        tracing::info!(event = "destination.starting", %grpc, %admin, "reading the manifests");
    }
    let mesh = Arc::new(args.mesh());
    let index: Shared = Arc::new(Mutex::new(Index::new(Arc::clone(&mesh))));
    let mut registry = Registry::with_prefix("destination");
    let metrics = Metrics::register(&mut registry, Arc::clone(&index));
    let (drain, draining) = watch::channel(false);
    let destination = Destination::new(Arc::clone(&index), mesh, metrics, draining.clone());

    let ready = readiness(Arc::clone(&index), args.spire_socket.is_some().then(|| credentials.clone()));
    let showing = outrigger_admin::serve(admin, ready, Arc::new(registry));
    let (complete, completed) = watch::channel(false);
    let serving = async {
        // What is not known yet must not be taken for what does not exist; until then callers wait in the backlog.
        let mut completed = completed;
        _ = completed.wait_for(|complete| *complete).await;
        serve_grpc(grpc, credentials, destination, draining).await
    };
    tokio::pin!(serving);
    let ended = tokio::select! {
        never = showing => match never {},
        result = follow(args.manifests, args.service_cidr, &index, &complete) => result.map(|never| match never {}),
        result = &mut serving => result,
        () = stop => Ok(()),
    };
    ended?;
    tracing::info!(event = "destination.draining", "ending every stream");
    drain.send_replace(true);
    complete.send_replace(true);
    if let Ok(result) = tokio::time::timeout(DRAIN, serving).await {
        result?;
    }
    Ok(())
}

/// Takes in every change, as long as there are any.
async fn follow(
    manifests: PathBuf,
    service_cidr: IpNet,
    index: &Shared,
    complete: &watch::Sender<bool>,
) -> Result<Infallible, RunError> {
    let mut batches = folder::watch(manifests, Some(service_cidr)).await?;
    while let Some(changes) = batches.recv().await {
        index.lock().apply(&changes, SystemTime::now());
        complete.send_replace(true);
    }
    Err(RunError::ManifestsEnded)
}

/// Answers proxies until `draining`, then as long as their connections take to end.
async fn serve_grpc(
    listener: TcpListener,
    credentials: CredentialsWatch,
    destination: Destination,
    mut draining: watch::Receiver<bool>,
) -> Result<(), RunError> {
    tracing::info!(event = "destination.serving", "answering proxies");
    let limits = ServiceBuilder::new().layer(LoadShedLayer::new()).layer(GlobalConcurrencyLimitLayer::new(REQUESTS));
    let drained = async move { _ = draining.wait_for(|drain| *drain).await };
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .layer(limits)
        .add_service(destination)
        .serve_with_incoming_shutdown(incoming(listener, credentials), drained)
        .await?;
    Ok(())
}

async fn listen(flag: &'static str, addr: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(addr).await.map_err(|cause| RunError::Listen { flag, addr, cause })
}

/// Without an SVID the wildcard address shrinks to loopback, and any other is refused.
fn grpc_addr(args: &Args) -> Result<SocketAddr, RunError> {
    let addr = args.grpc_addr;
    if args.spire_socket.is_some() || addr.ip().to_canonical().is_loopback() {
        return Ok(addr);
    }
    if !addr.ip().is_unspecified() {
        return Err(RunError::Plaintext(addr));
    }
    let loopback: IpAddr = if addr.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    let addr = SocketAddr::new(loopback, addr.port());
    tracing::warn!(event = "destination.plaintext", %addr, "no --spire-socket is given: plaintext, on loopback only");
    Ok(addr)
}

fn credentials(args: &Args) -> Result<CredentialsWatch, RunError> {
    let Some(socket) = args.spire_socket.clone() else { return Ok(watch::channel(None).1) };
    let anchors_pem = args.trust_anchors.clone().map(read_anchors).transpose()?;
    Ok(WorkloadApi { socket, expected_id: None, anchors_pem }.follow())
}

fn read_anchors(path: PathBuf) -> Result<String, RunError> {
    match std::fs::read_to_string(&path) {
        Err(cause) => Err(RunError::ReadAnchors { path, cause }),
        Ok(pem) => match parse_anchors(&pem) {
            Err(cause) => Err(RunError::Anchors { path, cause }),
            Ok(_) => Ok(pem),
        },
    }
}

fn readiness(index: Shared, credentials: Option<CredentialsWatch>) -> impl Fn() -> Result<(), String> {
    move || {
        if index.lock().changed().is_none() {
            return Err("the manifests are not read yet".to_owned());
        }
        match &credentials {
            Some(credentials) if credentials.borrow().is_none() => {
                Err("the Workload API has sent no SVID yet".to_owned())
            }
            _ => Ok(()),
        }
    }
}
