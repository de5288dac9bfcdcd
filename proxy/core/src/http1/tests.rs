use super::*;
use crate::reply::{Audience, Reply};
use crate::route::Head;
use outrigger_model::{HeaderModifier, Refusal};

fn request(head: &str) -> Result<Option<(String, Framing)>, Invalid> {
    let mut room = fields();
    let parsed = Request::parse(head.as_bytes(), &mut room)?;
    Ok(parsed.map(|request| {
        let mut out = Vec::new();
        request.write(&mut out, RequestRewrite::default());
        (String::from_utf8(out).unwrap(), request.framing)
    }))
}

fn forwarded(head: &str) -> String {
    request(head).unwrap().expect("a whole head").0
}

fn response(head: &str, method: &str, rewrite: ResponseRewrite) -> Result<(String, Framing, bool), Invalid> {
    let mut room = fields();
    let response = Response::parse(head.as_bytes(), &mut room, method.into())?.expect("a whole head");
    let mut out = Vec::new();
    response.write(&mut out, rewrite);
    Ok((String::from_utf8(out).unwrap(), response.framing, response.keep_alive()))
}

#[test]
fn a_request_goes_on_without_what_concerns_this_hop() {
    assert_eq!(
        forwarded(
            "GET /x?y HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\n\
             TE: trailers\r\nProxy-Connection: close\r\nL5D-Client-Id: forged\r\nl5d-orig-proto: HTTP/1.1\r\nB: c\r\n\r\n"
        ),
        "GET /x?y HTTP/1.1\r\nHost: a\r\nB: c\r\n\r\n"
    );
    assert_eq!(
        forwarded("POST / HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\nContent-Length: 2\r\n\r\n"),
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n",
        "nominating the framing does not remove it"
    );
    let mut room = fields();
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nl5d-client-id: forged\r\n\r\n";
    let parsed = Request::parse(head, &mut room).unwrap().unwrap();
    let mut out = Vec::new();
    parsed.write(&mut out, RequestRewrite { client_id: Some("spiffe://td/vm"), ..RequestRewrite::default() });
    assert_eq!(out, b"GET / HTTP/1.1\r\nHost: a\r\nl5d-client-id: spiffe://td/vm\r\n\r\n");
    append(&mut out, "l5d-dst-canonical", "web:80");
    assert!(out.ends_with(b"l5d-client-id: spiffe://td/vm\r\nl5d-dst-canonical: web:80\r\n\r\n"));
}

