//! The proxy's own answers, in HTTP and in gRPC's form (A.1.10).

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use outrigger_proxy_core::reply::{Audience, Reply};

/// Whether the client awaits a gRPC status.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Answers a refused request.
pub(crate) fn refuse(reply: &Reply<'_>, grpc: bool, audience: Audience) -> Response<()> {
    let mut response = Response::new(());
    let headers = response.headers_mut();
    let mut put = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    put("content-length", "0");
    if audience.is_told_why() {
        put("l5d-proxy-error", reply.message);
    }
    if audience.is_told_to_close(reply) {
        put("l5d-proxy-connection", "close");
    }
    if grpc {
        put("content-type", "application/grpc");
        put("grpc-status", &reply.grpc_status.to_string());
        if audience.is_told_why() {
            put("grpc-message", reply.message);
        }
    } else {
        if let Some(location) = reply.location {
            put("location", location);
        }
        *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY);
    }
    response
}
