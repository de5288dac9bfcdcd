//! `WatchPort`: the policy of an inbound port (A.3.1).

use super::backoff::Retry;
use super::stream::{Controller, Stream};
use crate::config::Config;
use crate::port::{Policy, PortState};
use linkerd2_proxy_api::inbound::inbound_server_policies_client::InboundServerPoliciesClient;
use linkerd2_proxy_api::inbound::{PortSpec, Server};
use outrigger_api::inbound::policy_from_proto;
use std::sync::Arc;
use tokio::sync::watch;
use tonic::Status;

/// Publishes the port's policy, for ever. While the controller is away the last one stands.
pub(super) async fn follow(port: u16, config: &Config, controller: Controller, values: &watch::Sender<PortState>) {
    let mut client = InboundServerPoliciesClient::new(controller.channel.clone());
    let mut retry = Retry::new(config.outbound.side.backoff);
    loop {
        let ended = async {
            let spec = PortSpec { workload: config.policy.workload.clone(), port: port.into() };
            let stream = controller.open(client.watch_port(spec)).await?;
            read(stream, port, values, &mut retry).await
        };
        match ended.await {
            Err(status) => {
                tracing::warn!(event = "policy.lost", port, code = ?status.code(), error = status.message(),
                    "the policy controller's stream failed; the last policy stands");
            }
            Ok(()) => tracing::debug!(event = "policy.ended", port),
        }
        retry.pause().await;
    }
}

async fn read(
    mut stream: Stream<Server>,
    port: u16,
    values: &watch::Sender<PortState>,
    retry: &mut Retry,
) -> Result<(), Status> {
    while let Some(message) = stream.message().await? {
        retry.succeeded();
        let state = understood(message, &values.borrow()).unwrap_or_else(|why| {
            tracing::error!(event = "policy.invalid", port, why, "the port is closed until a valid policy comes");
            PortState::Invalid(why.into())
        });
        values.send_replace(state);
    }
    Ok(())
}

fn understood(message: Server, earlier: &PortState) -> Result<PortState, String> {
    let policy = policy_from_proto(message).map_err(|error| error.to_string())?;
    let policy = Policy::compile(policy)?;
    Ok(PortState::Known(Arc::new(match earlier {
        PortState::Known(earlier) => policy.following(earlier),
        PortState::Waiting | PortState::Invalid(_) => policy,
    })))
}
