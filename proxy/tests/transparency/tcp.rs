//! Bytes that are no HTTP.

use super::ways::{Way, Ways, receive, rest};
use crate::support::*;
use linkerd2_proxy_api::inbound::Server;
use linkerd2_proxy_api::inbound::proxy_protocol::{Kind, Tls};
use outrigger_model::Refusal;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

fn greeting(connection: &mut Connection) -> io::Result<()> {
    connection.write_all(b"220 hello\r\n")?;
    echo(connection)
}

#[test]
fn a_1_5_bytes_that_are_no_http_are_forwarded_as_they_are() {
    let ways = Ways::start();
    ways.each(echo, |path| {
        for bytes in ["\0\u{1}\u{2}", "HELO there\r\n", "SSH-2.0-x\r\n"] {
            let mut client = path.connect();
            client.write_all(bytes.as_bytes()).unwrap();
            assert_eq!(receive(&mut client, bytes.len()), bytes, "{:?}", path.way);
            assert_eq!(rest(&mut client), "");
        }
    });
}

#[test]
fn a_1_5_on_an_opaque_port_the_server_may_speak_first() {
    let ways = Ways::start();
    for way in Way::ALL {
        let path = ways.opaque_path(way, greeting);
        let began = Instant::now();
        let mut client = path.connect();
        assert_eq!(receive(&mut client, 11), "220 hello\r\n", "{way:?}");
        assert!(began.elapsed() < Duration::from_secs(5), "{way:?}: somebody waited for the client");
        client.write_all(b"EHLO\r\n").unwrap();
        assert_eq!(receive(&mut client, 6), "EHLO\r\n", "{way:?}");
        assert_eq!(rest(&mut client), "", "{way:?}");
    }
}

/// A Server with another way to find out the protocol.
fn speaking(kind: impl Fn(&mut Kind)) -> Server {
    let mut server = server("bytes", detect(vec![everyone()]));
    kind(server.protocol.as_mut().unwrap().kind.as_mut().unwrap());
    server
}

#[test]
fn a_1_5_where_the_protocol_is_detected_a_server_that_speaks_first_is_heard_after_the_timeout() {
    let ways = Ways::start();
    for way in [Way::One, Way::OneV6] {
        let path = ways.path(way, greeting);
        let short = |kind: &mut Kind| {
            let Kind::Detect(detect) = kind else { panic!() };
            detect.timeout = Some(prost_types::Duration { seconds: 1, nanos: 0 });
        };
        ways.mesh.policy.set(path.port, speaking(short));
        // Before that the client is also silent for TLS.
        let began = Instant::now();
        let mut client = path.connect();
        client.write_all(b"E").unwrap();
        assert_eq!(receive(&mut client, 11), "220 hello\r\n", "{way:?}");
        assert!(began.elapsed() >= Duration::from_secs(1), "{way:?}: nobody waited for the client");
        client.write_all(b"HLO\r\n").unwrap();
        assert_eq!(receive(&mut client, 6), "EHLO\r\n", "{way:?}");
    }
}

#[test]
fn a_1_behind_terminated_tls_the_server_may_speak_first() {
    let mesh = Mesh::start();
    let _app = mesh.server.serve(8200, greeting);
    mesh.policy.set(8200, speaking(|kind| *kind = Kind::Tls(Tls {})));
    // The older transport mode: TLS to the port itself, and no protocol is looked for in it.
    let service = mesh.opaque_service("smtp", &[opaquely(transparent(&SERVER, 8200))]);
    let began = Instant::now();
    let mut client = mesh.client.connect(service.addr).unwrap();
    assert_eq!(receive(&mut client, 11), "220 hello\r\n");
    assert!(began.elapsed() < Duration::from_secs(5), "somebody waited for the client");
}

#[test]
fn a_1_1_a_client_that_says_nothing_is_dropped_after_the_timeout() {
    let ways = Ways::of(Plan::default().env(&SERVER, "INBOUND_DETECT_TIMEOUT", "1s"));
    for way in [Way::One, Way::OneV6] {
        let path = ways.path(way, greeting);
        let before = ways.mesh.server.count(Refusal::TlsDetectTimeout);
        let mut client = path.connect();
        assert!(ends(&mut client), "{way:?}");
        ways.mesh.server.wait_for_count_above(before, Refusal::TlsDetectTimeout);
        assert!(path.app.is_untouched(), "{way:?}");
    }
}

