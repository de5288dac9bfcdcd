//! When endpoints are ejected, and how long anything waits before it tries again.

use crate::InvalidMessage;
use crate::duration::{duration_from_proto, duration_to_proto};
use linkerd2_proxy_api::outbound::{self, failure_accrual as wire};
use outrigger_model::{AccrualKind, Backoff, FailureAccrual};
use std::time::Duration;

/// Linkerd's proxies refuse a policy with a shorter one.
const SHORTEST_WINDOW: Duration = Duration::from_millis(10);
/// Linkerd's proxies refuse a policy with more.
const MOST_MIN_REQUESTS: u32 = 1_000_000;
/// Linkerd's proxies refuse a policy with more.
const MOST_JITTER: f32 = 100.0;

pub(super) fn accrual_to_proto(accrual: &FailureAccrual) -> outbound::FailureAccrual {
    let backoff = Some(backoff_to_proto(&accrual.backoff));
    let kind = match accrual.kind {
        AccrualKind::Consecutive { max_failures } => {
            wire::Kind::ConsecutiveFailures(wire::ConsecutiveFailures { max_failures, backoff })
        }
        AccrualKind::Unified { max_failures, success_rate, window, min_requests } => {
            wire::Kind::Unified(wire::Unified {
                success_rate_threshold: success_rate,
                decay: Some(duration_to_proto(window)),
                min_requests,
                max_consecutive_failures: max_failures,
                backoff,
            })
        }
    };
    let min_ready_endpoints = accrual.min_ready_endpoints;
    let ejection = (min_ready_endpoints != 0).then_some(outbound::EjectionConfig { min_ready_endpoints });
    outbound::FailureAccrual { kind: Some(kind), ejection }
}

pub(super) fn accrual_from_proto(message: outbound::FailureAccrual) -> Result<FailureAccrual, InvalidMessage> {
    let min_ready_endpoints = message.ejection.unwrap_or_default().min_ready_endpoints;
    let (kind, backoff) = match message.kind {
        None => return Err(InvalidMessage::new("kind", "it is missing or of an unknown kind")),
        Some(wire::Kind::ConsecutiveFailures(wire::ConsecutiveFailures { max_failures, backoff })) => {
            (AccrualKind::Consecutive { max_failures }, backoff)
        }
        Some(wire::Kind::Unified(unified)) => {
            let backoff = unified.backoff;
            (unified_from_proto(unified)?, backoff)
        }
    };
    let backoff = backoff.ok_or_else(|| InvalidMessage::new("backoff", "it is missing"))?;
    Ok(FailureAccrual {
        kind,
        backoff: backoff_from_proto(backoff).map_err(|e| e.within("backoff"))?,
        min_ready_endpoints,
    })
}

fn unified_from_proto(unified: wire::Unified) -> Result<AccrualKind, InvalidMessage> {
    let success_rate = unified.success_rate_threshold;
    if !(0.0..=1.0).contains(&success_rate) {
        return Err(InvalidMessage::new("success_rate_threshold", "it is not between 0 and 1"));
    }
    let window = duration_from_proto("decay", unified.decay)?;
    let min_requests = unified.min_requests;
    // A rate of zero ejects nothing, whatever its window.
    if success_rate > 0.0 && window < SHORTEST_WINDOW {
        return Err(InvalidMessage::new("decay", "it is shorter than 10 ms"));
    }
    if success_rate > 0.0 && min_requests > MOST_MIN_REQUESTS {
        return Err(InvalidMessage::new("min_requests", "it is above 1000000"));
    }
    Ok(AccrualKind::Unified { max_failures: unified.max_consecutive_failures, success_rate, window, min_requests })
}

pub(super) fn backoff_to_proto(backoff: &Backoff) -> outbound::ExponentialBackoff {
    outbound::ExponentialBackoff {
        min_backoff: Some(duration_to_proto(backoff.min)),
        max_backoff: Some(duration_to_proto(backoff.max)),
        jitter_ratio: backoff.jitter,
        respect_retry_after_hint: backoff.respect_retry_after,
    }
}

pub(super) fn backoff_from_proto(message: outbound::ExponentialBackoff) -> Result<Backoff, InvalidMessage> {
    let min = duration_from_proto("min_backoff", message.min_backoff)?;
    let max = duration_from_proto("max_backoff", message.max_backoff)?;
    if max < min || max.is_zero() {
        return Err(InvalidMessage::new("max_backoff", "it is zero or below min_backoff"));
    }
    let jitter = message.jitter_ratio;
    if !(0.0..=MOST_JITTER).contains(&jitter) {
        return Err(InvalidMessage::new("jitter_ratio", "it is not between 0 and 100"));
    }
    Ok(Backoff { min, max, jitter, respect_retry_after: message.respect_retry_after_hint })
}
