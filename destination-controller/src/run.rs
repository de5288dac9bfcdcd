//! The running controller: sockets, credentials, the stream of changes, and the end.

use anyhow::{Context, anyhow};
use ipnet::IpNet;
use outrigger_api::FILE_DESCRIPTORS;
use outrigger_cluster::folder;
use outrigger_controller::{Services, Stop, grpc_addr, listen, readiness, serve, until_stopped};
use outrigger_destination::args::Args;
use outrigger_destination::index::{Index, Shared};
use outrigger_destination::metrics::Metrics;
use outrigger_destination::serve::Destination;
use outrigger_mtls::credentials_of;
use outrigger_mtls::grpc::incoming;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::watch;
use tonic::server::NamedService;
use tonic::service::Routes;

/// Streams of one proxy: a gateway follows thousands of destinations.
const STREAMS_PER_CONNECTION: u32 = 16_384;

/// Serves until `stop` resolves, then ends every stream with OK. An error on the way ends it too.
pub(crate) async fn run(args: Args, stop: Stop) -> anyhow::Result<()> {
    let flags = &args.controller;
    let grpc = listen("--grpc-addr", grpc_addr(args.grpc_addr, flags.spire_socket.is_some())?).await?;
    let admin = listen("--admin-addr", args.admin_addr).await?;
    let credentials = credentials_of(flags.spire_socket.as_deref(), flags.trust_anchors.as_deref())
        .map_err(|error| anyhow!("--trust-anchors {error}"))?;
    let (at, admin_at) = (grpc.local_addr()?, admin.local_addr()?);
    tracing::info!(event = "destination.starting", grpc = %at, admin = %admin_at, "reading the manifests");

    let mesh = Arc::new(args.mesh());
    let index: Shared = Arc::new(Mutex::new(Index::new(Arc::clone(&mesh))));
    let mut registry = Registry::with_prefix("destination");
    let metrics = Metrics::register(&mut registry, Arc::clone(&index));
    let (drain, mut draining) = watch::channel(false);
    let destination = Destination::new(Arc::clone(&index), mesh, metrics, draining.clone());

    let followed = Arc::clone(&index);
    let ready = readiness(
        move || followed.lock().changed().is_some(),
        flags.spire_socket.is_some().then(|| credentials.clone()),
    );
    let showing = outrigger_admin::serve(admin, ready, Arc::new(registry));
    let (complete, mut completed) = watch::channel(false);
    let serving = async {
        let mut drained = draining.clone();
        // What is not known yet must not be taken for what does not exist; until then callers wait in the backlog.
        tokio::select! {
            _ = completed.wait_for(|complete| *complete) => {}
            _ = drained.wait_for(|drain| *drain) => return Ok(()),
        }
        tracing::info!(event = "destination.serving", "answering proxies");
        let drained = async { _ = draining.wait_for(|drain| *drain).await };
        let connections = incoming(grpc, credentials);
        let services =
            Services { routes: Routes::new(destination), names: &[Destination::NAME], descriptors: FILE_DESCRIPTORS };
        serve(connections, services, STREAMS_PER_CONNECTION, drained).await.context("the gRPC server")
    };
    let following = follow(args.controller.manifests.clone(), args.service_cidr, &index, &complete);
    until_stopped(showing, following, serving, stop, &drain).await
}

/// Takes in every change, as long as there are any.
async fn follow(
    manifests: PathBuf,
    service_cidr: IpNet,
    index: &Shared,
    complete: &watch::Sender<bool>,
) -> anyhow::Result<Infallible> {
    let mut batches =
        folder::watch(manifests, Some(service_cidr)).await.map_err(|error| anyhow!("--manifests: {error}"))?;
    while let Some(changes) = batches.recv().await {
        index.lock().apply(&changes, SystemTime::now());
        complete.send_replace(true);
    }
    anyhow::bail!("--manifests: the folder is no longer followed")
}
