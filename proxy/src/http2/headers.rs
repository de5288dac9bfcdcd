//! Headers of HTTP/2 messages that a proxy takes off or changes.

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, header};
use outrigger_model::HeaderModifier;

/// Removes what only a proxy may set (A.1.9).
pub(super) fn strip(headers: &mut HeaderMap) {
    const NAMES: [&str; 6] = [
        "l5d-client-id",
        "l5d-dst-canonical",
        "l5d-orig-proto",
        "l5d-proxy-connection",
        "l5d-proxy-error",
        "l5d-require-id",
    ];
    for name in NAMES {
        headers.remove(name);
    }
}

/// HTTP/2 has none of these (RFC 9113 §8.2.2).
pub(super) fn hop_by_hop(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection"] {
        headers.remove(name);
    }
}

/// Makes the changes of a route's filters, in the order add, set, remove.
pub(super) fn change(headers: &mut HeaderMap, changes: &[HeaderModifier]) {
    let pair = |(name, value): &(_, std::sync::Arc<str>)| named(name).zip(HeaderValue::from_str(value).ok());
    for HeaderModifier { set, add, remove } in changes {
        for (name, value) in add.iter().filter_map(pair) {
            headers.append(name, value);
        }
        for (name, value) in set.iter().filter_map(pair) {
            headers.insert(name, value);
        }
        for name in remove.iter().filter_map(named) {
            headers.remove(name);
        }
    }
}

/// Filters were checked when they came, so that every name is one.
fn named(name: &std::sync::Arc<str>) -> Option<HeaderName> {
    name.parse().ok()
}
