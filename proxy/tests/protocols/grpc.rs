//! gRPC from a client through both proxies to an application and back.

use crate::support::*;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use std::sync::Arc;
use tokio::sync::{Notify, mpsc};

const PORT: u16 = 8080;

fn call(method: &str) -> http::request::Builder {
    let uri = format!("http://greeter.mixed-env.svc.cluster.local/greeter.Greeter/{method}");
    Request::post(uri).header("content-type", "application/grpc").header("te", "trailers")
}

/// A message in gRPC's frame.
fn message(text: &str) -> Vec<u8> {
    [&[0], &(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat()
}

fn trailers(status: &str) -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())])
}

fn reply(body: Body) -> Response<Body> {
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

/// A client before a service of both members, in either transport mode.
fn each<R>(
    answer: impl Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    mut test: impl AsyncFnMut(SendRequest<Body>),
) where
    R: Future<Output = Result<Response<Body>, BoxError>> + Send + 'static,
{
    let mesh = Mesh::start();
    let _app = Http2App::start(&mesh.server.host, PORT, answer);
    for (name, endpoint) in [("new", meshed(&SERVER, PORT)), ("old", transparent(&SERVER, PORT))] {
        let service = mesh.service(name, &[endpoint]);
        let stream = mesh.client.connect(service.addr).unwrap();
        run(async { test(http2(asynchronous(stream)).await).await });
    }
}

#[test]
fn a_1_8_a_unary_call_is_answered_and_its_client_is_named() {
    let answer = |request: Request<Incoming>| async move {
        let (head, body) = request.into_parts();
        let (asked, _) = collect(body).await?;
        assert_eq!(head.headers["l5d-client-id"], CLIENT.id);
        assert_eq!(head.headers["te"], "trailers");
        assert_eq!(head.uri.authority().unwrap(), "greeter.mixed-env.svc.cluster.local");
        let (frames, body) = streamed();
        tokio::spawn(async move {
            let _ = frames.send(Ok(Frame::data(asked.into()))).await;
            let _ = frames.send(Ok(Frame::trailers(trailers("0")))).await;
        });
        Ok(reply(body))
    };
    each(answer, async |mut client| {
        let response = client.send_request(call("Echo").body(whole(message("hello"))).unwrap()).await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/grpc");
        let (body, trailers) = collect(response.into_body()).await.unwrap();
        assert_eq!(body.as_bytes(), message("hello"));
        assert_eq!(trailers.unwrap()["grpc-status"], "0");
    });
}

#[test]
fn a_1_8_a_streams_messages_arrive_one_by_one_both_ways() {
    // Each message is only sent once the one before it has been answered.
    let answer = |request: Request<Incoming>| async move {
        let (frames, body) = streamed();
        tokio::spawn(async move {
            let mut asked = request.into_body();
            while let Some(Ok(frame)) = asked.frame().await {
                let _ = frames.send(Ok(frame)).await;
            }
            let _ = frames.send(Ok(Frame::trailers(trailers("0")))).await;
        });
        Ok(reply(body))
    };
    each(answer, async |mut client| {
        let (frames, body) = streamed();
        let mut body = client.send_request(call("Chat").body(body).unwrap()).await.unwrap().into_body();
        for text in ["one", "two", "three"] {
            frames.send(Ok(Frame::data(message(text).into()))).await.unwrap();
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), message(text));
        }
        drop(frames);
        assert_eq!(collect(body).await.unwrap().1.unwrap()["grpc-status"], "0");
    });
}

#[test]
fn a_1_8_an_error_in_trailers_alone_arrives() {
    let answer = |_| async {
        let mut response = reply(whole(""));
        response.headers_mut().insert("grpc-status", "5".parse()?);
        response.headers_mut().insert("grpc-message", "no such greeter".parse()?);
        Ok(response)
    };
    each(answer, async |mut client| {
        let response = client.send_request(call("Missing").body(whole(message(""))).unwrap()).await.unwrap();
        assert_eq!((response.status().as_u16(), &response.headers()["grpc-status"]), (200, &"5".parse().unwrap()));
        assert_eq!(response.headers()["grpc-message"], "no such greeter");
        assert!(response.body().is_end_stream(), "headers and end in one frame");
    });
}

#[test]
fn a_1_8_a_call_that_the_client_cancels_is_cancelled_at_the_server() {
    let cancelled = Arc::new(Notify::new());
    let answer = {
        let cancelled = cancelled.clone();
        move |_| {
            let cancelled = cancelled.clone();
            async move {
                let (frames, body) = streamed();
                tokio::spawn(async move {
                    let _ = frames.send(Ok(Frame::data(message("first").into()))).await;
                    frames.closed().await;
                    cancelled.notify_one();
                });
                Ok(reply(body))
            }
        }
    };
    each(answer, async |mut client| {
        // The request has ended, and the answer is no longer awaited.
        let mut response = client.send_request(call("Watch").body(whole(message(""))).unwrap()).await.unwrap();
        assert!(response.body_mut().frame().await.is_some());
        drop(response);
        cancelled.notified().await;

        // The request was still going on.
        let (frames, body) = streamed();
        let mut response = client.send_request(call("Chat").body(body).unwrap()).await.unwrap();
        assert!(response.body_mut().frame().await.is_some());
        frames.send(Err(h2::Error::from(h2::Reason::CANCEL).into())).await.unwrap();
        cancelled.notified().await;
    });
}

#[test]
fn a_1_8_a_call_that_the_server_resets_is_no_complete_answer() {
    let (resets, mut when) = mpsc::channel::<()>(1);
    let when_to = Arc::new(Notify::new());
    let answer = {
        let when_to = when_to.clone();
        move |_| {
            let (when_to, resets) = (when_to.clone(), resets.clone());
            async move {
                let (frames, body) = streamed();
                tokio::spawn(async move {
                    let _ = frames.send(Ok(Frame::data(message("first").into()))).await;
                    when_to.notified().await;
                    let _ = frames.send(Err(h2::Error::from(h2::Reason::CANCEL).into())).await;
                    let _ = resets.send(()).await;
                });
                Ok(reply(body))
            }
        }
    };
    each(answer, async |mut client| {
        let mut response = client.send_request(call("Watch").body(whole(message(""))).unwrap()).await.unwrap();
        assert!(response.body_mut().frame().await.is_some_and(|frame| frame.is_ok()));
        when_to.notify_one();
        when.recv().await;
        let error = collect(response.into_body()).await.expect_err("neither trailers nor an end");
        assert!(format!("{error:?}").contains("CANCEL"), "{error:?}");
    });
}
