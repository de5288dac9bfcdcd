//! What a Service's annotations say of the requests to it: timeouts, retries, and when endpoints are ejected (C.3).

use crate::workload::InvalidAnnotation;
use outrigger_cluster::Meta;
use outrigger_model::{AccrualKind, Backoff, FailureAccrual, LoadPenalty, Retry, RetryOn, Timeouts};
use std::ops::RangeInclusive;
use std::time::Duration;

/// A request with a larger body is not sent again.
const RETRY_BYTES: u32 = 64 * 1024;
/// Between the attempts of a request.
const RETRY_BACKOFF: Backoff = Backoff {
    min: Duration::from_millis(25),
    max: Duration::from_millis(250),
    jitter: 1.0,
    respect_retry_after: false,
};

type Parsed<T> = Result<T, InvalidAnnotation>;

/// The annotations of one purpose, and what follows if one of them cannot be read.
struct Group<'a> {
    meta: &'a Meta,
    consequence: &'static str,
}

impl Group<'_> {
    fn read<T>(&self, name: &'static str, parse: impl FnOnce(&str) -> Result<T, String>) -> Parsed<Option<T>> {
        let parsed = self.meta.annotation(name).map(|text| parse(text.trim())).transpose();
        parsed.map_err(|why| self.invalid(name, why))
    }

    /// A time above zero; zero is none.
    fn limit(&self, name: &'static str) -> Parsed<Option<Duration>> {
        Ok(self.read(name, duration)?.filter(|limit| !limit.is_zero()))
    }

    fn invalid(&self, name: &'static str, why: String) -> InvalidAnnotation {
        InvalidAnnotation { name, why, consequence: self.consequence }
    }
}

pub(super) fn timeouts(meta: &Meta) -> Parsed<Timeouts> {
    let group = Group { meta, consequence: "requests to the Service have no timeout" };
    Ok(Timeouts {
        request: group.limit("timeout.linkerd.io/request")?,
        response: group.limit("timeout.linkerd.io/response")?,
        idle: group.limit("timeout.linkerd.io/idle")?,
    })
}

pub(super) fn retry(meta: &Meta) -> Parsed<Option<Retry>> {
    let group = Group { meta, consequence: "requests to the Service are not retried" };
    let limit = group.read("retry.linkerd.io/limit", number::<u16>)?.filter(|limit| *limit != 0);
    let timeout = group.limit("retry.linkerd.io/timeout")?;
    let statuses = group.read("retry.linkerd.io/http", statuses)?;
    if limit.is_none() && timeout.is_none() && statuses.is_none() {
        return Ok(None);
    }
    Ok(Some(Retry {
        max_retries: limit.unwrap_or(1).into(),
        max_request_bytes: RETRY_BYTES,
        on: RetryOn::Statuses(statuses.unwrap_or_default()),
        timeout,
        backoff: Some(RETRY_BACKOFF),
    }))
}

pub(super) fn failure_accrual(meta: &Meta) -> Parsed<Option<FailureAccrual>> {
    let group = Group { meta, consequence: "no endpoint of the Service is ejected for its failures" };
    let mode = |mode: &str| match mode {
        "consecutive" => Ok(false),
        "unified" => Ok(true),
        other => Err(format!("{other:?} is no mode; write consecutive or unified")),
    };
    let Some(unified) = group.read("balancer.linkerd.io/failure-accrual", mode)? else { return Ok(None) };
    let name = "balancer.linkerd.io/failure-accrual-consecutive-max-failures";
    let max_failures = group.read(name, number)?.unwrap_or(7);
    let kind = if unified { success_rate(&group, max_failures)? } else { AccrualKind::Consecutive { max_failures } };
    let respect_retry_after = honor_retry_after(meta).unwrap_or_default();
    Ok(Some(FailureAccrual { kind, backoff: backoff(&group, respect_retry_after)?, min_ready_endpoints: 0 }))
}

fn backoff(group: &Group<'_>, respect_retry_after: bool) -> Parsed<Backoff> {
    let longest = "balancer.linkerd.io/failure-accrual-consecutive-max-penalty";
    let min = group.read("balancer.linkerd.io/failure-accrual-consecutive-min-penalty", duration)?;
    let (min, max) = (min.unwrap_or(Duration::from_secs(1)), group.read(longest, duration)?);
    let max = max.unwrap_or(Duration::from_secs(60));
    if max < min || max.is_zero() {
        return Err(group.invalid(longest, format!("{max:?} is zero or below the min-penalty of {min:?}")));
    }
    let jitter = group.read("balancer.linkerd.io/failure-accrual-consecutive-jitter-ratio", |text| {
        number::<f32>(text).and_then(|ratio| in_range(ratio, 0.0..=100.0))
    })?;
    Ok(Backoff { min, max, jitter: jitter.unwrap_or(0.5), respect_retry_after })
}

