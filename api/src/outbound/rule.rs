//! What rules of HTTP and gRPC routes say alike: timeouts and the frame of a retry.

use super::accrual::{backoff_from_proto, backoff_to_proto};
use crate::InvalidMessage;
use crate::duration::{duration_to_proto, optional_from_proto};
use linkerd2_proxy_api::http_route as wire;
use linkerd2_proxy_api::outbound::ExponentialBackoff;
use outrigger_model::{Backoff, Timeouts};
use std::time::Duration;

/// The times of a rule, and of these the one that proxies older than the others read.
pub(super) fn timeouts_to_proto(timeouts: &Timeouts) -> (wire::Timeouts, Option<prost_types::Duration>) {
    let [request, response, idle] =
        [timeouts.request, timeouts.response, timeouts.idle].map(|timeout| timeout.map(duration_to_proto));
    (wire::Timeouts { response, request, idle }, request)
}

/// Zero is no limit (GEP-1742). Controllers older than `timeouts` send `older` alone.
pub(super) fn timeouts_from_proto(
    timeouts: Option<wire::Timeouts>,
    older: Option<prost_types::Duration>,
) -> Result<Timeouts, InvalidMessage> {
    let timeouts = timeouts.unwrap_or_else(|| wire::Timeouts { request: older, ..wire::Timeouts::default() });
    Ok(Timeouts {
        request: limit("timeouts.request", timeouts.request)?,
        response: limit("timeouts.response", timeouts.response)?,
        idle: limit("timeouts.idle", timeouts.idle)?,
    })
}

/// When and for how long a retry waits, as messages say it.
pub(super) fn waits_to_proto(
    timeout: Option<Duration>,
    backoff: Option<Backoff>,
) -> (Option<prost_types::Duration>, Option<ExponentialBackoff>) {
    (timeout.map(duration_to_proto), backoff.as_ref().map(backoff_to_proto))
}

/// Reads what [`waits_to_proto`] writes.
pub(super) fn waits_from_proto(
    timeout: Option<prost_types::Duration>,
    backoff: Option<ExponentialBackoff>,
) -> Result<(Option<Duration>, Option<Backoff>), InvalidMessage> {
    let backoff = backoff.map(backoff_from_proto).transpose().map_err(|e| e.within("backoff"))?;
    Ok((limit("timeout", timeout)?, backoff))
}

fn limit(field: &str, duration: Option<prost_types::Duration>) -> Result<Option<Duration>, InvalidMessage> {
    Ok(optional_from_proto(field, duration)?.filter(|duration| !duration.is_zero()))
}
