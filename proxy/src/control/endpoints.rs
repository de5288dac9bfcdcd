//! The endpoints of a backend: `Get` (A.2.1).

use super::backoff::Retry;
use super::stream::{Controller, Stream};
use crate::config::Config;
use crate::resolution::{Endpoints, Reach};
use linkerd2_proxy_api::destination::destination_client::DestinationClient;
use linkerd2_proxy_api::destination::{GetDestination, Update};
use outrigger_api::destination::{DestinationUpdate, update_from_proto};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;
use tonic::{Code, Status};

/// Publishes the endpoints of `path`, `svc.ns.svc.cluster.local:port`, for ever; what is known stays while the stream is
/// down.
pub(crate) async fn follow(
    path: &Arc<str>,
    config: &Config,
    controller: Controller,
    values: &watch::Sender<Endpoints>,
) {
    let mut client = DestinationClient::new(controller.channel.clone());
    let mut retry = Retry::new(config.outbound.side.backoff);
    loop {
        let request = GetDestination {
            scheme: String::new(),
            path: path.to_string(),
            context_token: config.destination.context.clone(),
        };
        let ended = async { read(controller.open(client.get(request)).await?, values, &mut retry).await };
        match ended.await {
            // Not a service, or none any more (A.2.1).
            Err(status) if matches!(status.code(), Code::NotFound | Code::InvalidArgument) => {
                values.send_replace(Some(Arc::default()));
            }
            Err(status) => super::warn_lost("Get", path, &status),
            Ok(()) => tracing::debug!(event = "control.ended", call = "Get", %path),
        }
        retry.pause().await;
    }
}

async fn read(mut stream: Stream<Update>, values: &watch::Sender<Endpoints>, retry: &mut Retry) -> Result<(), Status> {
    // A new stream begins with the whole set, so what an older one said is not carried over.
    let mut endpoints = BTreeMap::new();
    while let Some(message) = stream.message().await? {
        let update = update_from_proto(message).map_err(|error| Status::data_loss(error.to_string()))?;
        retry.succeeded();
        apply(&mut endpoints, update);
        values.send_replace(Some(endpoints.values().cloned().collect()));
    }
    Ok(())
}

fn apply(endpoints: &mut BTreeMap<SocketAddr, Reach>, update: DestinationUpdate) {
    match update {
        DestinationUpdate::Add { endpoints: added, refused } => {
            for endpoint in added {
                endpoints.insert(endpoint.addr, Reach::Endpoint(endpoint));
            }
            for refused in refused {
                tracing::warn!(event = "endpoint.unreadable", addr = ?refused.addr, error = %refused.why);
                if let Some(addr) = refused.addr {
                    endpoints.insert(addr, Reach::Unusable(addr, refused.why.to_string().into()));
                }
            }
        }
        DestinationUpdate::Remove(addrs) => addrs.iter().for_each(|addr| {
            endpoints.remove(addr);
        }),
        DestinationUpdate::NoEndpoints { .. } => endpoints.clear(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrigger_model::Endpoint;

    #[test]
    fn a_2_1_updates_build_the_set() {
        let at = |port| Endpoint::unmeshed(([10, 0, 0, 1], port).into());
        let add = |endpoints| DestinationUpdate::Add { endpoints, refused: vec![] };
        let mut set = BTreeMap::new();
        apply(&mut set, add(vec![at(1), at(2)]));
        apply(&mut set, add(vec![Endpoint { weight: 5, ..at(2) }]));
        assert_eq!(set.len(), 2);
        assert_eq!(set[&at(2).addr], Reach::Endpoint(Endpoint { weight: 5, ..at(2) }), "an address is upserted");
        apply(&mut set, DestinationUpdate::Remove(vec![at(1).addr]));
        assert_eq!(set.len(), 1);
        apply(&mut set, DestinationUpdate::NoEndpoints { exists: true });
        assert!(set.is_empty());
    }
}
