//! Who may come in, as the policy controller says it: first, later, not at all, or in words that nobody knows.

use crate::support::*;
use outrigger_model::Refusal;
use std::io::{Read, Write};
use tonic::Code;

const PORT: u16 = 8080;

/// A mesh with an application, its service, and a server that waits for a policy only so long.
fn with_app(serve: fn(&mut Connection) -> std::io::Result<()>, opaque: bool) -> (Mesh, App, Service) {
    let mesh = Plan::default().env(&SERVER, "INBOUND_DETECT_TIMEOUT", "1s").start();
    let app = mesh.server.serve(PORT, serve);
    let service = match opaque {
        true => mesh.opaque_service("app", &[opaquely(meshed(&SERVER, PORT))]),
        false => mesh.service("app", &[meshed(&SERVER, PORT)]),
    };
    (mesh, app, service)
}

fn deny() -> linkerd2_proxy_api::inbound::Server {
    server("deny", detect(vec![]))
}

#[test]
fn a_3_1_until_its_ports_policy_is_known_nobody_comes_in() {
    let (mesh, app, service) = with_app(http, false);
    for answer in [Answer::Hang, Answer::Fail(Code::Unavailable), Answer::Fail(Code::PermissionDenied)] {
        mesh.policy.ports.set(PORT, answer.clone());
        let before = mesh.server.count(Refusal::PolicyUnknown);
        let reply = mesh.client.get(service.addr, "/").unwrap();
        assert!(reply.status >= 500, "{answer:?}: {}", reply.head);
        mesh.server.wait_for_count_above(before, Refusal::PolicyUnknown);
    }
    mesh.server.wait_for_refusal(Refusal::PolicyUnknown);
    assert!(app.is_untouched());
}

#[test]
fn a_3_1_a_connection_waits_for_its_ports_policy() {
    let mesh = Mesh::start();
    let app = mesh.server.serve(PORT, http);
    let service = mesh.service("app", &[meshed(&SERVER, PORT)]);
    mesh.policy.ports.set(PORT, Answer::Hang);
    let mut waiting = mesh.client.http(service.addr);
    waiting.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    outrigger_testkit::wait_for("the port to be asked for", PATIENCE, || mesh.policy.ports.count(&PORT) == 1).unwrap();
    assert!(app.is_untouched());
    mesh.policy.set(PORT, server("app", detect(vec![the_meshed()])));
    assert_eq!(waiting.receive().unwrap().status, 200);
    assert_eq!(mesh.server.refusals(), [].into());
}

#[test]
fn a_3_3_a_default_policy_set_by_hand_holds_until_the_controller_answers() {
    let plan = Plan::default().env(&SERVER, "INBOUND_DETECT_TIMEOUT", "1s");
    let mesh = plan.env(&SERVER, "INBOUND_DEFAULT_POLICY", "all-authenticated").start();
    let app = mesh.server.serve(PORT, http);
    let service = mesh.service("app", &[meshed(&SERVER, PORT)]);
    mesh.policy.ports.set(PORT, Answer::Hang);
    assert_eq!(mesh.client.get(service.addr, "/").unwrap().status, 200, "the client proves who it is");
    let mut outside = connect_from(&mesh.control, SERVER.addr(PORT)).map(Http::new).unwrap();
    assert_eq!(outside.get("/stolen").unwrap().status, 403);
    mesh.policy.set(PORT, deny());
    let denied = || mesh.client.get(service.addr, "/").is_ok_and(|reply| reply.status == 403);
    outrigger_testkit::wait_for("the controller's word to replace it", PATIENCE, denied).unwrap();
    assert!(!app.received().contains("/stolen"));
}

#[test]
fn a_3_1_a_policy_of_an_unknown_kind_closes_the_port() {
    let (mesh, app, service) = with_app(http, false);
    let mut live = mesh.client.http(service.addr);
    assert_eq!(live.get("/").unwrap().status, 200);
    mesh.policy.set(PORT, server("new-kind", of_unknown_kind(vec![everyone()])));
    mesh.server.wait_for_event("policy.invalid");
    assert_eq!(live.get("/on-a-live-connection").unwrap().status, 500);
    mesh.server.wait_for_refusal(Refusal::PolicyInvalid);

    let before = mesh.server.count(Refusal::PolicyInvalid);
    let reply = mesh.client.get(service.addr, "/on-a-new-connection").unwrap();
    assert!(reply.status >= 500, "{}", reply.head);
    mesh.server.wait_for_count_above(before, Refusal::PolicyInvalid);
    assert!(!app.received().contains("/on-a-"));

    mesh.policy.set(PORT, server("app", detect(vec![everyone()])));
    let open = || mesh.client.get(service.addr, "/").is_ok_and(|reply| reply.status == 200);
    outrigger_testkit::wait_for("the port to be open again", PATIENCE, open).unwrap();
}

#[test]
fn a_3_3_a_withdrawn_authorization_ends_a_live_opaque_connection() {
    let (mesh, app, service) = with_app(echo, true);
    mesh.policy.set(PORT, server("db", opaque(vec![only(CLIENT.id)])));
    let mut stream = mesh.client.connect(service.addr).unwrap();
    let mut echoed = [0; 5];
    for _ in 0..2 {
        stream.write_all(b"hello").unwrap();
        stream.read_exact(&mut echoed).unwrap();
        // A change that still admits the client changes nothing for it.
        mesh.policy.set(PORT, server("db", opaque(vec![only(OTHER.id), only(CLIENT.id)])));
    }
    mesh.policy.set(PORT, server("db", opaque(vec![only(OTHER.id)])));
    mesh.server.wait_for_refusal(Refusal::AuthorizationWithdrawn);
    assert!(ends(&mut stream));
    assert_eq!(app.received(), "hellohello");
}

#[test]
fn a_3_3_a_withdrawn_authorization_turns_requests_on_a_live_connection_into_403() {
    let (mesh, app, service) = with_app(http, false);
    mesh.policy.set(PORT, server("web", detect(vec![only(CLIENT.id)])));
    let mut live = mesh.client.http(service.addr);
    assert_eq!(live.get("/before").unwrap().status, 200);
    mesh.policy.set(PORT, deny());
    let denied = || live.get("/after").unwrap().status == 403;
    outrigger_testkit::wait_for("the first 403", PATIENCE, denied).unwrap();
    let seen = app.received();
    assert_eq!(live.get("/after").unwrap().status, 403, "the connection lives on");
    assert_eq!(app.received(), seen, "nothing more arrives");
    mesh.server.wait_for_refusal(Refusal::RequestUnauthorized);
    mesh.policy.set(PORT, server("web", detect(vec![the_meshed()])));
    outrigger_testkit::wait_for("the request to pass again", PATIENCE, || live.get("/again").unwrap().status == 200)
        .unwrap();
}

#[test]
fn a_3_3_what_was_denied_stays_denied_while_the_controller_is_away() {
    let (mesh, app, service) = with_app(http, false);
    mesh.policy.set(PORT, deny());
    assert_eq!(mesh.client.get(service.addr, "/").unwrap().status, 403);
    mesh.policy.go_away();
    mesh.server.wait_for_event("policy.lost");
    assert_eq!(mesh.client.get(service.addr, "/").unwrap().status, 403);
    assert!(app.is_untouched());
    mesh.policy.come_back();
    mesh.policy.set(PORT, server("web", detect(vec![the_meshed()])));
    let open = || mesh.client.get(service.addr, "/").is_ok_and(|reply| reply.status == 200);
    outrigger_testkit::wait_for("the new policy to come through", PATIENCE, open).unwrap();
}
