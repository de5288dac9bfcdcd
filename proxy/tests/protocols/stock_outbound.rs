//! Our inbound proxy before a stock outbound one, which carries HTTP/1 in HTTP/2.

use super::peer::{STRANGER, Session, connect, header};
use crate::support::*;
use http::{Request, Version};
use hyper::client::conn::http2::SendRequest;
use outrigger_mtls::Alpn;
use std::io::{self, Read, Write};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PORT: u16 = 8080;

/// The two ways in: the proxy's own port, behind a header, and the application's port, where the protocol is detected.
#[derive(Debug, Clone, Copy)]
enum Door {
    Header,
    Transparent,
}

const DOORS: [Door; 2] = [Door::Header, Door::Transparent];

async fn enter(mesh: &Mesh, door: Door) -> SendRequest<Body> {
    match door {
        Door::Header => {
            let mut connected = connect(mesh, 4143, Alpn::TransportHeader).await;
            assert!(connected.transport_header, "negotiated");
            connected.stream.write_all(&header(PORT, Session::Http2)).await.unwrap();
            http2(connected.stream).await
        }
        Door::Transparent => {
            let connected = connect(mesh, PORT, Alpn::TransportHeader).await;
            assert!(!connected.transport_header, "an application's port negotiates none");
            http2(connected.stream).await
        }
    }
}

/// Answers every head by the same bytes, and ends if they say so.
fn saying(answer: &'static str) -> impl Fn(&mut Connection) -> io::Result<()> {
    move |connection| {
        let (mut seen, mut bytes) = (Vec::new(), [0; 4096]);
        loop {
            match connection.read(&mut bytes)? {
                0 => return Ok(()),
                n => seen.extend_from_slice(&bytes[..n]),
            }
            if seen.ends_with(b"\r\n\r\n") {
                seen.clear();
                connection.write_all(answer.as_bytes())?;
                if answer.contains("close") {
                    return Ok(());
                }
            }
        }
    }
}

fn orig_proto(value: &str) -> Request<Body> {
    Request::get("http://a.example/x?y").header("l5d-orig-proto", value).body(whole("")).unwrap()
}

/// A head's request line, and its fields in order of their names.
fn head(received: &str) -> (String, Vec<String>) {
    let mut lines = received.trim_end().lines().map(|line| line.to_ascii_lowercase());
    let first = lines.next().unwrap_or_default();
    let mut fields: Vec<_> = lines.collect();
    fields.sort();
    (first, fields)
}

#[test]
fn a_1_8_http1_in_http2_arrives_as_the_http1_that_it_was() {
    const ANSWER: &str =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nkeep-alive: x\r\nx: y\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let mesh = Mesh::start();
    let app = mesh.server.serve(PORT, saying(ANSWER));
    let mut seen = 0;
    run(async {
        for door in DOORS {
            let mut client = enter(&mesh, door).await;
            for (value, line) in [
                ("HTTP/1.1", "get /x?y http/1.1"),
                ("HTTP/1.1; absolute-form", "get http://a.example/x?y http/1.1"),
                ("HTTP/1.0", "get /x?y http/1.0"),
                ("HTTP/1.0; absolute-form", "get http://a.example/x?y http/1.0"),
            ] {
                let response = client.send_request(orig_proto(value)).await.unwrap();
                assert_eq!(
                    (response.status().as_u16(), response.version()),
                    (200, Version::HTTP_2),
                    "{door:?} {value}"
                );
                let headers = response.headers().clone();
                assert_eq!(headers["l5d-orig-proto"], "HTTP/1.1", "{door:?} {value}");
                assert_eq!(headers["x"], "y");
                for hop in ["transfer-encoding", "keep-alive", "connection"] {
                    assert!(!headers.contains_key(hop), "{door:?} {value}: {hop}");
                }
                assert_eq!(collect(response.into_body()).await.unwrap().0, "ok");
                let received = app.received();
                let id = format!("l5d-client-id: {STRANGER}");
                let expected = (line.to_owned(), vec!["host: a.example".to_owned(), id]);
                assert_eq!(head(&received[seen..]), expected, "{door:?} {value}");
                seen = received.len();
            }
        }
    });
}