#[test]
fn a_1_9_l5d_headers_of_applications_and_peers_go_no_further() {
    let l5d = ["client-id", "orig-proto", "proxy-error", "proxy-connection", "require-id", "dst-canonical"];
    for name in l5d {
        for name in [format!("l5d-{name}"), format!("L5D-{}", name.to_uppercase())] {
            assert_eq!(
                forwarded(&format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: x\r\n\r\n")),
                "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
            );
            let head = format!("HTTP/1.1 200 OK\r\n{name}: x\r\nContent-Length: 0\r\n\r\n");
            let (written, ..) = response(&head, "GET", ResponseRewrite::KeepAlive).unwrap();
            assert_eq!(written, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    }
    let mut room = fields();
    let head = b"HTTP/1.1 502 Bad Gateway\r\nl5d-proxy-error: why\r\nl5d-proxy-connection: close\r\n\r\n";
    let parsed = Response::parse(head, &mut room, "GET".into()).unwrap().unwrap();
    assert_eq!((parsed.proxy_error(), parsed.tears_down()), (Some(&b"why"[..]), true));
    let mut room = fields();
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nl5d-require-id: spiffe://td/web\r\n\r\n";
    let parsed = Request::parse(head, &mut room).unwrap().unwrap();
    assert_eq!(parsed.required_id(), Some(&b"spiffe://td/web"[..]));
}

#[test]
fn filters_change_headers_and_nothing_else() {
    let change = HeaderModifier { set: vec![("B".into(), "2".into())], ..HeaderModifier::default() };
    let mut room = fields();
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nb: 1\r\nContent-Length: 3\r\nl5d-client-id: forged\r\n\r\n";
    let parsed = Request::parse(head, &mut room).unwrap().unwrap();
    let mut out = Vec::new();
    parsed.write(&mut out, RequestRewrite { client_id: Some("id"), changes: &[change] });
    assert_eq!(out, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nB: 2\r\nl5d-client-id: id\r\n\r\n");
}

#[test]
fn upgrades_pass_but_h2c_does_not() {
    let asked = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(forwarded(asked), "GET / HTTP/1.1\r\nHost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    let h2c = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
               HTTP2-Settings: AA\r\n\r\n";
    assert_eq!(forwarded(h2c), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let (head, framing, _) = response(switched, "GET", ResponseRewrite::KeepAlive).unwrap();
    assert_eq!(framing, Framing::None);
    assert!(head.ends_with("connection: upgrade\r\nupgrade: websocket\r\n\r\n"), "{head}");
}

#[test]
fn s_03_ambiguous_requests_are_refused() {
    let with = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
    let cases: &[(String, Invalid)] = &[
        (with("Content-Length: 1\r\nContent-Length: 1"), Invalid::Length),
        (with("Content-Length: 1, 1"), Invalid::Length),
        (with("Content-Length: +1"), Invalid::Length),
        (with("Content-Length: -1"), Invalid::Length),
        (with("Content-Length: 0x1"), Invalid::Length),
        (with("Content-Length: 99999999999999999999"), Invalid::Length),
        (with("Content-Length:"), Invalid::Length),
        (with("Content-Length: 1\r\nTransfer-Encoding: chunked"), Invalid::TransferCoding),
        (with("Transfer-Encoding: chunked\r\nContent-Length: 1"), Invalid::TransferCoding),
        (with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), Invalid::TransferCoding),
        (with("Transfer-Encoding: gzip, chunked"), Invalid::TransferCoding),
        (with("Transfer-Encoding: xchunked"), Invalid::TransferCoding),
        (with("Transfer-Encoding: chunked, identity"), Invalid::TransferCoding),
        (with("Transfer-Encoding : chunked"), Invalid::Head),
        (with("Transfer-Encoding:\u{b}chunked"), Invalid::Head),
        (with("X: a\r\n b"), Invalid::Head),
        (with(" X: a"), Invalid::Head),
        (with("X: a\0b"), Invalid::Head),
        (with("X: a\rb"), Invalid::Head),
        (with("X: a\nContent-Length: 1"), Invalid::BareLf),
        ("POST / HTTP/1.1\nHost: a\n\n".into(), Invalid::BareLf),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(), Invalid::TransferCoding),
        ("GET / HTTP/1.1\r\n\r\n".into(), Invalid::Host),
        ("GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n".into(), Invalid::Host),
        ("GET x HTTP/1.1\r\nHost: a\r\n\r\n".into(), Invalid::Target),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n".into(), Invalid::Target),
        ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n".into(), Invalid::Target),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n".into(), Invalid::Head),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MAX_FIELDS + 1)), Invalid::TooLarge),
        (format!("GET / HTTP/1.1\r\nA: {}", "b".repeat(MAX_HEAD)), Invalid::TooLarge),
    ];
    for (head, refused) in cases {
        assert_eq!(request(head), Err(*refused), "{head:?}");
    }
    assert_eq!(request(&with("Transfer-Encoding: Chunked")).unwrap().unwrap().1, Framing::Chunked);
    assert_eq!(request("GET / HTTP/1.1\r\nHost: a"), Ok(None));
}

#[test]
fn hosts_and_paths_are_read_from_every_form() {
    let read = |head: &str| {
        let mut room = fields();
        let parsed = Request::parse(head.as_bytes(), &mut room).unwrap().unwrap();
        (parsed.host().unwrap_or("-").to_owned(), parsed.path().to_owned(), parsed.query().to_owned())
    };
    let expect = |host: &str, path: &str, query: &str| (host.to_owned(), path.to_owned(), query.to_owned());
    assert_eq!(read("GET /a/b?c=/d HTTP/1.1\r\nHost: x:80\r\n\r\n"), expect("x", "/a/b", "c=/d"));
    assert_eq!(read("GET http://y:1/a HTTP/1.1\r\nHost: x\r\n\r\n"), expect("y", "/a", ""));
    assert_eq!(read("GET http://y?q HTTP/1.1\r\nHost: x\r\n\r\n"), expect("y", "/", "q"));
    assert_eq!(read("GET /?u=http://z/ HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"), expect("[::1]", "/", "u=http://z/"));
    assert_eq!(read("GET / HTTP/1.0\r\n\r\n"), expect("-", "/", ""));
}

#[test]
fn responses_are_framed_by_status_method_and_fields() {
    let keep = ResponseRewrite::KeepAlive;
    let framing = |head: &str, method: &str| response(head, method, keep).map(|(_, framing, alive)| (framing, alive));
    assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "GET"), Ok((Framing::Length(3), true)));
    assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "HEAD"), Ok((Framing::None, true)));
    assert_eq!(framing("HTTP/1.1 304 N\r\nContent-Length: 3\r\n\r\n", "GET"), Ok((Framing::None, true)));
    assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n", "GET"), Ok((Framing::Close, false)));
    assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n", "CONNECT"), Ok((Framing::None, true)));
    assert_eq!(framing("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", "GET"), Ok((Framing::Length(3), false)));
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(framing(both, "GET"), Err(Invalid::TransferCoding));
    let (head, ..) =
        response("HTTP/1.0 200 Fine\r\nA: b\r\nl5d-proxy-error: x\r\n\r\n", "GET", ResponseRewrite::Close).unwrap();
    assert_eq!(head, "HTTP/1.1 200 Fine\r\nA: b\r\nconnection: close\r\n\r\n");
}

