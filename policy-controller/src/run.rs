//! The running controller: sockets, credentials, the stream of changes, and the end.

use anyhow::{Context, anyhow};
use ipnet::IpNet;
use outrigger_cluster::folder;
use outrigger_controller::{Stop, grpc_addr, listen, readiness, until_stopped};
use outrigger_mtls::credentials_of;
use outrigger_policy::{Args, Index, Metrics, ServerStatus, serve};
use prometheus_client::registry::Registry;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// Serves until `stop` resolves, then ends every stream with OK. An error on the way ends it too.
pub(crate) async fn run(args: Args, stop: Stop) -> anyhow::Result<()> {
    let flags = &args.controller;
    let grpc = listen("--grpc-addr", grpc_addr(args.grpc_addr, flags.spire_socket.is_some())?).await?;
    let admin = listen("--admin-addr", args.admin_addr).await?;
    tracing::info!(event = "admin.serving", addr = %admin.local_addr()?, "answering monitors");
    let credentials = credentials_of(flags.spire_socket.as_deref(), flags.trust_anchors.as_deref())
        .map_err(|error| anyhow!("--trust-anchors {error}"))?;
    let mut registry = Registry::default();
    let index = Arc::new(Index::new(args.config(), Metrics::register(&mut registry)));
    let (drain, draining) = watch::channel(false);

    let followed = Arc::clone(&index);
    let ready = readiness(move || followed.is_complete(), flags.spire_socket.is_some().then(|| credentials.clone()));
    let showing = outrigger_admin::serve_with(admin, ready, Arc::new(registry), vec![servers_page(&index)]);
    let serving = async { serve(grpc, credentials, Arc::clone(&index), draining).await.context("the gRPC server") };
    let following = follow(flags.manifests.clone(), args.service_cidr, &index);
    until_stopped(showing, following, serving, stop, &drain).await
}

/// Takes in every change, as long as there are any.
async fn follow(manifests: PathBuf, service_cidr: IpNet, index: &Index) -> anyhow::Result<Infallible> {
    let batches = folder::watch(manifests, Some(service_cidr)).await;
    let mut batches = batches.map_err(|error| anyhow!("--manifests: {error}"))?;
    while let Some(changes) = batches.recv().await {
        index.apply(&changes);
    }
    anyhow::bail!("--manifests: the folder is no longer followed")
}

fn servers_page(index: &Arc<Index>) -> outrigger_admin::Page {
    let index = Arc::clone(index);
    let json = move || serde_json::Value::from_iter(index.server_statuses().iter().map(ServerStatus::to_json));
    outrigger_admin::Page { path: "/servers.json", json: Box::new(move || json().to_string()) }
}
