//! Starting, being told to stop, and everything that can be missing or wrong.

use crate::support::*;
use outrigger_testkit::wait_for;
use std::io::{ErrorKind, Read, Write};

#[test]
fn a_5_sigterm_lets_what_is_under_way_finish_and_takes_nothing_new() {
    let mut mesh = Mesh::start();
    let app = mesh.server.serve(8080, http);
    let service = mesh.service("web", &[meshed(&SERVER, 8080)]);
    let mut held = mesh.client.http(service.addr);
    held.send("GET /held HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    wait_for("the request to arrive", PATIENCE, || app.received().contains("/held")).unwrap();

    mesh.server.proxy().terminate().unwrap();
    mesh.server.wait_for_event("drain.began");
    let refused =
        || connect_from(&mesh.control, SERVER.addr(8080)).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused);
    wait_for("new connections to be refused", PATIENCE, refused).unwrap();
    assert_eq!(mesh.server.proxy().status(), None, "it waits for the request");
    app.release();
    assert_eq!(held.receive().unwrap().body, "hello-from-server");
    let status = mesh.server.proxy().wait(PATIENCE).unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(app.visits().len(), 1);
}

#[test]
fn a_5_sigterm_lets_our_own_applications_request_finish() {
    let mut mesh = Mesh::start();
    let app = mesh.server.serve(8080, http);
    let service = mesh.service("web", &[meshed(&SERVER, 8080)]);
    let mut held = mesh.client.http(service.addr);
    held.send("GET /held HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    wait_for("the request to arrive", PATIENCE, || app.received().contains("/held")).unwrap();
    mesh.client.proxy().terminate().unwrap();
    mesh.client.wait_for_event("drain.began");
    app.release();
    let reply = held.receive().unwrap();
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")), "{}", reply.head);
    assert_eq!(mesh.client.proxy().wait(PATIENCE).unwrap().code(), Some(0));
}

#[test]
fn a_5_a_connection_that_does_not_end_is_cut_off_after_the_grace_period() {
    let mut mesh = Plan::default().env(&SERVER, "SHUTDOWN_GRACE_PERIOD", "500ms").start();
    let _app = mesh.server.serve(5432, echo);
    let service = mesh.opaque_service("db", &[opaquely(meshed(&SERVER, 5432))]);
    let mut stream = mesh.client.connect(service.addr).unwrap();
    let mut echoed = [0; 5];
    stream.write_all(b"hello").unwrap();
    stream.read_exact(&mut echoed).unwrap();
    mesh.server.proxy().terminate().unwrap();
    assert_eq!(mesh.server.proxy().wait(PATIENCE).unwrap().code(), Some(0));
    mesh.server.wait_for_event("drain.unfinished");
    assert!(ends(&mut stream));
}

#[test]
fn a_6_a_bad_environment_ends_the_proxy_with_64_and_names_every_variable() {
    let mesh = Mesh::start();
    let bad = [
        ("INBOUND_DETECT_TIMEOUT", "10"),
        ("OUTBOUND_LISTEN_ADDRS", "4140"),
        ("POLICY_WORKLOAD", "{}"),
        ("INBOUND_DEFAULT_POLICY", "allow"),
        ("IDENTITY_TRUST_ANCHORS", ""),
    ];
    let mut proxy = mesh.client.spawn_another(&bad);
    assert_eq!(proxy.wait(PATIENCE).unwrap().code(), Some(64));
    let log = proxy.log();
    for (name, value) in bad {
        let name = format!("LINKERD2_PROXY_{name}: ");
        let line = log.lines().find(|line| line.contains(&name)).unwrap_or_else(|| panic!("{name} is not in {log}"));
        assert!(value == "{}" || line.contains(value), "{line}");
    }
    assert!(!log.contains("cannot listen"), "it never came to the ports");
    assert_eq!(mesh.client.admin("/ready").unwrap().status, 200, "the other proxy does not care");
}

#[test]
fn a_taken_port_is_named_with_its_variable() {
    let mesh = Mesh::start();
    let free = [
        ("OUTBOUND_LISTEN_ADDRS", "127.0.0.1:5140"),
        ("INBOUND_LISTEN_ADDR", "0.0.0.0:5143"),
        ("ADMIN_LISTEN_ADDR", "127.0.0.1:5191"),
    ];
    for (taken, port) in [(0, "127.0.0.1:4140"), (1, "0.0.0.0:4143"), (2, "127.0.0.1:4191")] {
        let env: Vec<_> = free.iter().enumerate().filter(|(at, _)| *at != taken).map(|(_, free)| *free).collect();
        let mut proxy = mesh.client.spawn_another(&env);
        assert_eq!(proxy.wait(PATIENCE).unwrap().code(), Some(1));
        let (log, variable) = (proxy.log(), format!("LINKERD2_PROXY_{}", free[taken].0));
        assert!(log.contains(port) && log.contains(&variable) && log.contains("end it or set"), "{log}");
    }
}

#[test]
fn without_the_workload_apis_socket_the_proxy_stays_up_and_says_what_to_look_at() {
    let mut mesh = Plan::default().without_agent().start();
    mesh.client.wait_for_event("workload_api.unavailable");
    let log = mesh.client.log();
    let line = log.iter().find(|line| line["fields"]["event"] == "workload_api.unavailable").unwrap();
    let message = line["fields"]["message"].as_str().unwrap();
    assert!(message.contains("Is its agent running") && message.contains("open the socket"), "{message}");
    assert!(line["fields"]["socket"].as_str().unwrap().ends_with("api.sock"), "{line}");
    assert_eq!(mesh.client.proxy().status(), None);
}

#[test]
fn a_4_an_identity_other_than_our_own_is_not_taken() {
    let plan = Plan::default().env(&CLIENT, "IDENTITY_SERVER_ID", "spiffe://root.linkerd.cluster.local/somebody-else");
    let mut mesh = plan.without_agent().start();
    mesh.agent.start();
    mesh.server.wait_until_ready();
    mesh.client.wait_for_event("svid.rejected");
    assert_eq!(mesh.client.admin("/ready").unwrap().status, 503);
    assert_eq!(mesh.client.proxy().status(), None);
}

#[test]
fn a_4_the_agent_may_go_away_and_come_back() {
    let mut mesh = Mesh::start();
    let _app = mesh.server.serve(8080, http);
    let [before, during, after] =
        ["before", "during", "after"].map(|name| mesh.service(name, &[meshed(&SERVER, 8080)]));
    assert_eq!(mesh.client.get(before.addr, "/").unwrap().status, 200);
    mesh.agent.stop();
    mesh.client.wait_for_event("workload_api.unavailable");
    assert_eq!(mesh.client.get(during.addr, "/").unwrap().status, 200);
    assert_eq!(mesh.client.admin("/ready").unwrap().status, 200, "the SVID is still good");
    mesh.agent.start();
    let renewed = || mesh.client.log().iter().any(|line| line["fields"]["revision"] == 2);
    wait_for("the next SVID", PATIENCE, renewed).unwrap();
    assert_eq!(mesh.client.get(after.addr, "/").unwrap().status, 200);
}

#[test]
fn requests_go_on_while_everything_else_comes_and_goes() {
    let mut mesh = Mesh::start();
    let _app = mesh.server.serve(8080, http);
    let service = mesh.service("web", &[meshed(&SERVER, 8080)]);
    let mut client = mesh.client.http(service.addr);
    let mut ask = || assert_eq!(client.get("/").unwrap().status, 200);
    ask();
    mesh.agent.stop();
    mesh.destination.go_away();
    mesh.policy.go_away();
    mesh.client.wait_for_event("control.lost");
    mesh.server.wait_for_event("policy.lost");
    ask();
    mesh.destination.come_back();
    mesh.policy.come_back();
    mesh.agent.start();
    let asked_again = || mesh.destination.endpoints.count(&service.authority) > 1 && mesh.policy.ports.count(&8080) > 1;
    wait_for("the proxies to ask again", PATIENCE, asked_again).unwrap();
    ask();
}