#[test]
fn a_1_8_what_grants_a_connect_or_says_no_content_announces_no_body() {
    for (status, method) in [("200 Connected", "CONNECT"), ("204 No Content", "GET"), ("101 Go", "GET")] {
        for field in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
            let head = format!("HTTP/1.1 {status}\r\n{field}\r\nA: b\r\n\r\n");
            let (head, framing, _) = response(&head, method, ResponseRewrite::KeepAlive).unwrap();
            assert_eq!(framing, Framing::None);
            assert!(head.contains("A: b\r\n") && !head.contains(field), "{head}");
        }
    }
    let (head, ..) =
        response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD", ResponseRewrite::KeepAlive).unwrap();
    assert!(head.contains("Content-Length: 5"), "HEAD tells what GET would: {head}");
}

#[test]
fn a_refusal_is_a_whole_response() {
    let mut out = Vec::new();
    let forbidden = Reply::new(Refusal::RequestUnauthorized, None);
    refuse(&mut out, &forbidden, Audience::Stranger, false);
    assert_eq!(out, b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
    let failfast = Reply { message: "why", ..Reply::new(Refusal::Failfast, None) };
    refuse(&mut out, &failfast, Audience::Application, true);
    let told = "HTTP/1.1 504 Gateway Timeout\r\ncontent-length: 0\r\nl5d-proxy-error: why\r\nconnection: close\r\n\r\n";
    assert_eq!(out, told.as_bytes());
    refuse(&mut out, &failfast, Audience::Peer, true);
    let peer = "HTTP/1.1 504 Gateway Timeout\r\ncontent-length: 0\r\nl5d-proxy-error: why\r\n\
                l5d-proxy-connection: close\r\nconnection: close\r\n\r\n";
    assert_eq!(out, peer.as_bytes());
    let moved = Reply { status: 302, location: Some("http://b/"), ..forbidden };
    refuse(&mut out, &moved, Audience::Stranger, false);
    assert_eq!(out, b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: http://b/\r\n\r\n");
}

/// Feeds a body in pieces of `piece` bytes; the length of what belongs to it, if it ended.
fn body_length(framing: Framing, bytes: &[u8], piece: usize) -> Result<Option<usize>, Invalid> {
    let (mut body, mut total) = (Body::new(framing), 0);
    for part in bytes.chunks(piece) {
        let taken = body.take(part)?;
        total += taken;
        if taken < part.len() {
            break;
        }
    }
    Ok(body.done().then_some(total))
}

#[test]
fn bodies_end_where_their_framing_says() {
    let chunked = b"5;a=\"b\"\r\nhello\r\n1F\r\n0123456789abcdef0123456789abcde\r\n000\r\nX: y\r\n\r\nGET /next";
    let length = chunked.len() - b"GET /next".len();
    for piece in [1, 2, 3, 7, 1000] {
        assert_eq!(body_length(Framing::Chunked, chunked, piece), Ok(Some(length)), "pieces of {piece}");
        assert_eq!(body_length(Framing::Length(5), b"hello world", piece), Ok(Some(5)));
        assert_eq!(body_length(Framing::Length(50), b"hello world", piece), Ok(None));
        assert_eq!(body_length(Framing::None, b"hello", piece), Ok(Some(0)));
        assert_eq!(body_length(Framing::Close, b"hello", piece), Ok(None));
    }
}

#[test]
fn s_03_malformed_chunks_are_refused() {
    let long = format!("1;{}\r\n", "x".repeat(5000));
    let trailers = format!("0\r\nA: {}\r\n\r\n", "x".repeat(17_000));
    for bad in [
        "\r\n",
        "g\r\n",
        "5\nhello\r\n",
        "5 \r\nhello",
        "5\r\nhelloX",
        "5\r\nhello\n",
        "11111111111111111\r\n",
        "-1\r\n",
        "0x5\r\n",
        "5\r\r\n",
        "1;a\nb\r\n",
        "0\r\nA: b\n\r\n",
        "0\r\n\rX",
        &long,
        &trailers,
    ] {
        assert_eq!(body_length(Framing::Chunked, bad.as_bytes(), 3), Err(Invalid::Chunk), "{bad:.40?}");
    }
}
