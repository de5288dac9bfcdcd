//! Clients that must not come in: each is refused by its number, and nothing of theirs reaches the application.
//!
//! They are openssl's, so that nobody but the proxy judges what they present.

use crate::support::*;
use outrigger_model::Refusal;
use outrigger_mtls::Svid;
use outrigger_mtls::workload_api::issuer::{Ca, Leaf};
use std::io::{Read, Write};
use std::time::{Duration, SystemTime};

const PORT: u16 = 8080;
const STRANGER: &str = "spiffe://root.linkerd.cluster.local/stranger";
const GET: &str = "GET /stolen HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// A certificate with which nothing is wrong.
fn good(mesh: &Mesh) -> Svid {
    mesh.agent.ca().issue(&leaf(&[STRANGER])).unwrap()
}

/// The proxy's own port, and the application's.
const DOORS: [u16; 2] = [4143, PORT];

/// Knocks at one of the doors, with a request as that door takes it, and returns the answer.
fn knock(mesh: &Mesh, svid: Option<Svid>, door: u16) -> String {
    let (mut client, mut bytes) = (mesh.stranger(), GET.as_bytes().to_vec());
    if let Some(svid) = svid {
        client = client.with(svid);
    }
    if door == 4143 {
        client = client.offering_the_header();
        bytes = [transport_header(PORT, "", true), bytes].concat();
    }
    String::from_utf8(client.talk(SERVER.addr(door), &bytes)).unwrap()
}

/// At both doors a client with this certificate is refused for this reason.
fn a_bad_certificate_is_refused(svid: impl Fn(&Mesh) -> Svid, refusal: Refusal) {
    let mesh = Mesh::start();
    let app = mesh.server.serve(PORT, http);
    for door in DOORS {
        let before = mesh.server.count(refusal);
        assert_eq!(knock(&mesh, Some(svid(&mesh)), door), "", "at {door}");
        mesh.server.wait_for_count_above(before, refusal);
    }
    mesh.server.wait_for_refusal(refusal);
    assert!(app.is_untouched());
}

#[test]
fn a_1_3_a_good_client_comes_in_at_both_doors() {
    // Without this, the refusals below could have any cause.
    let mesh = Mesh::start();
    let app = mesh.server.serve(PORT, http);
    for door in DOORS {
        let answer = knock(&mesh, Some(good(&mesh)), door);
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("hello-from-server"), "at {door}: {answer}");
    }
    assert_eq!(app.received().matches(&format!("l5d-client-id: {STRANGER}")).count(), 2);
    assert_eq!(mesh.server.refusals(), [].into());
}

#[test]
fn an_expired_client_certificate_is_refused() {
    let expired = |mesh: &Mesh| {
        let not_after = SystemTime::now() - Duration::from_secs(60);
        mesh.agent.ca().issue(&Leaf { not_after, ..leaf(&[STRANGER]) }).unwrap()
    };
    a_bad_certificate_is_refused(expired, Refusal::ClientCertificateExpired);
}

#[test]
fn t_02_a_client_certificate_with_two_uris_is_refused() {
    let two = |mesh: &Mesh| mesh.agent.ca().issue(&leaf(&[CLIENT.id, STRANGER])).unwrap();
    a_bad_certificate_is_refused(two, Refusal::ClientNamesInvalid);
}

#[test]
fn t_02_a_client_certificate_without_a_name_is_refused() {
    let none = |mesh: &Mesh| mesh.agent.ca().issue(&leaf(&[])).unwrap();
    a_bad_certificate_is_refused(none, Refusal::ClientNamesInvalid);
}

#[test]
fn t_03_a_client_of_another_trust_domain_is_refused() {
    let foreign = |_: &Mesh| {
        let ca = Ca::new(&"other.example".parse().unwrap()).unwrap();
        ca.issue(&leaf(&["spiffe://other.example/client"])).unwrap()
    };
    a_bad_certificate_is_refused(foreign, Refusal::ClientTrustDomainUnknown);
}

#[test]
fn t_03_a_client_whose_trust_domain_is_another_of_the_same_name_is_refused() {
    let forged = |_: &Mesh| Ca::new(&TRUST_DOMAIN.parse().unwrap()).unwrap().issue(&leaf(&[CLIENT.id])).unwrap();
    a_bad_certificate_is_refused(forged, Refusal::ClientCertificateUntrusted);
}