#[test]
fn a_1_a_connection_without_original_destination_is_dropped_alone() {
    let mesh = Mesh::start();
    let app = mesh.server.serve(8080, http);
    // The kernel remembers a connection's destination only if it tracks the connection.
    for chain in ["OUTPUT", "PREROUTING"] {
        for port in ["--dport", "--sport"] {
            let rule = ["-t", "raw", "-A", chain, "-p", "tcp", "-s", "127.0.0.1", port, "4143", "-j", "NOTRACK"];
            assert!(mesh.server.host.run("iptables", &rule).unwrap().status.success());
        }
    }
    let mut stray = mesh.server.connect((std::net::Ipv4Addr::LOCALHOST, 4143).into()).unwrap();
    stray.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    assert!(ends(&mut stray));
    mesh.server.wait_for_refusal(Refusal::NoOriginalDestination);
    assert!(app.is_untouched());
    let service = mesh.service("web", &[meshed(&SERVER, 8080)]);
    assert_eq!(mesh.client.get(service.addr, "/").unwrap().body, "hello-from-server");
}

#[test]
fn an_end_that_either_side_says_reaches_the_other() {
    let ways = Ways::start();
    for way in Way::ALL {
        let path = ways.opaque_path(way, |connection| {
            let mut all = Vec::new();
            connection.read_to_end(&mut all)?;
            write!(connection, "{} bytes", all.len())
        });
        let mut client = path.connect();
        client.write_all(&[7; 5000]).unwrap();
        assert_eq!(rest(&mut client), "5000 bytes", "{way:?}: the client's end");

        let path = ways.opaque_path(way, |connection| {
            connection.write_all(b"no more from me")?;
            connection.stream.shutdown(Shutdown::Write)?;
            io::copy(connection, &mut io::sink()).map(drop)
        });
        let mut client = path.connect();
        assert_eq!(receive(&mut client, usize::MAX), "no more from me", "{way:?}: the application's end");
        client.write_all(b"but some from me").unwrap();
        let heard = || path.app.received() == "but some from me";
        outrigger_testkit::wait_for("the client's words", PATIENCE, heard).unwrap();
    }
}

#[test]
fn a_client_that_leaves_takes_its_request_with_it() {
    let ways = Ways::start();
    for way in Way::ALL {
        let (ended, end) = std::sync::mpsc::channel();
        let path = ways.path(way, move |connection| {
            serve_until_end(connection)?;
            ended.send(()).map_err(io::Error::other)
        });
        let mut client = path.connect();
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        outrigger_testkit::wait_for("the request", PATIENCE, || path.app.received().contains("\r\n\r\n")).unwrap();
        drop(client);
        assert!(end.recv_timeout(PATIENCE).is_ok(), "{way:?}: the application still holds the connection");
    }
}

fn serve_until_end(connection: &mut Connection) -> io::Result<()> {
    let mut bytes = [0; 4096];
    while connection.read(&mut bytes)? > 0 {}
    Ok(())
}

#[test]
fn a_1_5_a_client_that_dribbles_is_served_as_what_it_speaks() {
    let ways = Ways::start();
    let dribble = |client: &mut std::net::TcpStream, bytes: &[u8]| {
        for byte in bytes {
            client.write_all(&[*byte]).unwrap();
            thread::sleep(Duration::from_millis(5));
        }
    };
    ways.each(http, |path| {
        let mut client = path.connect();
        dribble(&mut client, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let reply = Http::new(client).receive().unwrap();
        assert_eq!(reply.body, "hello-from-server", "{:?}", path.way);
        let id = path.app.received().contains("l5d-client-id");
        assert_eq!(id, path.way.is_pair(), "{:?}: served as HTTP", path.way);
    });
    ways.each(echo, |path| {
        let mut client = path.connect();
        dribble(&mut client, b"GETTING nowhere\r\n");
        assert_eq!(receive(&mut client, 17), "GETTING nowhere\r\n", "{:?}", path.way);
    });
}
