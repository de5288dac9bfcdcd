//! Connections that stop speaking HTTP: upgrades and CONNECT.

use super::ways::{Ways, receive, rest};
use crate::support::*;
use std::io::{self, Read, Write};
use std::net::Shutdown;

const CONNECT: &str = "CONNECT db.example:5432 HTTP/1.1\r\nHost: db.example:5432\r\n\r\n";

/// Answers the first head, together with `first`, and echoes what comes after it.
fn switching(answer: &'static str) -> impl Fn(&mut Connection) -> io::Result<()> + Clone {
    move |connection| {
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            connection.read_exact(&mut byte)?;
            seen.push(byte[0]);
        }
        connection.write_all(answer.as_bytes())?;
        echo(connection)
    }
}

/// The change is granted: what comes back is `returns`, and then bytes pass both ways until both ends are said.
fn switches(asks: &'static str, arrives: &'static str, answers: &'static str, returns: &'static str) {
    let ways = Ways::start();
    ways.each(switching(answers), |path| {
        let mut client = path.connect();
        client.write_all(asks.as_bytes()).unwrap();
        assert_eq!(receive(&mut client, returns.len()), returns, "{:?}", path.way);
        for bytes in ["\0\u{1}GET / HTTP/1.1\r\n\r\n", "0\r\n\r\n"] {
            client.write_all(bytes.as_bytes()).unwrap();
            assert_eq!(receive(&mut client, bytes.len()), bytes, "{:?}", path.way);
        }
        assert_eq!(rest(&mut client), "", "{:?}", path.way);
        let arrived = path.app.received();
        assert!(arrived.starts_with(&path.with_client_id(arrives)), "{:?}: {arrived}", path.way);
    });
}

#[test]
fn a_1_8_an_upgraded_connection_carries_bytes() {
    switches(
        "GET /chat HTTP/1.1\r\nHost: web\r\nConnection: keep-alive, Upgrade\r\nUpgrade: chat/2\r\nX: y\r\n\r\n",
        "GET /chat HTTP/1.1\r\nHost: web\r\nX: y\r\nconnection: upgrade\r\nupgrade: chat/2\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat/2\r\nX: z\r\n\r\nfirst words",
        "HTTP/1.1 101 Switching Protocols\r\nX: z\r\nconnection: upgrade\r\nupgrade: chat/2\r\n\r\nfirst words",
    );
}

#[test]
fn a_1_8_a_connect_that_is_granted_carries_bytes() {
    const GRANTED: &str = "HTTP/1.1 200 Connected\r\nX: y\r\n\r\nfirst words";
    switches(CONNECT, CONNECT, GRANTED, GRANTED);
}

#[test]
fn a_1_8_a_granted_connect_announces_no_body() {
    // RFC 9110 §9.3.6: whatever is said of a length or coding means nothing.
    const GRANTED: &str = "HTTP/1.1 200 Connected\r\nX: y\r\n\r\nfirst words";
    for field in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let answer =
            format!("HTTP/1.1 200 Connected\r\n{field}\r\nX: y\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\nfirst words");
        switches(CONNECT, CONNECT, answer.leak(), GRANTED);
    }
}

#[test]
fn a_connect_that_is_not_granted_is_an_answer_like_any_other() {
    let ways = Ways::start();
    const REFUSED: &str = "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno";
    let serve = |connection: &mut Connection| {
        let mut bytes = [0; 4096];
        while connection.read(&mut bytes)? > 0 {
            connection.write_all(REFUSED.as_bytes())?;
        }
        Ok(())
    };
    ways.each(serve, |path| {
        let mut client = path.connect();
        for _ in 0..2 {
            client.write_all(CONNECT.as_bytes()).unwrap();
            assert_eq!(receive(&mut client, REFUSED.len()), REFUSED, "{:?}", path.way);
        }
        assert_eq!(rest(&mut client), "");
    });
}

#[test]
fn a_connect_to_what_is_no_authority_is_answered_400_and_reaches_nobody() {
    let ways = Ways::start();
    ways.each(http, |path| {
        for target in ["/", "/db.example:5432", "http://db.example:5432/", "db.example", "*"] {
            let mut client = path.connect();
            write!(client, "CONNECT {target} HTTP/1.1\r\nHost: db.example\r\n\r\n").unwrap();
            let answer = receive(&mut client, usize::MAX);
            assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{target}, {:?}: {answer}", path.way);
        }
        // The form is CONNECT's own.
        let mut client = path.connect();
        client.write_all(b"GET db.example:5432 HTTP/1.1\r\nHost: db.example\r\n\r\n").unwrap();
        assert!(receive(&mut client, usize::MAX).starts_with("HTTP/1.1 400 "), "{:?}", path.way);
        assert!(path.app.is_untouched(), "{:?}", path.way);
    });
}

#[test]
fn an_upgraded_connection_that_the_application_ends_ends_at_the_client() {
    let ways = Ways::start();
    let serve = |connection: &mut Connection| {
        let _request = connection.read(&mut [0; 4096])?;
        connection.write_all(b"HTTP/1.1 101 Go\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\nbye")?;
        connection.stream.shutdown(Shutdown::Write)
    };
    ways.each(serve, |path| {
        let mut client = path.connect();
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n").unwrap();
        let answer = receive(&mut client, usize::MAX);
        assert!(answer.ends_with("\r\n\r\nbye"), "{:?}: {answer}", path.way);
    });
}
