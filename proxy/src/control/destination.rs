//! `GetProfile` for an original destination and, if it is a service's, `Get` for its endpoints (A.2.1).

use super::backoff::Retry;
use crate::config::Config;
use crate::endpoint::Reach;
use crate::service::{Resolution, Target};
use linkerd2_proxy_api::destination::destination_client::DestinationClient;
use linkerd2_proxy_api::destination::{DestinationProfile, GetDestination, Update};
use outrigger_api::destination::{DestinationUpdate, profile_from_proto, update_from_proto};
use outrigger_model::{Endpoint, Profile};
use std::collections::BTreeMap;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

type Client = DestinationClient<Channel>;

/// Publishes what is known of `addr`, for ever. Ends only where nothing new can come.
pub(super) async fn follow(addr: SocketAddr, config: &Config, channel: Channel, values: &watch::Sender<Resolution>) {
    let asked = config.destination.networks.as_ref().is_none_or(|nets| nets.iter().any(|n| n.contains(&addr.ip())));
    if !asked {
        values.send_replace(known(None, false, vec![Reach::Endpoint(Endpoint::unmeshed(addr))]));
        return;
    }
    let (profiles, mut newest) = watch::channel(None);
    let following = follow_profile(addr, config, Client::new(channel.clone()), &profiles);
    let publishing = async {
        loop {
            let profile: Option<Profile> = newest.borrow_and_update().clone();
            let publish = publish(addr, profile, config, Client::new(channel.clone()), values);
            tokio::select! {
                // A later profile replaces what the earlier one led to.
                _ = newest.changed() => {}
                () = publish => {}
            }
        }
    };
    tokio::join!(following, publishing);
}

/// Publishes what one profile says; for a service, follows its endpoints for ever.
async fn publish(
    addr: SocketAddr,
    profile: Option<Profile>,
    config: &Config,
    client: Client,
    values: &watch::Sender<Resolution>,
) {
    let Some(profile) = profile else { return pending().await };
    match profile.service {
        Some(service) => {
            let authority: Arc<str> = format!("{service}:{}", addr.port()).into();
            follow_endpoints(authority, profile.opaque, config, client, values).await;
        }
        None => {
            // Neither a service nor an endpoint: a service's address, and a port that it does not declare (B.2.6).
            values.send_replace(known(
                None,
                profile.opaque,
                profile.endpoint.map(Reach::Endpoint).into_iter().collect(),
            ));
            pending().await
        }
    }
}

fn known(authority: Option<Arc<str>>, opaque: bool, endpoints: Vec<Reach>) -> Resolution {
    Resolution::Known(Arc::new(Target { authority, opaque, endpoints }))
}

/// Only these say that an address is no service's; every other error says that nothing is known (A.2.1).
fn not_a_service(status: &Status) -> bool {
    matches!(status.code(), Code::NotFound | Code::InvalidArgument)
}

fn request(path: String, config: &Config) -> GetDestination {
    GetDestination { scheme: String::new(), path, context_token: config.destination.context.clone() }
}

async fn follow_profile(
    addr: SocketAddr,
    config: &Config,
    mut client: Client,
    profiles: &watch::Sender<Option<Profile>>,
) {
    let mut retry = Retry::new(config.outbound.side.backoff);
    loop {
        let ended = async {
            let stream = client.get_profile(request(addr.to_string(), config)).await?.into_inner();
            read_profiles(stream, profiles, &mut retry).await
        };
        match ended.await {
            Err(status) if not_a_service(&status) => {
                let endpoint = Some(Endpoint::unmeshed(addr));
                profiles.send_replace(Some(Profile { endpoint, ..Profile::default() }));
            }
            ended => lost("GetProfile", &addr, ended.err()),
        }
        retry.pause().await;
    }
}

async fn read_profiles(
    mut stream: Streaming<DestinationProfile>,
    profiles: &watch::Sender<Option<Profile>>,
    retry: &mut Retry,
) -> Result<(), Status> {
    while let Some(message) = stream.message().await? {
        let profile = profile_from_proto(message).map_err(|error| Status::data_loss(error.to_string()))?;
        retry.succeeded();
        profiles.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&profile);
            *known = Some(profile);
            changed
        });
    }
    Ok(())
}

/// Follows a service's endpoints; what is known stays while the stream is down.
async fn follow_endpoints(
    authority: Arc<str>,
    opaque: bool,
    config: &Config,
    mut client: Client,
    values: &watch::Sender<Resolution>,
) {
    let mut retry = Retry::new(config.outbound.side.backoff);
    loop {
        let ended = async {
            let stream = client.get(request(authority.to_string(), config)).await?.into_inner();
            read_endpoints(stream, &authority, opaque, values, &mut retry).await
        };
        match ended.await {
            Err(status) if not_a_service(&status) => {
                values.send_replace(known(Some(authority.clone()), opaque, Vec::new()));
            }
            ended => lost("Get", &authority, ended.err()),
        }
        retry.pause().await;
    }
}

async fn read_endpoints(
    mut stream: Streaming<Update>,
    authority: &Arc<str>,
    opaque: bool,
    values: &watch::Sender<Resolution>,
    retry: &mut Retry,
) -> Result<(), Status> {
    // A new stream begins with the whole set, so what an older one said is not carried over.
    let mut endpoints = BTreeMap::new();
    while let Some(message) = stream.message().await? {
        let update = update_from_proto(message).map_err(|error| Status::data_loss(error.to_string()))?;
        retry.succeeded();
        apply(&mut endpoints, update);
        values.send_replace(known(Some(authority.clone()), opaque, endpoints.values().cloned().collect()));
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

fn lost(call: &str, subject: &dyn std::fmt::Display, status: Option<Status>) {
    match status {
        Some(status) => {
            tracing::warn!(event = "destination.lost", call, %subject, code = ?status.code(), error = status.message(),
            "the destination controller's stream failed; what is known stays")
        }
        None => tracing::debug!(event = "destination.ended", call, %subject),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn only_two_codes_mean_not_meshed() {
        let codes = (0..17).map(Code::from_i32).filter(|code| not_a_service(&Status::new(*code, ""))).count();
        assert_eq!(codes, 2);
    }
}
