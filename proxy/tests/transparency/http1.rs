//! HTTP/1 byte for byte: what is sent, what arrives, what is answered, what comes back.

use super::ways::{Path, Ways, receive, rest};
use crate::support::*;
use std::io::{self, Read, Write};

/// One exchange. On the way through two proxies the application also learns the client's identity.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    sends: &'static str,
    arrives: &'static str,
    answers: &'static str,
    returns: &'static str,
    /// The application ends its connection after the answer.
    closes: bool,
    /// The client's connection ends after the answer; otherwise the exchange is repeated on it.
    ends: bool,
}

const PLAIN: Case = Case {
    name: "a request and its response",
    sends: "GET /x?y=%20 HTTP/1.1\r\nHost: web\r\nUser-Agent: a  b\r\nCookie: a\r\ncookie: b\r\n\r\n",
    arrives: "GET /x?y=%20 HTTP/1.1\r\nHost: web\r\nUser-Agent: a  b\r\nCookie: a\r\ncookie: b\r\n\r\n",
    answers: "HTTP/1.1 200 Quite Fine\r\nContent-Length: 5\r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\nworld",
    returns: "HTTP/1.1 200 Quite Fine\r\nContent-Length: 5\r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\nworld",
    closes: false,
    ends: false,
};
const GET: &str = "GET / HTTP/1.1\r\nHost: web\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const OK_AND_CLOSE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nconnection: close\r\n\r\nok";

/// A request that arrives as it is sent.
const fn unchanged(name: &'static str, request: &'static str) -> Case {
    Case { name, sends: request, arrives: request, answers: OK, returns: OK, ..PLAIN }
}

/// A request that arrives as another.
const fn rewritten(name: &'static str, sends: &'static str, arrives: &'static str) -> Case {
    Case { name, sends, arrives, answers: OK, returns: OK, ..PLAIN }
}

/// A response to a GET that comes back as another.
const fn answered(name: &'static str, answers: &'static str, returns: &'static str) -> Case {
    Case { name, sends: GET, arrives: GET, answers, returns, ..PLAIN }
}

fn run(cases: &[Case]) {
    let ways = Ways::start();
    for &case in cases {
        ways.each(move |connection| application(&case, connection), |path| check(path, &case));
    }
}

/// Answers each request once its end has come.
fn application(case: &Case, connection: &mut Connection) -> io::Result<()> {
    let body = case.sends.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let end = if body.is_empty() { "\r\n\r\n" } else { body };
    let (mut seen, mut bytes) = (Vec::new(), [0; 4096]);
    loop {
        match connection.read(&mut bytes)? {
            0 => return Ok(()),
            n => seen.extend_from_slice(&bytes[..n]),
        }
        if seen.ends_with(end.as_bytes()) {
            connection.write_all(case.answers.as_bytes())?;
            seen.clear();
            if case.closes {
                return Ok(());
            }
        }
    }
}

fn check(path: &Path<'_>, case: &Case) {
    let what = format!("{}, {:?}", case.name, path.way);
    let mut client = path.connect();
    let times = if case.ends { 1 } else { 2 };
    for time in 1..=times {
        client.write_all(case.sends.as_bytes()).unwrap();
        assert_eq!(receive(&mut client, case.returns.len()), case.returns, "{what}: returned, time {time}");
    }
    if case.ends {
        assert!(ends(&mut client), "{what}: the connection does not end");
    } else {
        assert_eq!(rest(&mut client), "", "{what}: more than was answered");
    }
    assert_eq!(path.app.received(), path.with_client_id(case.arrives).repeat(times), "{what}: arrived");
}

#[test]
fn a_1_8_http1_passes_unchanged() {
    run(&[
        PLAIN,
        unchanged("an absolute target that differs from Host", "GET http://b.example/x HTTP/1.1\r\nHost: web\r\n\r\n"),
        unchanged("OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: web\r\n\r\n"),
        unchanged("a method of its own", "FROBNICATE / HTTP/1.1\r\nHost: web\r\n\r\n"),
        unchanged("an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n").with_empty_host(),
    ]);
}

impl Case {
    /// Whitespace around a value is no part of it (RFC 9110 §5.5).
    const fn with_empty_host(self) -> Self {
        Self { arrives: "GET / HTTP/1.1\r\nHost: \r\n\r\n", ..self }
    }
}