#[test]
fn a_1_8_a_body_keeps_its_length_and_none_is_announced_where_there_is_none() {
    let mesh = Mesh::start();
    let app = mesh.server.serve(PORT, http);
    let mut seen = 0;
    let mut arrived = || {
        let received = app.received();
        let text = received[seen..].to_owned();
        seen = received.len();
        text
    };
    run(async {
        for door in DOORS {
            let mut client = enter(&mesh, door).await;
            let post = || Request::post("http://a.example/").header("l5d-orig-proto", "HTTP/1.1");
            let response = client.send_request(post().header("content-length", 5).body(whole("hello")).unwrap()).await;
            assert_eq!(response.unwrap().status(), 200);
            let text = arrived();
            assert!(text.contains("content-length: 5\r\n") && text.ends_with("\r\n\r\nhello"), "{door:?}: {text}");
            assert!(!text.contains("transfer-encoding"), "{door:?}: {text}");

            let response = client.send_request(post().body(whole("")).unwrap()).await;
            assert_eq!(response.unwrap().status(), 200);
            assert!(!arrived().contains("transfer-encoding"), "{door:?}");
            let response = client.send_request(post().header("content-length", 0).body(whole("")).unwrap()).await;
            assert_eq!(response.unwrap().status(), 200);
            assert!(arrived().contains("content-length: 0\r\n"), "{door:?}");
        }
    });
}

#[test]
fn a_1_8_responses_without_a_body_and_head_come_back() {
    let mesh = Mesh::start();
    let _app = mesh.server.serve(PORT, saying("HTTP/1.1 304 Not Modified\r\ncontent-length: 500\r\n\r\n"));
    let _other = mesh.server.serve(PORT + 1, saying("HTTP/1.0 200 OK\r\nconnection: close\r\n\r\nuntil the end"));
    run(async {
        for door in DOORS {
            let mut client = enter(&mesh, door).await;
            let response = client.send_request(orig_proto("HTTP/1.1")).await.unwrap();
            assert_eq!(
                (response.status().as_u16(), &response.headers()["content-length"]),
                (304, &"500".parse().unwrap())
            );
            assert_eq!(collect(response.into_body()).await.unwrap().0, "");
        }
        let mut connected = connect(&mesh, 4143, Alpn::TransportHeader).await;
        connected.stream.write_all(&header(PORT + 1, Session::Http2)).await.unwrap();
        let response = http2(connected.stream).await.send_request(orig_proto("HTTP/1.0")).await.unwrap();
        assert_eq!(response.headers()["l5d-orig-proto"], "HTTP/1.0");
        assert_eq!(collect(response.into_body()).await.unwrap().0, "until the end");
    });
}

#[test]
fn a_1_8_a_value_that_is_none_of_the_four_leaves_the_request_http2() {
    let mesh = Mesh::start();
    let _app = Http2App::start(&mesh.server.host, PORT, |request| async move {
        assert!(!request.headers().contains_key("l5d-orig-proto"), "it never leaks");
        Ok(http::Response::new(whole(format!("{:?}", request.version()))))
    });
    run(async {
        for door in DOORS {
            let mut client = enter(&mesh, door).await;
            let response = client.send_request(orig_proto("HTTP/3")).await.unwrap();
            assert!(!response.headers().contains_key("l5d-orig-proto"));
            assert_eq!(collect(response.into_body()).await.unwrap().0, "HTTP/2.0", "{door:?}");
        }
    });
}

