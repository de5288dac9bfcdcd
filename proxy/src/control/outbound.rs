//! Where an original destination's traffic goes: `GetProfile` and `OutboundPolicies.Watch`, joined (A.1.6, A.2.1).

use super::backoff::Retry;
use super::stream::{Controller, Stream};
use crate::config::Config;
use crate::resolution::Resolution;
use linkerd2_proxy_api::destination::destination_client::DestinationClient;
use linkerd2_proxy_api::destination::{DestinationProfile, GetDestination};
use linkerd2_proxy_api::outbound::OutboundPolicy as PolicyMessage;
use linkerd2_proxy_api::outbound::outbound_policies_client::OutboundPoliciesClient;
use outrigger_api::InvalidMessage;
use outrigger_api::destination::profile_from_proto;
use outrigger_api::outbound::{policy_from_proto, traffic_to_proto};
use outrigger_model::{OutboundPolicy, Profile, Target, Traffic};
use outrigger_proxy_core::outbound::{Answer, Plan, join};
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;
use tonic::{Code, Status};

/// Publishes what is known of `addr`, for ever.
pub(crate) async fn follow(
    addr: SocketAddr,
    config: &Config,
    destination: Controller,
    policy: Controller,
    values: &watch::Sender<Resolution>,
) {
    let (profiles, mut profile) = watch::channel(Answer::Waiting);
    let (policies, mut policies_seen) = watch::channel(Answer::Waiting);
    let publishing = async {
        loop {
            let joined = {
                let (profile, policy) = (profile.borrow_and_update(), policies_seen.borrow_and_update());
                join(addr, &profile, &policy, config.outbound.side.detect_timeout)
            };
            if let Some(decided) = joined {
                values.send_replace(resolution(addr, decided));
            }
            tokio::select! {
                _ = profile.changed() => {}
                _ = policies_seen.changed() => {}
            }
        }
    };
    tokio::join!(
        follow_profile(addr, config, destination, &profiles),
        follow_policy(addr, config, policy, &policies),
        publishing,
    );
}

fn resolution(addr: SocketAddr, decided: Result<OutboundPolicy, outrigger_model::Refusal>) -> Resolution {
    match decided {
        Err(refusal) => Resolution::Refused(refusal, addr.to_string().into()),
        Ok(policy) => match Plan::compile(policy) {
            Ok(plan) => Resolution::Known(Arc::new(plan)),
            Err(error) => {
                tracing::error!(event = "outbound_policy.invalid", %addr, %error, "its requests are refused");
                Resolution::Refused(outrigger_model::Refusal::PolicyInvalid, error.to_string().into())
            }
        },
    }
}

/// Says `answer` unless something is known already, which stays.
fn unless_known<T>(answers: &watch::Sender<Answer<T>>, answer: Answer<T>) {
    answers.send_if_modified(|known| {
        let replace = matches!(known, Answer::Waiting | Answer::Failing);
        if replace {
            *known = answer;
        }
        replace
    });
}

/// Says what a message said; `None`: it was not understood.
fn know<T: PartialEq>(answers: &watch::Sender<Answer<T>>, value: Option<T>) {
    answers.send_if_modified(|known| {
        let value = value.map_or(Answer::Invalid, Answer::Known);
        let changed = *known != value;
        *known = value;
        changed
    });
}

async fn follow_profile(
    addr: SocketAddr,
    config: &Config,
    controller: Controller,
    answers: &watch::Sender<Answer<Profile>>,
) {
    let asked = config.destination.networks.as_ref().is_none_or(|nets| nets.iter().any(|n| n.contains(&addr.ip())));
    if !asked {
        answers.send_replace(Answer::Absent);
        return;
    }
    let mut client = DestinationClient::new(controller.channel.clone());
    let mut retry = Retry::new(config.outbound.side.backoff);
    loop {
        let request = GetDestination {
            scheme: String::new(),
            path: addr.to_string(),
            context_token: config.destination.context.clone(),
        };
        let ended = async {
            read_profiles(addr, controller.open(client.get_profile(request)).await?, answers, &mut retry).await
        };
        match ended.await {
            // Only these say that the address is no service's (A.2.1).
            Err(status) if matches!(status.code(), Code::NotFound | Code::InvalidArgument) => {
                answers.send_replace(Answer::Absent);
            }
            ended => lost("GetProfile", &addr, ended.err(), answers),
        }
        retry.pause().await;
    }
}

async fn read_profiles(
    addr: SocketAddr,
    mut stream: Stream<DestinationProfile>,
    answers: &watch::Sender<Answer<Profile>>,
    retry: &mut Retry,
) -> Result<(), Status> {
    while let Some(message) = stream.message().await? {
        retry.succeeded();
        let profile = profile_from_proto(message).map_err(|error| not_understood("GetProfile", &addr, &error));
        know(answers, profile.ok());
    }
    Ok(())
}

async fn follow_policy(
    addr: SocketAddr,
    config: &Config,
    controller: Controller,
    answers: &watch::Sender<Answer<OutboundPolicy>>,
) {
    let mut client = OutboundPoliciesClient::new(controller.channel.clone());
    let mut retry = Retry::new(config.outbound.side.backoff);
    loop {
        let traffic = Traffic { source: config.policy.workload.as_str().into(), target: Target::Addr(addr) };
        let ended = async {
            let stream = controller.open(client.watch(traffic_to_proto(&traffic))).await?;
            read_policies(addr, stream, answers, &mut retry).await
        };
        match ended.await {
            // The controller knows no policy, or an older one does not serve them: the profile decides (A.1.6).
            Err(status) if matches!(status.code(), Code::NotFound | Code::Unimplemented) => {
                if status.code() == Code::Unimplemented {
                    tracing::debug!(event = "outbound_policy.unserved", %addr);
                }
                answers.send_replace(Answer::Absent);
            }
            ended => lost("OutboundPolicies.Watch", &addr, ended.err(), answers),
        }
        retry.pause().await;
    }
}

async fn read_policies(
    addr: SocketAddr,
    mut stream: Stream<PolicyMessage>,
    answers: &watch::Sender<Answer<OutboundPolicy>>,
    retry: &mut Retry,
) -> Result<(), Status> {
    while let Some(message) = stream.message().await? {
        retry.succeeded();
        let policy =
            policy_from_proto(message).map_err(|error| not_understood("OutboundPolicies.Watch", &addr, &error));
        know(answers, policy.ok());
    }
    Ok(())
}

/// A stream has ended: what is known stays.
fn lost<T>(call: &str, subject: &dyn Display, status: Option<Status>, answers: &watch::Sender<Answer<T>>) {
    match status {
        Some(status) => {
            super::warn_lost(call, subject, &status);
            unless_known(answers, Answer::Failing);
        }
        None => tracing::debug!(event = "control.ended", call, %subject),
    }
}

fn not_understood(call: &str, addr: &SocketAddr, error: &InvalidMessage) {
    tracing::error!(event = "outbound_policy.invalid", call, %addr, %error, "nothing goes there until a valid message comes");
}
