//! The inbound HTTP/2 path in process: hyper as client and as application.

use crate::http::tests::{Rig, policy, run};
use crate::http2_client::Local;
use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use outrigger_model::{DefaultPolicy, Peer};
use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

pub(crate) type Seen = Rc<RefCell<Vec<(Version, http::HeaderMap, String)>>>;
type Reply = StreamBody<futures::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

/// An application that notes what it is asked and answers with a body and trailers.
pub(crate) fn application(rig: &Rig, http1: bool) -> Seen {
    let seen = Seen::default();
    let (listener, noting) = (rig.application.clone(), seen.clone());
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let noting = noting.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                noting.borrow_mut().push((request.version(), request.headers().clone(), request.uri().to_string()));
                async move {
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    Ok::<_, Infallible>(answer(body))
                }
            });
            if http1 {
                tokio::task::spawn_local(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            } else {
                let server = hyper::server::conn::http2::Builder::new(Local);
                tokio::task::spawn_local(server.serve_connection(TokioIo::new(stream), service));
            }
        }
    });
    seen
}

fn answer(body: Bytes) -> Response<Reply> {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let frames = vec![Ok(Frame::data(body)), Ok(Frame::trailers(trailers))];
    Response::new(StreamBody::new(futures::stream::iter(frames)))
}

pub(crate) async fn client(rig: &Rig) -> SendRequest<Full<Bytes>> {
    let (stream, _) = rig.connect_http2().await;
    let (sender, connection) =
        hyper::client::conn::http2::Builder::new(Local).handshake(TokioIo::new(stream)).await.unwrap();
    tokio::task::spawn_local(connection);
    sender
}

pub(crate) fn request(headers: &[(&str, &str)], body: &'static str) -> Request<Full<Bytes>> {
    let mut builder = Request::post("http://a.example/x?y");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap()
}

#[test]
fn a_grpc_call_keeps_its_trailers_and_names_its_client() {
    run(async {
        let mut rig = Rig::new().await;
        rig.peer = Some(Peer::from_sans(&"td".parse().unwrap(), &["spiffe://td/vm"], &[]).unwrap());
        let seen = application(&rig, false);
        let mut sender = client(&rig).await;
        let call =
            request(&[("content-type", "application/grpc"), ("l5d-client-id", "forged"), ("te", "trailers")], "hi");
        let response = sender.send_request(call).await.unwrap();
        let collected = response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(collected.to_bytes(), "hi");
        let (version, headers, uri) = seen.borrow()[0].clone();
        assert_eq!((version, uri.as_str()), (Version::HTTP_2, "http://a.example/x?y"));
        assert_eq!(headers["l5d-client-id"], "spiffe://td/vm");
        assert_eq!(headers["te"], "trailers");
    });
}

#[test]
fn a_1_8_http1_in_http2_becomes_http1_again() {
    run(async {
        let rig = Rig::new().await;
        let seen = application(&rig, true);
        let mut sender = client(&rig).await;
        let response = sender.send_request(request(&[("l5d-orig-proto", "HTTP/1.1")], "hi")).await.unwrap();
        assert_eq!(response.headers()["l5d-orig-proto"], "HTTP/1.1");
        assert!(!response.headers().contains_key("transfer-encoding"));
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hi");
        let (version, headers, uri) = seen.borrow()[0].clone();
        assert_eq!((version, uri.as_str()), (Version::HTTP_11, "/x?y"));
        assert_eq!(headers["host"], "a.example");
        assert!(!headers.contains_key("l5d-orig-proto"), "the header never reaches the application");
    });
}

