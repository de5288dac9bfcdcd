//! The gRPC server of the services.

use crate::{Index, OutboundService, Service};
use linkerd2_proxy_api::inbound::inbound_server_policies_server;
use linkerd2_proxy_api::outbound::outbound_policies_server;
use outrigger_api::FILE_DESCRIPTORS;
use outrigger_controller::Services;
use outrigger_mtls::CredentialsWatch;
use outrigger_mtls::grpc::incoming;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::service::Routes;

/// Streams of one proxy, which watches each of its ports and each destination of its application.
const STREAMS_PER_CONNECTION: u32 = 16_384;
const NAMES: &[&str] = &[inbound_server_policies_server::SERVICE_NAME, outbound_policies_server::SERVICE_NAME];
/// A workload's name and a destination are all that anybody may send.
const MESSAGE_BYTES: usize = 16 * 1024;

/// Answers proxies, once there is something to answer with, until `draining` turns true and every stream has ended.
pub async fn serve(
    listener: TcpListener,
    credentials: CredentialsWatch,
    index: Arc<Index>,
    mut draining: watch::Receiver<bool>,
) -> Result<(), tonic::transport::Error> {
    tokio::select! {
        () = index.complete() => {}
        _ = draining.wait_for(|drain| *drain) => return Ok(()),
    }
    let addr = listener.local_addr().map_or_else(|error| error.to_string(), |addr| addr.to_string());
    tracing::info!(event = "policy.serving", addr, "answering proxies");
    let inbound = Service::new(Arc::clone(&index), draining.clone()).max_decoding_message_size(MESSAGE_BYTES);
    let outbound = OutboundService::new(index, draining.clone()).max_decoding_message_size(MESSAGE_BYTES);
    let drained = async move { _ = draining.wait_for(|drain| *drain).await };
    let connections = incoming(listener, credentials);
    let routes = Routes::new(inbound).add_service(outbound);
    let services = Services { routes, names: NAMES, descriptors: FILE_DESCRIPTORS };
    outrigger_controller::serve(connections, services, STREAMS_PER_CONNECTION, drained).await
}
