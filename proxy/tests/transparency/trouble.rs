//! What a client notices of an application or a peer that is not there.

use super::ways::{Ways, receive};
use crate::support::*;
use outrigger_model::Refusal;
use std::io::Write;

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[test]
fn a_1_10_an_application_that_does_not_accept_in_time_is_a_504() {
    let ways = Ways::start();
    ways.each(http, |path| {
        // The machine takes no connection for the port any more, and does not say so either.
        let port = path.port.to_string();
        for iptables in ["iptables", "ip6tables"] {
            let rule = ["-I", "INPUT", "-p", "tcp", "--dport", &port, "-j", "DROP"];
            assert!(ways.mesh.server.host.run(iptables, &rule).unwrap().status.success());
        }
        let before = ways.mesh.server.count(Refusal::ConnectTimeout);
        let mut client = path.connect();
        client.write_all(GET).unwrap();
        let answer = receive(&mut client, usize::MAX);
        assert!(answer.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"), "{:?}: {answer}", path.way);
        ways.mesh.server.wait_for_count_above(before, Refusal::ConnectTimeout);
        for iptables in ["iptables", "ip6tables"] {
            let rule = ["-D", "INPUT", "-p", "tcp", "--dport", &port, "-j", "DROP"];
            assert!(ways.mesh.server.host.run(iptables, &rule).unwrap().status.success());
        }
    });
}

#[test]
fn a_1_10_an_application_that_is_not_there_is_a_502() {
    let ways = Ways::start();
    for way in super::ways::Way::ALL {
        let mut client = ways.connect(way, ways.target(way, ways.next_port(), false));
        client.write_all(GET).unwrap();
        let answer = receive(&mut client, usize::MAX);
        assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{way:?}: {answer}");
        // Who is not meshed is not told why (A.1.9).
        assert!(!answer.contains("l5d-proxy-error"), "{way:?}: {answer}");
    }
}

#[test]
fn a_request_waits_for_its_only_server_to_come_back() {
    let plan = Plan::default().env(&CLIENT, "OUTBOUND_HTTP_FAILFAST_TIMEOUT", "30s");
    let mut mesh = plan.start();
    let app = mesh.server.serve(8080, http);
    let service = mesh.service("web", &[meshed(&SERVER, 8080)]);
    assert_eq!(mesh.client.get(service.addr, "/").unwrap().status, 200);
    mesh.server.proxy().kill().unwrap();

    let before = mesh.client.count(Refusal::ConnectFailed);
    let mut waiting = mesh.client.http(service.addr);
    waiting.send("GET /waiting HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    mesh.client.wait_for_count_above(before, Refusal::ConnectFailed);
    assert!(!app.received().contains("/waiting"));
    mesh.server.start_proxy();
    assert_eq!(waiting.receive().unwrap().body, "hello-from-server");
    assert_eq!(app.received().matches("/waiting").count(), 1);
}
