//! The running controller: sockets, credentials, the stream of changes, and the end.

use crate::{Args, Index, Metrics, ServerStatus, Service};
use futures::StreamExt;
use outrigger_cluster::{FolderError, folder};
use outrigger_mtls::grpc::{ServerIo, incoming};
use outrigger_mtls::{CredentialsWatch, InvalidAnchors, WorkloadApi, parse_anchors};
use prometheus_client::registry::Registry;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::Server;
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;

/// Requests that may be under way before more are refused; a stream counts until it has begun.
const REQUESTS: usize = 1024;
/// Streams of one proxy, which watches each of its ports.
const STREAMS_PER_CONNECTION: u32 = 1024;
/// A workload's name and a port are all that anybody may send.
const MESSAGE_BYTES: usize = 16 * 1024;
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
    tracing::info!(event = "admin.serving", addr = %local(&admin), "answering monitors");
    let credentials = credentials(&args)?;
    let mut registry = Registry::default();
    let index = Arc::new(Index::new(args.config(), Metrics::register(&mut registry)));
    let (drain, draining) = watch::channel(false);

    let serving = serve(grpc, credentials.clone(), Arc::clone(&index), draining);
    let ready = readiness(Arc::clone(&index), args.spire_socket.is_some().then_some(credentials));
    let showing = outrigger_admin::serve_with(admin, ready, Arc::new(registry), vec![servers_page(&index)]);
    tokio::pin!(serving);
    let ended = tokio::select! {
        never = showing => match never {},
        result = follow(args.manifests, &index) => result.map(|never| match never {}),
        result = &mut serving => result,
        () = stop => Ok(()),
    };
    ended?;
    tracing::info!(event = "policy.draining", "ending every stream");
    drain.send_replace(true);
    if let Ok(result) = tokio::time::timeout(DRAIN, serving).await {
        result?;
    }
    Ok(())
}

/// Takes in every change, as long as there are any.
async fn follow(manifests: PathBuf, index: &Index) -> Result<Infallible, RunError> {
    let mut batches = folder::watch(manifests, None).await?;
    while let Some(changes) = batches.recv().await {
        index.apply(&changes);
    }
    Err(RunError::ManifestsEnded)
}

/// Answers proxies, once there is something to answer with, until `draining` turns true and every stream has ended.
pub async fn serve(
    listener: TcpListener,
    credentials: CredentialsWatch,
    index: Arc<Index>,
    mut draining: watch::Receiver<bool>,
) -> Result<(), RunError> {
    tokio::select! {
        () = index.complete() => {}
        _ = draining.wait_for(|drain| *drain) => return Ok(()),
    }
    tracing::info!(event = "policy.serving", addr = %local(&listener), "answering proxies");
    let limits = ServiceBuilder::new().layer(LoadShedLayer::new()).layer(GlobalConcurrencyLimitLayer::new(REQUESTS));
    let service = Service::new(index, draining.clone()).max_decoding_message_size(MESSAGE_BYTES);
    let connections = incoming(listener, credentials).map(|io: io::Result<ServerIo>| io);
    let drained = async move { _ = draining.wait_for(|drain| *drain).await };
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .layer(limits)
        .add_service(service)
        .serve_with_incoming_shutdown(connections, drained)
        .await?;
    Ok(())
}

async fn listen(flag: &'static str, addr: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(addr).await.map_err(|cause| RunError::Listen { flag, addr, cause })
}

fn local(listener: &TcpListener) -> String {
    listener.local_addr().map_or_else(|error| error.to_string(), |addr| addr.to_string())
}

/// Without an SVID the wildcard address shrinks to loopback, and any other is refused.
fn grpc_addr(args: &Args) -> Result<SocketAddr, RunError> {
    let addr = args.grpc_addr;
    if args.spire_socket.is_some() || addr.ip().to_canonical().is_loopback() {
        return Ok(addr);
    }
    let loopback: IpAddr = if addr.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    if !addr.ip().is_unspecified() {
        return Err(RunError::Plaintext(addr));
    }
    let addr = SocketAddr::new(loopback, addr.port());
    tracing::warn!(event = "policy.plaintext", %addr, "no --spire-socket is given: plaintext, on loopback only");
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

fn readiness(index: Arc<Index>, credentials: Option<CredentialsWatch>) -> impl Fn() -> Result<(), String> {
    move || {
        if !index.is_complete() {
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

fn servers_page(index: &Arc<Index>) -> outrigger_admin::Page {
    let index = Arc::clone(index);
    let json = move || serde_json::Value::from_iter(index.server_statuses().iter().map(ServerStatus::to_json));
    outrigger_admin::Page { path: "/servers.json", json: Box::new(move || json().to_string()) }
}
