//! Streams from the controllers that end, and are not needed any more.

use crate::support::*;
use outrigger_testkit::wait_for;
use std::thread;
use std::time::Duration;

#[test]
fn a_2_1_after_a_reconnect_the_first_endpoints_are_all_there_are() {
    let mut mesh = Mesh::start();
    let other = mesh.add(&OTHER);
    let _apps = [mesh.server.serve(8080, http), other.serve(8080, http)];
    let service = mesh.service("web", &[meshed(&SERVER, 8080), meshed(&OTHER, 8080)]);
    let mut client = mesh.client.http(service.addr);
    let mut served_by = || client.get("/").unwrap().body;
    let (left, left_alone) = match served_by().as_str() {
        "hello-from-server" => (&OTHER, "hello-from-server"),
        _ => (&SERVER, "hello-from-other"),
    };

    let asked = mesh.destination.endpoints.count(&service.authority);
    mesh.destination.go_away();
    mesh.client.wait_for_event("control.lost");
    assert!(served_by().starts_with("hello-from-"), "what is known goes on");
    // The new stream begins with one Add, which says nothing at all of the endpoint that is gone.
    mesh.destination.update(&service, &[meshed(left, 8080)]);
    mesh.destination.come_back();
    let again = || mesh.destination.endpoints.count(&service.authority) > asked;
    wait_for("the endpoints to be asked for again", PATIENCE, again).unwrap();
    wait_for("the one that is gone to be left alone", PATIENCE, || (0..30).all(|_| served_by() != left_alone)).unwrap();
}

#[test]
fn a_3_1_a_port_that_nobody_uses_is_forgotten() {
    // An idle connection between the proxies is a use too.
    let plan = Plan::default().env(&CLIENT, "OUTBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT", "500ms");
    let mesh = plan.env(&SERVER, "INBOUND_DISCOVERY_IDLE_TIMEOUT", "1s").start();
    let _app = mesh.server.serve(8080, http);
    let service = mesh.service("web", &[meshed(&SERVER, 8080)]);
    let ask = || assert_eq!(mesh.client.get(service.addr, "/").unwrap().status, 200);
    for _ in 0..5 {
        ask();
    }
    assert_eq!(mesh.policy.ports.count(&8080), 1, "while it is in use it is asked for once");
    let asked_again = || {
        // Longer than it takes to be forgotten; in between nobody uses it.
        thread::sleep(Duration::from_secs(4));
        ask();
        mesh.policy.ports.count(&8080) > 1
    };
    wait_for("the port to be asked for again", PATIENCE, asked_again).unwrap();
}