#[test]
fn a_1_8_an_application_that_breaks_off_is_a_502_and_never_a_reset() {
    let mesh = Mesh::start();
    // Unread bytes make the kernel send a reset.
    let _app = mesh.server.serve(PORT, |connection| connection.stream.read_exact(&mut [0]));
    let _silent = mesh.server.serve(PORT + 1, |connection| connection.read(&mut [0; 4096]).map(drop));
    run(async {
        for door in DOORS {
            for time in 0..3 {
                // The refusal may end the connection, once it is said.
                let mut client = enter(&mesh, door).await;
                let response = client.send_request(orig_proto("HTTP/1.1")).await;
                let response = response.unwrap_or_else(|error| panic!("{door:?}, time {time}: {error:?}"));
                assert_eq!(response.status(), 502, "{door:?}, time {time}");
                assert!(response.headers().contains_key("l5d-proxy-error"), "a peer is told why");
            }
        }
        for port in [PORT + 1, PORT + 2] {
            let mut connected = connect(&mesh, 4143, Alpn::TransportHeader).await;
            connected.stream.write_all(&header(port, Session::Http2)).await.unwrap();
            let response = http2(connected.stream).await.send_request(orig_proto("HTTP/1.1")).await.unwrap();
            assert_eq!(response.status(), 502, "ended without an answer, or not there");
        }
    });
}

#[test]
fn a_1_8_upgrade_and_connect_come_as_http1_of_their_own() {
    const GRANTED: &str = "HTTP/1.1 101 Go\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n";
    let mesh = Mesh::start();
    let app = mesh.server.serve(PORT, |connection| {
        let _request = connection.read(&mut [0; 4096])?;
        connection.write_all(GRANTED.as_bytes())?;
        echo(connection)
    });
    let _proxy = mesh.server.serve(PORT + 1, |connection| {
        let _request = connection.read(&mut [0; 4096])?;
        connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        echo(connection)
    });
    let upgrade = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n";
    run(async {
        for (port, request, answer) in [
            (PORT, upgrade, GRANTED),
            (PORT + 1, "CONNECT b.example:80 HTTP/1.1\r\nhost: b.example:80\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"),
        ] {
            for door in DOORS {
                let mut stream = match door {
                    Door::Header => {
                        let mut connected = connect(&mesh, 4143, Alpn::TransportHeader).await;
                        connected.stream.write_all(&header(port, Session::Http1)).await.unwrap();
                        connected.stream
                    }
                    Door::Transparent => connect(&mesh, port, Alpn::None).await.stream,
                };
                stream.write_all(request.as_bytes()).await.unwrap();
                let mut bytes = vec![0; answer.len()];
                stream.read_exact(&mut bytes).await.unwrap();
                assert_eq!(String::from_utf8_lossy(&bytes), answer, "{door:?}");
                stream.write_all(b"\0raw").await.unwrap();
                let mut echoed = [0; 4];
                stream.read_exact(&mut echoed).await.unwrap();
                assert_eq!(&echoed, b"\0raw", "{door:?}");
            }
        }
    });
    assert!(app.received().contains(&format!("l5d-client-id: {STRANGER}")));
}

#[test]
fn a_1_3_bytes_come_behind_a_header_without_a_session() {
    let mesh = Mesh::start();
    let app = mesh.server.serve(PORT, echo);
    run(async {
        let mut connected = connect(&mesh, 4143, Alpn::TransportHeader).await;
        // Header and bytes in pieces that have nothing to do with their borders.
        let bytes = [header(PORT, Session::None), b"GET / HTTP/1.1\r\n\r\n".to_vec()].concat();
        for piece in bytes.chunks(10) {
            connected.stream.write_all(piece).await.unwrap();
            connected.stream.flush().await.unwrap();
        }
        let mut echoed = [0; 18];
        connected.stream.read_exact(&mut echoed).await.unwrap();
        assert_eq!(&echoed, b"GET / HTTP/1.1\r\n\r\n");
    });
    assert_eq!(app.received(), "GET / HTTP/1.1\r\n\r\n", "nobody has looked for HTTP");
}
