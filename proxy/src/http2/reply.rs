//! The proxy's own answers, in HTTP and in gRPC's form (A.1.10).

use super::body::Body;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use outrigger_model::Refusal;
use outrigger_proxy_core::http1::{grpc_status, status};

/// Whether the client awaits a gRPC status.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Answers a refused request; `explain` adds why.
pub(crate) fn refuse(refusal: Refusal, grpc: bool, explain: bool) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let sentence = HeaderValue::from_static(refusal.sentence());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    if explain {
        headers.insert("l5d-proxy-error", sentence.clone());
    }
    if grpc {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from(grpc_status(refusal)));
        if explain {
            headers.insert("grpc-message", sentence);
        }
    } else {
        *response.status_mut() = StatusCode::from_u16(status(refusal).0).unwrap_or(StatusCode::BAD_GATEWAY);
    }
    response
}
