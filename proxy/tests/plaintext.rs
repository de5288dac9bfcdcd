//! Nothing that was meant for a meshed endpoint is ever seen on the wire: every frame between the machines is captured
//! and searched.

use crate::support::*;
use outrigger_model::Refusal;
use outrigger_testkit::Packets;
use std::io::{Read, Write};
use std::net::SocketAddr;

const SECRET: &str = "the-quick-brown-outrigger";

/// Nothing of the secret is anywhere, and whatever went to the server's machine began with a ClientHello.
fn assert_only_tls(packets: &Packets) {
    assert_eq!(packets.find(SECRET.as_bytes()), None, "the secret was seen");
    let flows = packets.tcp_flows();
    let to_server = flows.iter().filter(|flow| flow.server.ip() == SERVER.v4);
    for flow in to_server.filter(|flow| !flow.sent.bytes().is_empty()) {
        assert!(flow.starts_with_client_hello(), "{flow} is not TLS");
    }
}

fn flows_to(packets: &Packets, addr: SocketAddr) -> usize {
    packets.tcp_flows().iter().filter(|flow| flow.server == addr).count()
}

fn ask(mesh: &Mesh, service: &Service) -> Reply {
    mesh.client.http(service.addr).post(&format!("/{SECRET}"), SECRET).unwrap()
}

#[test]
fn no_plaintext_byte_leaves_for_a_meshed_endpoint() {
    let mesh = Mesh::start();
    let (web, db) = (mesh.server.serve(8080, http), mesh.server.serve(5432, echo));
    let http = mesh.service("web", &[meshed(&SERVER, 8080)]);
    let opaque = mesh.opaque_service("db", &[opaquely(meshed(&SERVER, 5432))]);
    let capture = mesh.capture();

    assert_eq!(ask(&mesh, &http).body, "hello-from-server");
    let mut stream = mesh.client.connect(opaque.addr).unwrap();
    let mut echoed = [0; SECRET.len()];
    stream.write_all(SECRET.as_bytes()).unwrap();
    stream.read_exact(&mut echoed).unwrap();
    assert_eq!(echoed, SECRET.as_bytes());

    assert!(web.received().contains(SECRET) && db.received().contains(SECRET));
    let packets = capture.packets().unwrap();
    assert_only_tls(&packets);
    assert_eq!(flows_to(&packets, SERVER.addr(4143)), 2, "both went to the peer's proxy");
}

#[test]
fn no_plaintext_byte_leaves_while_the_controllers_are_down_and_after_they_are_back() {
    let mesh = Plan::default().env(&CLIENT, "OUTBOUND_DETECT_TIMEOUT", "500ms").start();
    let app = mesh.server.serve(8080, http);
    let [known, new] = ["known", "new"].map(|name| mesh.service(name, &[meshed(&SERVER, 8080)]));
    let capture = mesh.capture();
    assert_eq!(ask(&mesh, &known).status, 200);

    mesh.destination.go_away();
    mesh.policy.go_away();
    mesh.client.wait_for_event("control.lost");
    mesh.server.wait_for_event("policy.lost");
    assert_eq!(ask(&mesh, &known).status, 200, "what is known goes on");
    mesh.client.get(new.addr, &format!("/new-{SECRET}")).unwrap_err();
    mesh.client.wait_for_refusal(Refusal::DiscoveryUnavailable);
    assert!(!app.received().contains("/new"), "nothing of what was refused arrived");

    mesh.destination.come_back();
    mesh.policy.come_back();
    let served = || mesh.client.get(new.addr, &format!("/new-{SECRET}")).is_ok_and(|reply| reply.status == 200);
    outrigger_testkit::wait_for("the new service to be served", PATIENCE, served).unwrap();
    assert_eq!(ask(&mesh, &known).status, 200);
    assert_only_tls(&capture.packets().unwrap());
}

#[test]
fn no_byte_leaves_while_the_workload_api_is_down_and_what_waits_is_served_once_it_is_up() {
    let mut mesh = Plan::default().without_agent().start();
    let app = mesh.server.serve(8080, http);
    let service = mesh.service("web", &[meshed(&SERVER, 8080)]);
    let capture = mesh.capture();
    mesh.client.wait_for_event("workload_api.unavailable");
    mesh.server.wait_for_event("workload_api.unavailable");

    let mut waiting = mesh.client.http(service.addr);
    waiting.send(&format!("GET /{SECRET} HTTP/1.1\r\nhost: a\r\n\r\n")).unwrap();
    for workload in [&mesh.client, &mesh.server] {
        assert_eq!(workload.admin("/live").unwrap().status, 200);
        let ready = workload.admin("/ready").unwrap();
        assert_eq!(ready.status, 503);
        assert!(ready.body.contains("SVID"), "{}", ready.body);
        assert_eq!(workload.refusals(), [].into());
    }
    assert!(app.is_untouched());
    assert_eq!(capture.packets().unwrap().tcp_flows().len(), 0, "without an identity nobody is even asked");

    mesh.agent.start();
    mesh.client.wait_until_ready();
    mesh.server.wait_until_ready();
    assert_eq!(waiting.receive().unwrap().body, "hello-from-server");
    assert!(app.received().contains(SECRET));
    assert_only_tls(&capture.packets().unwrap());
}
