//! Bytes that are nobody's business: delivered as they are, in their order, to their end.

use crate::support::*;
use outrigger_testkit::wait_for;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

const PORT: u16 = 5432;

/// A mesh with an application on an opaque port, and its service.
fn with_app(serve: impl Fn(&mut Connection) -> io::Result<()> + Send + Sync + 'static) -> (Mesh, App, Service) {
    let mesh = Mesh::start();
    let app = mesh.server.serve(PORT, serve);
    mesh.policy.set(PORT, server("db", opaque(vec![only(CLIENT.id)])));
    let service = mesh.opaque_service("db", &[opaquely(meshed(&SERVER, PORT))]);
    (mesh, app, service)
}

#[test]
fn a_1_5_a_server_that_speaks_first_is_heard_at_once() {
    let (mesh, _app, service) = with_app(|connection| {
        connection.write_all(b"220 hello")?;
        echo(connection)
    });
    let began = Instant::now();
    let mut stream = mesh.client.connect(service.addr).unwrap();
    let mut greeting = [0; 9];
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"220 hello");
    let waited = began.elapsed();
    assert!(waited < Duration::from_secs(5), "{waited:?}: somebody waited for the client to speak (ten seconds)");
}

#[test]
fn an_end_from_the_client_leaves_the_answer_time_to_come() {
    let (mesh, _app, service) = with_app(|connection| {
        let mut all = Vec::new();
        connection.read_to_end(&mut all)?;
        write!(connection, "{} bytes", all.len())
    });
    let mut stream = mesh.client.connect(service.addr).unwrap();
    stream.write_all(&[7; 100_000]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "100000 bytes");
}

#[test]
fn an_end_from_the_server_leaves_the_client_time_to_finish() {
    let (mesh, app, service) = with_app(|connection| {
        connection.write_all(b"no more from me")?;
        connection.stream.shutdown(Shutdown::Write)?;
        io::copy(connection, &mut io::sink()).map(drop)
    });
    let mut stream = mesh.client.connect(service.addr).unwrap();
    let mut greeting = String::new();
    stream.read_to_string(&mut greeting).unwrap();
    assert_eq!(greeting, "no more from me");
    stream.write_all(b"but some from me").unwrap();
    wait_for("the client's words", PATIENCE, || app.received() == "but some from me").unwrap();
}

#[test]
fn a_connection_that_breaks_on_one_side_ends_on_the_other() {
    let (mesh, app, service) = with_app(|connection| {
        let mut bytes = [0; 5];
        connection.read_exact(&mut bytes)?;
        // Unread bytes make the kernel send a reset.
        connection.stream.read_exact(&mut [0])
    });
    let mut stream = mesh.client.connect(service.addr).unwrap();
    stream.write_all(b"hello, and more").unwrap();
    assert!(ends(&mut stream));
    assert_eq!(app.received(), "hello");
}

/// Bytes whose place shows in them.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u64 / 8).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect()
}

#[test]
fn bulk_arrives_byte_for_byte_both_ways_at_once() {
    const LENGTH: usize = 64 << 20;
    let (mesh, _app, service) = with_app(|connection| {
        // Past the record: it is the client that compares.
        let mut both = (connection.stream.try_clone()?, connection.stream.try_clone()?);
        io::copy(&mut both.0, &mut both.1)?;
        both.1.shutdown(Shutdown::Write)
    });
    let mut stream = mesh.client.connect(service.addr).unwrap();
    let (mut writing, sent) = (stream.try_clone().unwrap(), pattern(LENGTH));
    let mut received = Vec::with_capacity(LENGTH);
    thread::scope(|scope| {
        scope.spawn(|| {
            writing.write_all(&sent).unwrap();
            writing.shutdown(Shutdown::Write).unwrap();
        });
        stream.read_to_end(&mut received).unwrap();
    });
    assert_eq!(received.len(), LENGTH);
    assert!(received == sent, "the bytes differ");
}

#[test]
fn a_1_5_a_request_that_dribbles_in_is_still_a_request() {
    let mesh = Mesh::start();
    let app = mesh.server.serve(8080, http);
    let service = mesh.service("web", &[meshed(&SERVER, 8080)]);
    let mut stream = mesh.client.connect(service.addr).unwrap();
    for byte in b"GET /slowly HTTP/1.1\r\n" {
        stream.write_all(&[*byte]).unwrap();
        // Nagle is off: each byte is a segment, and read, of its own.
        thread::sleep(Duration::from_millis(20));
    }
    stream.write_all(b"host: a\r\n\r\n").unwrap();
    assert_eq!(Http::new(stream).receive().unwrap().body, "hello-from-server");
    assert!(app.received().contains(&format!("l5d-client-id: {}", CLIENT.id)), "it was served as HTTP");
}

#[test]
fn a_1_2_tls_for_another_name_is_the_applications_own() {
    let mesh = Mesh::start();
    // Whatever a server answers to a ClientHello, this is none.
    let app = mesh.server.serve(8443, |connection| connection.read(&mut [0; 8192]).map(drop));
    mesh.stranger().asking_for("app.example").talk(SERVER.addr(8443), b"");
    let visits = app.visits();
    assert!(matches!(visits[0][..], [22, 3, 1, ..]), "the ClientHello arrives: {visits:?}");
    assert!(visits[0].windows(11).any(|bytes| bytes == b"app.example"));
    assert_eq!(mesh.server.refusals(), [].into());
}