#[test]
fn a_1_3_the_proxys_own_port_wants_a_certificate_and_its_alpn() {
    let mesh = Mesh::start();
    let app = mesh.server.serve(PORT, echo);
    let own_port = SERVER.addr(4143);
    let bytes = [transport_header(PORT, "", false), GET.into()].concat();

    assert_eq!(mesh.stranger().offering_the_header().talk(own_port, &bytes), b"");
    mesh.server.wait_for_refusal(Refusal::ClientCertificateRequired);
    assert_eq!(mesh.stranger().with(good(&mesh)).talk(own_port, &bytes), b"");
    mesh.server.wait_for_refusal(Refusal::TransportHeaderNotNegotiated);
    assert!(app.is_untouched());
}

#[test]
fn a_1_3_the_proxys_own_port_wants_tls() {
    let mesh = Plan::default().env(&SERVER, "INBOUND_DETECT_TIMEOUT", "1s").start();
    let app = mesh.server.serve(PORT, echo);
    let header = transport_header(PORT, "", false);
    for (bytes, expected) in [(GET.as_bytes(), 1), (&header, 2), (b"", 3)] {
        let mut stream = connect_from(&mesh.control, SERVER.addr(4143)).unwrap();
        stream.write_all(bytes).unwrap();
        mesh.server.wait_for_count_above(expected - 1, Refusal::HandshakeFailed);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        // An alert at most; nothing that tells of the application.
        assert!(matches!(answer[..], [] | [21, ..]), "{answer:?}");
    }
    mesh.server.wait_for_refusal(Refusal::HandshakeFailed);
    assert!(app.is_untouched());
}

/// At the proxy's own port, a client with a good certificate is refused for what it sends.
fn direct_bytes_are_refused(messages: &[Vec<u8>], refusal: Refusal) {
    let mesh = Plan::default().env(&SERVER, "INBOUND_DETECT_TIMEOUT", "1s").start();
    let app = mesh.server.serve(PORT, echo);
    for bytes in messages {
        let before = mesh.server.count(refusal);
        let client = mesh.stranger().with(good(&mesh)).offering_the_header();
        assert_eq!(client.talk(SERVER.addr(4143), bytes), b"", "{bytes:?}");
        mesh.server.wait_for_count_above(before, refusal);
    }
    mesh.server.wait_for_refusal(refusal);
    assert!(app.is_untouched());
}

#[test]
fn a_1_3_garbage_instead_of_a_header_is_refused() {
    let header = |port| transport_header(port, "", false);
    let half = header(PORT)[..28].to_vec();
    let mut endless = header(PORT);
    endless[23..27].fill(0xff);
    let messages = [GET.into(), header(0), half, endless, transport_header(PORT, "no name", false)];
    direct_bytes_are_refused(&messages, Refusal::TransportHeaderInvalid);
}

#[test]
fn a_1_3_a_header_that_names_a_host_is_refused() {
    let named = |name, http1| [transport_header(PORT, name, http1), GET.into()].concat();
    let messages = [named("web.mixed-env.svc.cluster.local", true), named("elsewhere.example", false)];
    direct_bytes_are_refused(&messages, Refusal::GatewayNotServed);
}

#[test]
fn a_1_3_a_right_certificate_that_no_authorization_names_is_refused() {
    let mesh = Mesh::start();
    let app = mesh.server.serve(PORT, http);
    mesh.policy.set(PORT, server("only-the-client", detect(vec![only(CLIENT.id)])));
    for door in DOORS {
        let answer = knock(&mesh, Some(good(&mesh)), door);
        assert!(answer.starts_with("HTTP/1.1 403 "), "at {door}: {answer}");
    }
    assert!(knock(&mesh, None, PORT).starts_with("HTTP/1.1 403 "), "nor one without a certificate");
    assert_eq!(mesh.server.count(Refusal::RequestUnauthorized), 3);
    mesh.server.wait_for_refusal(Refusal::RequestUnauthorized);

    let bytes = [transport_header(PORT, "", false), GET.into()].concat();
    let client = mesh.stranger().with(good(&mesh)).offering_the_header();
    assert_eq!(client.talk(SERVER.addr(4143), &bytes), b"");
    mesh.server.wait_for_refusal(Refusal::ConnectionUnauthorized);
    assert!(app.is_untouched());
}
