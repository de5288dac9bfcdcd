//! HTTP/2 with prior knowledge: requests, streams and their resets.

use super::ways::{Way, Ways};
use crate::support::*;
use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Request, Response, Version};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use std::error::Error;
use std::future::pending;
use std::sync::mpsc;
use std::time::Duration;

/// On every way, with an application of its own: a client's HTTP/2 connection.
fn each<R>(
    answer: impl Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    mut test: impl AsyncFnMut(Way, SendRequest<Body>),
) where
    R: Future<Output = Result<Response<Body>, BoxError>> + Send + 'static,
{
    let ways = Ways::start();
    for way in Way::ALL {
        let port = ways.next_port();
        let _app = Http2App::start(&ways.mesh.server.host, port, answer.clone());
        let stream = ways.connect(way, ways.target(way, port, false));
        run(async { test(way, http2(asynchronous(stream)).await).await });
    }
}

/// The HTTP/2 error code under an error.
fn reason(error: &(dyn Error + 'static)) -> Option<Reason> {
    match error.downcast_ref::<h2::Error>() {
        Some(error) => error.reason(),
        None => error.source().and_then(reason),
    }
}

fn get() -> Request<Body> {
    Request::get("http://web/").body(whole("")).unwrap()
}

/// Tells all that it has seen, by its response.
async fn mirror(request: Request<Incoming>) -> Result<Response<Body>, BoxError> {
    let (head, body) = request.into_parts();
    let (body, trailers) = collect(body).await?;
    let mut names: Vec<_> =
        head.headers.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
    names.sort();
    let seen =
        format!("{} {} [{}] {body} {:?}", head.method, head.uri, names.join(","), trailers.map(|t| t["x-sum"].clone()));
    let (frames, back) = streamed();
    tokio::spawn(async move {
        let _ = frames.send(Ok(Frame::data(seen.into()))).await;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-back", "1".parse().unwrap());
        let _ = frames.send(Ok(Frame::trailers(trailers))).await;
    });
    Ok(Response::builder().status(202).header("x-reply", "a  b").body(back)?)
}

/// What the application says of a client.
fn id(way: Way) -> String {
    if way.is_pair() { format!("l5d-client-id={},", CLIENT.id) } else { String::new() }
}

#[test]
fn http2_requests_and_responses_pass_with_their_trailers() {
    each(mirror, async |way, mut client| {
        let (frames, body) = streamed();
        let request = Request::put("http://web.example:81/x?y").header("te", "trailers").header("x-a", "b").body(body);
        let response = client.send_request(request.unwrap());
        frames.send(Ok(Frame::data("hello".into()))).await.unwrap();
        let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "7".parse().unwrap())]);
        frames.send(Ok(Frame::trailers(trailers))).await.unwrap();
        drop(frames);
        let (head, body) = response.await.unwrap().into_parts();
        assert_eq!((head.status.as_u16(), head.version), (202, Version::HTTP_2), "{way:?}");
        assert_eq!(
            head.headers,
            HeaderMap::from_iter([("x-reply".parse().unwrap(), "a  b".parse().unwrap())]),
            "{way:?}"
        );
        let (seen, trailers) = collect(body).await.unwrap();
        let id = id(way);
        let expected = format!("PUT http://web.example:81/x?y [{id}te=trailers,x-a=b] hello Some(\"7\")");
        assert_eq!(seen, expected, "{way:?}");
        assert_eq!(trailers.unwrap()["x-back"], "1", "{way:?}");
    });
}

#[test]
fn http2_requests_without_an_authority_pass() {
    each(mirror, async |way, mut client| {
        // A request that names no authority is what HTTP/1 proxies make (RFC 9113 §8.3.1).
        let mut request = Request::get("/x").version(Version::HTTP_11).body(whole("")).unwrap();
        request.headers_mut().insert("host", "web.example".parse().unwrap());
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), 202, "{way:?}: {:?}", response.headers());
        let (seen, _) = collect(response.into_body()).await.unwrap();
        let (host, id) = ("host=web.example", id(way).replace(',', ""));
        assert!(seen.starts_with("GET /x ") && seen.contains(host) && seen.contains(&id), "{way:?}: {seen}");
    });
}

#[test]
fn many_http2_requests_share_a_connection() {
    each(mirror, async |way, client| {
        let ask = |number: usize| {
            let mut client = client.clone();
            tokio::spawn(async move {
                let request = Request::post(format!("http://web/{number}")).body(whole(number.to_string()));
                let response = client.send_request(request.unwrap()).await.unwrap();
                let (seen, _) = collect(response.into_body()).await.unwrap();
                assert!(seen.starts_with(&format!("POST http://web/{number} ")), "{seen}");
            })
        };
        for asked in (0..50).map(ask).collect::<Vec<_>>() {
            assert!(asked.await.is_ok(), "{way:?}");
        }
    });
}

#[test]
fn a_1_8_a_reset_by_an_http2_application_reaches_an_http2_client() {
    let answer = |request: Request<Incoming>| async move {
        let code = if request.uri().path() == "/calm" { Reason::ENHANCE_YOUR_CALM } else { Reason::CANCEL };
        Err(h2::Error::from(code).into())
    };
    each(answer, async |way, mut client| {
        for (path, code) in [("/calm", Reason::ENHANCE_YOUR_CALM), ("/cancel", Reason::CANCEL)] {
            let request = Request::get(format!("http://web{path}")).body(whole("")).unwrap();
            let error = client.send_request(request).await.expect_err("there is no response");
            assert_eq!(reason(&error), Some(code), "{way:?}: {error:?}");
        }
    });
}

#[test]
fn a_1_8_a_reset_in_the_middle_of_a_body_reaches_the_other_side() {
    let answer = |_| async {
        let (frames, body) = streamed();
        tokio::spawn(async move {
            let _ = frames.send(Ok(Frame::data(Bytes::from_static(b"half")))).await;
            // Data and reset in one go might arrive as the reset alone.
            tokio::time::sleep(Duration::from_millis(200)).await;
            let _ = frames.send(Err(h2::Error::from(Reason::ENHANCE_YOUR_CALM).into())).await;
        });
        Ok(Response::new(body))
    };
    each(answer, async |way, mut client| {
        let response = client.send_request(get()).await.unwrap();
        let error = collect(response.into_body()).await.expect_err("the body has no end");
        assert_eq!(reason(&error), Some(Reason::ENHANCE_YOUR_CALM), "{way:?}: {error:?}");
    });
}

#[test]
fn a_1_8_a_client_that_resets_its_stream_is_noticed_by_the_application() {
    struct OnDrop(mpsc::Sender<()>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let (came, arrivals) = mpsc::channel();
    let (went, departures) = mpsc::channel();
    let answer = move |request: Request<Incoming>| {
        let (came, went) = (came.clone(), OnDrop(went.clone()));
        async move {
            let _held = (request, went);
            came.send(())?;
            pending().await
        }
    };
    each(answer, async |way, mut client| {
        let response = tokio::spawn(client.send_request(get()));
        tokio::task::block_in_place(|| arrivals.recv_timeout(PATIENCE)).unwrap();
        response.abort();
        let noticed = tokio::task::block_in_place(|| departures.recv_timeout(PATIENCE));
        assert!(noticed.is_ok(), "{way:?}: the application still works for nobody");
    });
}