fn success_rate(group: &Group<'_>, max_failures: u32) -> Parsed<AccrualKind> {
    let rate = group.read("balancer.alpha.linkerd.io/failure-accrual-success-rate-threshold", |text| {
        number::<f64>(text).and_then(|rate| in_range(rate, 0.0..=1.0))
    })?;
    // Proxies refuse a whole policy over the two below if the rate counts at all.
    let window = group.read("balancer.alpha.linkerd.io/failure-accrual-success-rate-window", |text| {
        let shortest = Duration::from_millis(10);
        duration(text).and_then(|window| in_range(window, shortest..=Duration::MAX))
    })?;
    let min_requests = group.read("balancer.alpha.linkerd.io/failure-accrual-success-rate-min-requests", |text| {
        number::<u32>(text).and_then(|requests| in_range(requests, 0..=1_000_000))
    })?;
    Ok(AccrualKind::Unified {
        max_failures,
        success_rate: rate.unwrap_or(0.8),
        window: window.unwrap_or(Duration::from_secs(10)),
        min_requests: min_requests.unwrap_or(5),
    })
}

fn honor_retry_after(meta: &Meta) -> Parsed<bool> {
    let group = Group { meta, consequence: "Retry-After does not lengthen an endpoint's ejection" };
    Ok(group.read("balancer.alpha.linkerd.io/failure-accrual-honor-retry-after", boolean)?.unwrap_or_default())
}

pub(super) fn penalty(meta: &Meta) -> Parsed<Option<LoadPenalty>> {
    let group = Group { meta, consequence: "failures do not count in the balancing" };
    if !group.read("balancer.alpha.linkerd.io/penalize-failures", boolean)?.unwrap_or_default() {
        return Ok(None);
    }
    let rtt = group.read("balancer.alpha.linkerd.io/load-biaser-penalty", |text| {
        // Linkerd's proxies count it in 32 bits of milliseconds.
        duration(text).and_then(|rtt| in_range(rtt, Duration::ZERO..=Duration::from_millis(u32::MAX.into())))
    })?;
    let max_retry_after = group.read("balancer.alpha.linkerd.io/load-biaser-max-retry-after", duration)?;
    Ok(Some(LoadPenalty {
        rtt: rtt.unwrap_or(Duration::from_secs(5)),
        max_retry_after: max_retry_after.unwrap_or(Duration::from_secs(300)),
        decay: Duration::from_secs(10),
    }))
}

/// Every annotation of a Service that does nothing, since it cannot be read: the first one of each purpose.
pub(crate) fn invalid_annotations(meta: &Meta) -> impl Iterator<Item = InvalidAnnotation> {
    let results = [
        timeouts(meta).err(),
        retry(meta).err(),
        failure_accrual(meta).err(),
        honor_retry_after(meta).err(),
        penalty(meta).err(),
    ];
    results.into_iter().flatten()
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no number that fits here"))
}

fn in_range<T: PartialOrd + std::fmt::Debug>(value: T, range: RangeInclusive<T>) -> Result<T, String> {
    if range.contains(&value) { Ok(value) } else { Err(format!("{value:?} is not in {range:?}")) }
}

/// The words that Kubernetes' own tools take.
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(format!("{other:?} is neither true nor false")),
    }
}

/// A whole number and its unit; zero needs none.
fn duration(text: &str) -> Result<Duration, String> {
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit);
    let milliseconds = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60 * 1000),
        "h" => Some(60 * 60 * 1000),
        "d" => Some(24 * 60 * 60 * 1000),
        "" if digits.bytes().all(|digit| digit == b'0') => Some(0),
        _ => None,
    };
    let parsed = digits.parse::<u64>().ok().zip(milliseconds).and_then(|(count, unit)| count.checked_mul(unit));
    parsed
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is no time; write a whole number and one of ms, s, m, h and d, as in 250ms"))
}

/// `5xx`, `gateway-error`, single statuses and ranges of them.
fn statuses(list: &str) -> Result<Vec<RangeInclusive<u16>>, String> {
    let status = |text: &str| text.trim().parse().ok().filter(|status| (100..600).contains(status));
    let one = |entry: &str| {
        let entry = entry.trim();
        let named = match entry.to_ascii_lowercase().as_str() {
            "5xx" => Some(500..=599),
            "gateway-error" => Some(502..=504),
            _ => None,
        };
        let (first, last) = entry.split_once('-').unwrap_or((entry, entry));
        let range = status(first).zip(status(last)).map(|(first, last)| first..=last);
        named.or(range).filter(|range| !range.is_empty()).ok_or_else(|| {
            format!("{entry:?} is no condition; write 5xx, gateway-error, a status or a range, as in 500,503-504")
        })
    };
    list.split(',').map(one).collect()
}