#[test]
fn a_1_10_refusals_speak_the_clients_protocol() {
    run(async {
        let mut rig = Rig::new().await;
        rig.peer = Some(Peer::from_sans(&"td".parse().unwrap(), &["spiffe://td/vm"], &[]).unwrap());
        let seen = application(&rig, false);
        rig.policies.send_replace(policy(DefaultPolicy::Deny));
        let mut sender = client(&rig).await;
        let denied = sender.send_request(request(&[], "")).await.unwrap();
        assert_eq!(denied.status(), StatusCode::FORBIDDEN);
        assert!(denied.headers().contains_key("l5d-proxy-error"));
        let grpc = sender.send_request(request(&[("content-type", "application/grpc+proto")], "")).await.unwrap();
        assert_eq!((grpc.status(), &grpc.headers()["grpc-status"]), (StatusCode::OK, &"7".parse().unwrap()));
        assert_eq!(grpc.headers()["content-type"], "application/grpc");
        assert!(grpc.headers().contains_key("grpc-message"));
        assert!(seen.borrow().is_empty(), "neither reached the application");
        rig.policies.send_replace(policy(DefaultPolicy::AllUnauthenticated));
        assert_eq!(sender.send_request(request(&[], "")).await.unwrap().status(), StatusCode::OK);
    });
}

#[test]
fn a_burst_of_first_requests_opens_one_connection() {
    run(async {
        let rig = Rig::new().await;
        let seen = application(&rig, false);
        let mut sender = client(&rig).await;
        let calls: Vec<_> = (0..20).map(|_| sender.send_request(request(&[], "x"))).collect();
        for response in futures::future::join_all(calls).await {
            assert_eq!(response.unwrap().status(), StatusCode::OK);
        }
        assert_eq!(seen.borrow().len(), 20);
        assert_eq!(rig.application.accepted(), 1);
    });
}

#[test]
fn an_upstream_that_is_gone_is_a_502_not_a_reset() {
    run(async {
        let rig = Rig::new().await;
        rig.application.close();
        let mut sender = client(&rig).await;
        let response = sender.send_request(request(&[], "")).await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    });
}

#[test]
fn a_6_requests_beyond_the_limit_are_refused_at_once() {
    run(async {
        let rig = Rig::with(&[("INBOUND_MAX_IN_FLIGHT", "1")]).await;
        let mut sender = client(&rig).await;
        let waiting = tokio::task::spawn_local(sender.send_request(request(&[], "")));
        let (held, _) = rig.application.accept().await.unwrap();
        let shed = sender.send_request(request(&[], "")).await.unwrap();
        assert_eq!(shed.status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(held);
        assert_eq!(waiting.await.unwrap().unwrap().status(), StatusCode::BAD_GATEWAY);
    });
}

/// An application whose connection breaks in the middle of its first answer.
fn breaking(rig: &Rig) {
    let listener = rig.application.clone();
    tokio::task::spawn_local(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let begun = Rc::new(tokio::sync::Notify::new());
        let telling = Rc::clone(&begun);
        let service = service_fn(move |_: Request<Incoming>| {
            let telling = Rc::clone(&telling);
            let first = futures::stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"begin")))]);
            let never = futures::stream::once(async move {
                telling.notify_one();
                std::future::pending().await
            });
            async { Ok::<_, Infallible>(Response::new(StreamBody::new(futures::StreamExt::chain(first, never)))) }
        });
        let server = hyper::server::conn::http2::Builder::new(Local);
        let serving = server.serve_connection(TokioIo::new(stream), service);
        let broken = async {
            begun.notified().await;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        };
        tokio::select! {
            _ = serving => {}
            () = broken => {}
        }
    });
}

#[test]
fn a_1_10_a_grpc_call_whose_server_is_lost_ends_in_trailers() {
    run(async {
        for (content_type, status) in [("application/grpc", Some("14")), ("text/plain", None)] {
            let rig = Rig::new().await;
            breaking(&rig);
            let mut sender = client(&rig).await;
            let response = sender.send_request(request(&[("content-type", content_type)], "")).await.unwrap();
            let mut body = response.into_body();
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "begin");
            let end = body.frame().await.unwrap();
            let trailers = end.ok().and_then(|frame| frame.into_trailers().ok());
            assert_eq!(
                trailers.map(|trailers| trailers["grpc-status"].clone()).as_ref().map(|v| v.to_str().unwrap()),
                status
            );
        }
    });
}
