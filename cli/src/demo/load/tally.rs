//! What came back, counted.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Counts of what a load saw. A failure is a request without an answer; a 403 is an answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    /// By status code.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// By text.
    pub(crate) failures: BTreeMap<String, u64>,
    /// By the answer's `payload`.
    pub(crate) payloads: BTreeMap<String, u64>,
    /// By the answer's `clientId`: who the server was told the client is.
    pub(crate) client_ids: BTreeMap<String, u64>,
    /// By the header `l5d-proxy-error`.
    pub(crate) proxy_errors: BTreeMap<String, u64>,
    /// The longest time between two 200s, over all connections.
    pub(crate) longest_gap_ms: u64,
    pub(crate) seconds: f64,
}

#[derive(Deserialize)]
struct Answer {
    payload: String,
    #[serde(rename = "clientId")]
    client_id: Option<String>,
}

impl Tally {
    /// How many requests got this status.
    pub(crate) fn status(&self, code: u16) -> u64 {
        self.statuses.get(&code).copied().unwrap_or(0)
    }

    /// Requests that got no answer, or one other than 200.
    pub(crate) fn failed(&self) -> u64 {
        self.requests - self.status(200)
    }

    /// Counts one answer. A body that is not the demo server's counts by its status alone.
    pub(super) fn answered(&mut self, status: u16, proxy_error: Option<&str>, body: &[u8]) {
        self.requests += 1;
        *self.statuses.entry(status).or_default() += 1;
        if let Some(error) = proxy_error {
            *self.proxy_errors.entry(error.to_owned()).or_default() += 1;
        }
        if let Ok(answer) = serde_json::from_slice::<Answer>(body) {
            *self.payloads.entry(answer.payload).or_default() += 1;
            *self.client_ids.entry(answer.client_id.unwrap_or_else(|| "none".to_owned())).or_default() += 1;
        }
    }

    /// Counts one request without an answer.
    pub(super) fn failed_with(&mut self, why: String) {
        self.requests += 1;
        *self.failures.entry(why).or_default() += 1;
    }

    /// Adds another's counts.
    pub(crate) fn add(&mut self, other: Self) {
        fn merge<K: Ord>(into: &mut BTreeMap<K, u64>, from: BTreeMap<K, u64>) {
            for (key, count) in from {
                *into.entry(key).or_default() += count;
            }
        }
        self.requests += other.requests;
        merge(&mut self.statuses, other.statuses);
        merge(&mut self.failures, other.failures);
        merge(&mut self.payloads, other.payloads);
        merge(&mut self.client_ids, other.client_ids);
        merge(&mut self.proxy_errors, other.proxy_errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_failures_add_up() {
        let mut tally = Tally::default();
        tally.answered(200, None, br#"{"payload":"a","clientId":null,"requestUID":"1"}"#);
        tally.answered(403, Some("not authorized"), b"");
        let mut other = Tally::default();
        other.answered(200, None, br#"{"payload":"a","clientId":"spiffe://td/x"}"#);
        other.failed_with("reset".to_owned());
        tally.add(other);
        assert_eq!((tally.requests, tally.status(200), tally.failed()), (4, 2, 2));
        assert_eq!(tally.payloads["a"], 2);
        assert_eq!(tally.client_ids.keys().collect::<Vec<_>>(), ["none", "spiffe://td/x"]);
        assert_eq!(tally.proxy_errors["not authorized"], 1);
        let json = serde_json::to_string(&tally).unwrap();
        assert_eq!(serde_json::from_str::<Tally>(&json).unwrap(), tally);
    }
}
