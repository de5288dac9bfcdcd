//! Header changes of filters, as far as they may go.

use super::InvalidFilter;
use outrigger_model::HeaderModifier;
use std::sync::Arc;

/// Whether only a proxy may change the field: it frames the message, concerns one hop, chooses the host or is ours (A.1.9).
pub fn is_protected(name: &str) -> bool {
    const NAMES: [&str; 14] = [
        "connection",
        "content-length",
        "host",
        "http2-settings",
        "keep-alive",
        "l5d-client-id",
        "l5d-orig-proto",
        "l5d-proxy-connection",
        "l5d-proxy-error",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    NAMES.iter().any(|protected| protected.eq_ignore_ascii_case(name))
}

/// The changes that may be made; the names of the others are added to `ignored`.
pub(super) fn check(headers: &HeaderModifier, ignored: &mut Vec<Arc<str>>) -> Result<HeaderModifier, InvalidFilter> {
    let mut allowed = |name: &Arc<str>| {
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(InvalidFilter::HeaderName(name.clone()));
        }
        let protected = is_protected(name);
        if protected {
            ignored.push(name.clone());
        }
        Ok(!protected)
    };
    let mut pairs = |pairs: &[(Arc<str>, Arc<str>)]| {
        let mut kept = Vec::new();
        for (name, value) in pairs {
            if !value.bytes().all(|c| c == b'\t' || (c >= b' ' && c != 0x7f)) {
                return Err(InvalidFilter::HeaderValue(name.clone()));
            }
            if allowed(name)? {
                kept.push((name.clone(), value.clone()));
            }
        }
        Ok(kept)
    };
    let (add, set) = (pairs(&headers.add)?, pairs(&headers.set)?);
    let mut remove = Vec::new();
    for name in &headers.remove {
        if allowed(name)? {
            remove.push(name.clone());
        }
    }
    Ok(HeaderModifier { set, add, remove })
}

/// RFC 9110 §5.6.2.
fn is_token(c: u8) -> bool {
    c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c)
}

/// The fields after the changes, made in the order add, set, remove.
pub fn modified<'a>(
    fields: impl Iterator<Item = (&'a str, &'a [u8])>,
    modifiers: &'a [HeaderModifier],
) -> Vec<(&'a str, &'a [u8])> {
    let mut fields: Vec<_> = fields.collect();
    for HeaderModifier { set, add, remove } in modifiers {
        let pair = |(name, value): &'a (Arc<str>, Arc<str>)| (&**name, value.as_bytes());
        fields.extend(add.iter().map(pair));
        for one in set {
            fields.retain(|(name, _)| !name.eq_ignore_ascii_case(&one.0));
            fields.push(pair(one));
        }
        fields.retain(|(name, _)| !remove.iter().any(|removed| removed.eq_ignore_ascii_case(name)));
    }
    fields
}
