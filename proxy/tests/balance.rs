//! A service of two servers, and what its clients notice when one or both are gone.

use crate::support::*;
use outrigger_model::Refusal;
use outrigger_testkit::wait_for;
use std::collections::BTreeSet;

/// A mesh with two servers behind one service.
fn pair() -> (Mesh, Workload, [App; 2], Service) {
    let plan = Plan::default().env(&CLIENT, "OUTBOUND_HTTP_FAILFAST_TIMEOUT", "500ms");
    let mut mesh = plan.start();
    let other = mesh.add(&OTHER);
    let apps = [mesh.server.serve(8080, http), other.serve(8080, http)];
    let service = mesh.service("web", &[meshed(&SERVER, 8080), meshed(&OTHER, 8080)]);
    (mesh, other, apps, service)
}

#[test]
fn a_2_3_the_less_busy_server_gets_the_request() {
    let (mesh, _other, apps, service) = pair();
    let arrived = || apps.each_ref().map(|app| app.received().matches("GET /held").count());
    let mut clients = Vec::new();
    for number in 1..=6 {
        let mut client = mesh.client.http(service.addr);
        client.send("GET /held HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        clients.push(client);
        wait_for("the request to arrive", PATIENCE, || arrived().iter().sum::<usize>() == number).unwrap();
    }
    assert_eq!(arrived(), [3, 3]);
    apps.iter().for_each(App::release);
    for client in &mut clients {
        assert_eq!(client.receive().unwrap().status, 200);
    }
}

#[test]
fn when_a_server_is_killed_no_request_fails() {
    let (mut mesh, mut other, _apps, service) = pair();
    let mut clients: Vec<_> = (0..4).map(|_| mesh.client.http(service.addr)).collect();
    let mut ask_all = |what: &str| -> BTreeSet<String> {
        let mut ask = |client: &mut Http| {
            let reply = client.get("/").unwrap();
            assert_eq!(reply.status, 200, "{what}: {}", reply.head);
            reply.body
        };
        (0..25).flat_map(|_| clients.iter_mut().map(&mut ask).collect::<Vec<_>>()).collect()
    };
    ask_all("while both are there");
    other.proxy().kill().unwrap();
    assert_eq!(ask_all("after one is killed"), ["hello-from-server".to_owned()].into());
    other.start_proxy();
    other.wait_until_ready();
    mesh.server.proxy().kill().unwrap();
    assert_eq!(ask_all("after that one is back and the other is killed"), ["hello-from-other".to_owned()].into());
}

#[test]
fn a_2_3_when_all_servers_are_gone_requests_fail_fast_and_recover_with_them() {
    let (mut mesh, mut other, _apps, service) = pair();
    assert_eq!(mesh.client.get(service.addr, "/").unwrap().status, 200);
    mesh.server.proxy().kill().unwrap();
    other.proxy().kill().unwrap();
    for _ in 0..3 {
        let reply = mesh.client.get(service.addr, "/").unwrap();
        assert!(matches!(reply.status, 502..=504), "{}", reply.head);
        assert!(reply.header("l5d-proxy-error").is_some(), "{}", reply.head);
    }
    mesh.client.wait_for_refusal(Refusal::Failfast);
    assert!(mesh.client.count(Refusal::ConnectFailed) > 0, "the endpoints' refusals are counted too");
    other.start_proxy();
    other.wait_until_ready();
    let recovered = || mesh.client.get(service.addr, "/").is_ok_and(|reply| reply.body == "hello-from-other");
    wait_for("requests to succeed again", PATIENCE, recovered).unwrap();
}

#[test]
fn a_2_1_endpoints_that_come_and_go_are_followed() {
    let (mesh, _other, apps, service) = pair();
    let mut client = mesh.client.http(service.addr);
    let mut only_from = |name: &str| (0..20).all(|_| client.get("/").unwrap().body == format!("hello-from-{name}"));
    for (endpoint, name) in [(meshed(&SERVER, 8080), "server"), (meshed(&OTHER, 8080), "other")] {
        mesh.destination.update(&service, &[endpoint]);
        wait_for("the set of one to be used", PATIENCE, || only_from(name)).unwrap();
    }
    mesh.destination.update(&service, &[]);
    let refused = || mesh.client.get(service.addr, "/").is_ok_and(|reply| reply.status == 503);
    wait_for("the empty set to be noticed", PATIENCE, refused).unwrap();
    mesh.client.wait_for_refusal(Refusal::NoEndpoints);
    let seen = apps.each_ref().map(App::received);
    assert_eq!(mesh.client.get(service.addr, "/").unwrap().status, 503);
    assert_eq!(apps.each_ref().map(App::received), seen, "a withdrawn endpoint gets nothing more");
}
