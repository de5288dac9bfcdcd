//! How many requests a second are served (A.3.4).

use super::authorization::identity_name;
use crate::InvalidMessage;
use crate::meta::{meta_from_proto, meta_to_proto};
use linkerd2_proxy_api::inbound::http_local_rate_limit::{Limit, Override, r#override::ClientIdentities};
use linkerd2_proxy_api::inbound::{HttpLocalRateLimit, Identity, proxy_protocol::Kind};
use outrigger_model::{Meta, RateLimit, RateOverride};
use std::num::NonZeroU32;

pub(super) fn limit_to_proto(limit: &RateLimit) -> HttpLocalRateLimit {
    let per_second = |limit: NonZeroU32| Limit { requests_per_second: limit.get() };
    let identities = |of: &RateOverride| of.clients.iter().map(|name| Identity { name: name.to_string() }).collect();
    let one = |of: &RateOverride| Override {
        limit: Some(per_second(of.limit)),
        clients: Some(ClientIdentities { identities: identities(of) }),
    };
    HttpLocalRateLimit {
        metadata: Some(meta_to_proto(&limit.meta)),
        total: limit.total.map(per_second),
        identity: limit.identity.map(per_second),
        overrides: limit.overrides.iter().map(one).collect(),
    }
}

/// A limit of zero requests is none, as Linkerd's proxy reads it.
pub(super) fn limit_from_proto(message: HttpLocalRateLimit) -> Result<RateLimit, InvalidMessage> {
    let per_second = |limit: Option<Limit>| limit.and_then(|limit| NonZeroU32::new(limit.requests_per_second));
    let one = |message: Override| {
        let clients = message.clients.unwrap_or_default().identities;
        let clients = clients.into_iter().map(|identity| identity_name(identity.name)).collect();
        Some(RateOverride { limit: per_second(message.limit)?, clients })
    };
    Ok(RateLimit {
        meta: match message.metadata {
            None => Meta::default_named("rate-limit"),
            metadata => meta_from_proto(metadata)?,
        },
        total: per_second(message.total),
        identity: per_second(message.identity),
        overrides: message.overrides.into_iter().filter_map(one).collect(),
    })
}

/// Takes the limit out of a protocol's message.
pub(super) fn take_limit(kind: &mut Kind) -> Option<HttpLocalRateLimit> {
    match kind {
        Kind::Detect(detect) => detect.http_local_rate_limit.take(),
        Kind::Http1(http1) => http1.local_rate_limit.take(),
        Kind::Http2(http2) => http2.local_rate_limit.take(),
        // Their messages have no room for one.
        Kind::Grpc(_) | Kind::Opaque(_) | Kind::Tls(_) => None,
    }
}
