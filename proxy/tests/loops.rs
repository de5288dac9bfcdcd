//! The proxy never talks to itself, whoever asks it to (T-12).

use crate::support::*;
use outrigger_model::Refusal;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

/// What comes back for a request until the connection ends; an error is no answer.
fn answer(stream: std::io::Result<std::net::TcpStream>) -> Vec<u8> {
    let mut answer = Vec::new();
    if let Ok(mut stream) = stream {
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let _ = stream.read_to_end(&mut answer);
    }
    answer
}

/// How many connections the proxy has accepted.
fn accepted(workload: &Workload) -> u64 {
    let metrics = workload.admin("/metrics").unwrap().body;
    let lines = metrics.lines().filter(|line| line.starts_with("tcp_open_total{"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// No answer of an application or of a page of the proxy, and no chain of connections.
fn assert_ended(mesh: &Mesh, what: &str, answer: &[u8]) {
    let text = String::from_utf8_lossy(answer);
    assert!(!text.starts_with("HTTP/1.1 200"), "{what}: {text}");
    let accepted = accepted(&mesh.server);
    assert!(accepted < 20, "{what}: {accepted} connections for one");
}

fn own_ports_lead_nowhere(plan: Plan) {
    let mesh = plan.env(&SERVER, "INBOUND_DETECT_TIMEOUT", "1s").start();
    let own = |ip: Ipv4Addr, port: u16| SocketAddr::from((ip, port));
    for port in [4140, 4143, 4191] {
        let from_outside = connect_from(&mesh.control, own(SERVER.v4, port));
        assert_ended(&mesh, &format!("from outside to {port}"), &answer(from_outside));
        let from_itself = mesh.server.connect(own(SERVER.v4, port));
        assert_ended(&mesh, &format!("from itself to its address, {port}"), &answer(from_itself));
        if port != 4191 {
            let over_loopback = mesh.server.connect(own(Ipv4Addr::LOCALHOST, port));
            assert_ended(&mesh, &format!("over loopback to {port}"), &answer(over_loopback));
        }
        let from_the_mesh = mesh.service(&format!("p{port}"), &[meshed(&SERVER, port)]);
        assert_ended(&mesh, &format!("from a peer to {port}"), &answer(mesh.client.connect(from_the_mesh.addr)));
    }
    mesh.server.wait_for_refusal(Refusal::Loop);
}

#[test]
fn t_12_loop_own_ports_lead_nowhere() {
    own_ports_lead_nowhere(Plan::default());
}

#[test]
fn t_12_loop_own_ports_lead_nowhere_either_if_outbound_listens_on_every_address() {
    own_ports_lead_nowhere(Plan::default().env(&SERVER, "OUTBOUND_LISTEN_ADDRS", "0.0.0.0:4140"));
}

#[test]
fn t_12_loop_a_header_to_the_proxys_own_port_is_refused() {
    let mesh = Mesh::start();
    let svid = |mesh: &Mesh| mesh.agent.ca().issue(&leaf(&[CLIENT.id])).unwrap();
    for (port, http1) in [(4143, false), (4143, true)] {
        let before = mesh.server.count(Refusal::Loop);
        let bytes = [transport_header(port, "", http1), b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".into()].concat();
        let client = mesh.stranger().with(svid(&mesh)).offering_the_header();
        let answer = client.talk(SERVER.addr(4143), &bytes);
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
        mesh.server.wait_for_count_above(before, Refusal::Loop);
    }
    mesh.server.wait_for_refusal(Refusal::Loop);
}

#[test]
fn a_1_6_outbound_connects_to_no_loopback_address() {
    let mesh = Mesh::start();
    let app = mesh.client.serve(8080, http);
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
    let unmeshed_service = mesh.service("plain", &[unmeshed(loopback)]);
    let meshed_service = mesh.service("meshed", &[meshed_at(&SERVER, loopback)]);
    for service in [unmeshed_service, meshed_service] {
        let before = mesh.client.count(Refusal::LoopbackTarget);
        assert!(mesh.client.get(service.addr, "/").unwrap().status >= 500);
        mesh.client.wait_for_count_above(before, Refusal::LoopbackTarget);
    }
    assert!(app.is_untouched());
}

#[test]
fn a_1_an_address_that_is_not_the_workloads_own_is_refused() {
    let plan = Plan::default().env(&SERVER, "INBOUND_IPS", "10.77.0.99");
    let mesh = plan.start();
    let app = mesh.server.serve(8080, http);
    assert_eq!(answer(connect_from(&mesh.control, SERVER.addr(8080))), b"");
    mesh.server.wait_for_refusal(Refusal::AddressNotOurs);
    assert!(app.is_untouched());
}