#[test]
fn a_1_9_what_concerns_one_hop_or_only_proxies_ends_there() {
    run(&[
        rewritten(
            "fields that Connection nominates",
            "GET / HTTP/1.1\r\nHost: web\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nX-Stays: 1\r\n\
             Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: web\r\nX-Stays: 1\r\n\r\n",
        ),
        answered(
            "fields that the response's Connection nominates",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nX-Stays: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Stays: 1\r\n\r\n",
        ),
        rewritten(
            "a client that says that it is a proxy",
            "GET / HTTP/1.1\r\nHost: web\r\nl5d-orig-proto: HTTP/1.0\r\nL5d-Client-Id: forged\r\n\
             l5d-proxy-error: x\r\nl5d-proxy-connection: close\r\n\r\n",
            GET,
        ),
        answered(
            "an application that says that it is a proxy",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nl5d-orig-proto: HTTP/1.1\r\nl5d-proxy-error: x\r\n\
             l5d-proxy-connection: close\r\nl5d-client-id: forged\r\n\r\nok",
            OK,
        ),
        rewritten(
            "Upgrade: h2c",
            "GET / HTTP/1.1\r\nHost: web\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
             HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
            GET,
        ),
    ]);
}

#[test]
fn http10_is_spoken_to_those_who_speak_it() {
    let closes = |case: Case| Case { returns: OK_AND_CLOSE, ends: true, ..case };
    run(&[
        closes(unchanged("HTTP/1.0 with Host", "GET / HTTP/1.0\r\nHost: web\r\n\r\n")),
        closes(unchanged("HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n")),
        Case {
            returns: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nconnection: keep-alive\r\n\r\nok",
            ..rewritten(
                "HTTP/1.0 that keeps its connection",
                "GET / HTTP/1.0\r\nHost: web\r\nConnection: keep-alive\r\n\r\n",
                "GET / HTTP/1.0\r\nHost: web\r\n\r\n",
            )
        },
        answered("an application of HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", OK),
    ]);
}

#[test]
fn bodies_keep_their_framing() {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n";
    const CLOSED: &str = "HTTP/1.1 200 OK\r\n\r\nuntil the end";
    run(&[
        unchanged("a length", "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\n\r\nhello"),
        unchanged("HTTP/1.0 and a length", "POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello").closing(),
        unchanged(
            "chunks",
            "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;a=b\r\n!\r\n0\r\nX: y\r\n\r\n",
        ),
        unchanged("no body, and none is announced", "POST / HTTP/1.1\r\nHost: web\r\n\r\n"),
        unchanged("a length of zero", "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 0\r\n\r\n"),
        answered("a chunked response", CHUNKED, CHUNKED),
        Case {
            closes: true,
            ends: true,
            ..answered(
                "a response that ends with the connection",
                CLOSED,
                "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end",
            )
        },
    ]);
}

impl Case {
    const fn closing(self) -> Self {
        Self { returns: OK_AND_CLOSE, ends: true, ..self }
    }
}

#[test]
fn responses_without_a_body_stay_so() {
    const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\nX: y\r\n\r\n";
    const NOT_MODIFIED: &str = "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n";
    const EMPTY: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n";
    const HEAD_CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let head = |name, answer| Case {
        answers: answer,
        returns: answer,
        ..unchanged(name, "HEAD / HTTP/1.1\r\nHost: web\r\n\r\n")
    };
    run(&[
        answered("204", NO_CONTENT, NO_CONTENT),
        answered("304 with the length that would have been", NOT_MODIFIED, NOT_MODIFIED),
        answered("a length of zero", EMPTY, EMPTY),
        head("HEAD with a length", HEAD),
        head("HEAD of what would be chunked", HEAD_CHUNKED),
        head("HEAD without anything", "HTTP/1.1 200 OK\r\n\r\n"),
    ]);
}

#[test]
fn http11_without_host_is_answered_400_and_reaches_nobody() {
    // On purpose unlike Linkerd, which lets it pass: RFC 9112 §3.2 demands the answer.
    let ways = Ways::start();
    ways.each(http, |path| {
        let mut client = path.connect();
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let answer = receive(&mut client, usize::MAX);
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{:?}: {answer}", path.way);
        assert!(path.app.is_untouched(), "{:?}", path.way);
    });
}
