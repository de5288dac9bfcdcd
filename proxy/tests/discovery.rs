//! What the destination controller says is what the proxy does, and what it does not say is not guessed.

use crate::support::*;
use linkerd2_proxy_api::destination::tls_identity::{DnsLikeIdentity, Strategy, UriLikeIdentity};
use linkerd2_proxy_api::destination::{TlsIdentity, WeightedAddr};
use outrigger_model::Refusal;
use outrigger_testkit::Capture;
use std::net::SocketAddr;
use tonic::Code;

/// How often somebody began a connection to the address.
fn attempts(capture: &Capture, addr: SocketAddr) -> usize {
    capture.packets().unwrap().tcp_flows().iter().filter(|flow| flow.server == addr).count()
}

/// A mesh whose client soon gives up waiting.
fn impatient() -> Mesh {
    let plan = Plan::default().env(&CLIENT, "OUTBOUND_DETECT_TIMEOUT", "500ms");
    plan.env(&CLIENT, "OUTBOUND_HTTP_FAILFAST_TIMEOUT", "500ms").start()
}

fn with_identity(strategy: Option<Strategy>, server_name: Option<&str>) -> WeightedAddr {
    let server_name = server_name.map(|name| DnsLikeIdentity { name: name.to_owned() });
    WeightedAddr { tls_identity: Some(TlsIdentity { strategy, server_name }), ..meshed(&OTHER, 8080) }
}

fn uri(uri: &str) -> Option<Strategy> {
    Some(Strategy::UriLikeIdentity(UriLikeIdentity { uri: uri.to_owned() }))
}

/// Identities that are there and cannot be used.
fn unusable() -> [WeightedAddr; 4] {
    [
        with_identity(uri(OTHER.id), None),
        with_identity(None, Some(OTHER.server_name)),
        with_identity(uri("spiffe://Not A Domain/x"), Some(OTHER.server_name)),
        with_identity(uri(OTHER.id), Some("*")),
    ]
}

#[test]
fn a_1_7_an_endpoint_whose_identity_cannot_be_used_is_refused_and_gets_no_byte() {
    let mesh = impatient();
    let capture = mesh.capture();
    for (number, endpoint) in unusable().into_iter().enumerate() {
        let service = mesh.service(&format!("web-{number}"), &[endpoint]);
        let before = mesh.client.count(Refusal::EndpointIdentityUnusable);
        let reply = mesh.client.get(service.addr, "/").unwrap();
        assert!(reply.status >= 500, "{number}: {}", reply.head);
        mesh.client.wait_for_count_above(before, Refusal::EndpointIdentityUnusable);
    }
    // The same without a service: an address of its own.
    let [endpoint, ..] = unusable();
    mesh.destination.profile(OTHER.addr(8080), Answer::Say(endpoint_profile(endpoint)));
    assert_eq!(mesh.client.get(OTHER.addr(8080), "/").unwrap().status, 502);
    mesh.client.wait_for_refusal(Refusal::EndpointIdentityUnusable);
    for port in [8080, 4143] {
        assert_eq!(attempts(&capture, OTHER.addr(port)), 0, "nobody knocked at {port}");
    }
}

#[test]
fn a_1_7_a_good_endpoint_serves_what_its_unusable_neighbour_cannot() {
    let mesh = Mesh::start();
    let app = mesh.server.serve(8080, http);
    let capture = mesh.capture();
    for (number, endpoint) in unusable().into_iter().enumerate() {
        let service = mesh.service(&format!("web-{number}"), &[endpoint, meshed(&SERVER, 8080)]);
        for _ in 0..8 {
            // A new connection each: every one picks anew.
            assert_eq!(mesh.client.get(service.addr, "/").unwrap().body, "hello-from-server", "{number}");
        }
    }
    mesh.client.wait_for_refusal(Refusal::EndpointIdentityUnusable);
    assert!(!app.is_untouched());
    for port in [8080, 4143] {
        assert_eq!(attempts(&capture, OTHER.addr(port)), 0, "nobody knocked at {port}");
    }
}

#[test]
fn a_1_7_a_server_that_proves_another_identity_is_refused() {
    let mesh = impatient();
    let app = mesh.server.serve(8080, http);
    let impostor = |id: &str| {
        let server_name = Some(DnsLikeIdentity { name: SERVER.server_name.to_owned() });
        let tls_identity = Some(TlsIdentity { strategy: uri(id), server_name });
        WeightedAddr { tls_identity, ..meshed(&SERVER, 8080) }
    };
    for id in [OTHER.id, "spiffe://root.linkerd.cluster.local/external-workload2", "spiffe://other.example/x"] {
        mesh.destination.profile(SERVER.addr(8080), Answer::Say(endpoint_profile(impostor(id))));
        let refused = || mesh.client.get(SERVER.addr(8080), "/").is_ok_and(|reply| reply.status == 502);
        outrigger_testkit::wait_for("the refusal", PATIENCE, refused).unwrap();
    }
    let service = mesh.service("web", &[impostor(OTHER.id)]);
    assert!(mesh.client.get(service.addr, "/").unwrap().status >= 500);
    mesh.client.wait_for_refusal(Refusal::ServerIdentityMismatch);
    assert!(app.is_untouched());
}

#[test]
fn a_1_7_both_transport_modes_reach_the_application() {
    let mesh = Mesh::start();
    let app = mesh.server.serve(8080, http);
    let capture = mesh.capture();
    let with_header = mesh.service("new", &[meshed(&SERVER, 8080)]);
    let without = mesh.service("old", &[transparent(&SERVER, 8080)]);
    for (service, port) in [(with_header, 4143), (without, 8080)] {
        let before = attempts(&capture, SERVER.addr(port));
        let reply = mesh.client.http(service.addr).post("/", "in-the-clear").unwrap();
        assert_eq!(reply.body, "hello-from-server", "to {port}");
        assert_eq!(attempts(&capture, SERVER.addr(port)), before + 1, "it went to {port}");
    }
    assert_eq!(app.received().matches(&format!("l5d-client-id: {}", CLIENT.id)).count(), 2);
    let packets = capture.packets().unwrap();
    assert_eq!(packets.find(b"in-the-clear"), None);
    let mut to_server = packets.tcp_flows().into_iter().filter(|flow| flow.server.ip() == SERVER.v4);
    assert!(to_server.all(|flow| flow.starts_with_client_hello()));
}

/// What is not an answer.
fn silent<T: Clone>() -> Vec<Answer<T>> {
    let codes = [Code::Unavailable, Code::Internal, Code::PermissionDenied, Code::Unknown, Code::Unauthenticated];
    codes.map(Answer::Fail).into_iter().chain([Answer::Hang]).collect()
}

/// Asks the server's machine, where plain bytes would be welcome, and expects to be refused before a byte has left.
fn assert_unavailable(mesh: &Mesh, what: &str) {
    let before = mesh.client.count(Refusal::DiscoveryUnavailable);
    mesh.client.get(SERVER.addr(8080), "/").expect_err(what);
    mesh.client.wait_for_count_above(before, Refusal::DiscoveryUnavailable);
}

#[test]
fn a_2_1_an_error_of_the_destination_controller_is_never_read_as_not_meshed() {
    let mesh = impatient();
    let app = mesh.server.serve(8080, http);
    let capture = mesh.capture();
    for answer in silent() {
        mesh.destination.profile(SERVER.addr(8080), answer.clone());
        assert_unavailable(&mesh, &format!("{answer:?} was taken for an answer"));
    }
    mesh.client.wait_for_refusal(Refusal::DiscoveryUnavailable);
    assert_eq!(attempts(&capture, SERVER.addr(8080)), 0);
    assert!(app.is_untouched());
}

#[test]
fn a_1_6_an_error_of_the_policy_controller_is_never_read_as_not_meshed() {
    let mesh = impatient();
    let app = mesh.server.serve(8080, http);
    let capture = mesh.capture();
    for answer in silent() {
        mesh.policy.outbound.set(SERVER.addr(8080), answer.clone());
        assert_unavailable(&mesh, &format!("{answer:?} was taken for an answer"));
    }
    assert_eq!(attempts(&capture, SERVER.addr(8080)), 0);
    assert!(app.is_untouched());
}

#[test]
fn a_2_2_a_policy_or_profile_that_is_not_understood_refuses_everything() {
    let mesh = impatient();
    let app = mesh.server.serve(8080, http);
    let service = mesh.service("web", &[meshed(&SERVER, 8080)]);
    let mut live = mesh.client.http(service.addr);
    assert_eq!(live.get("/").unwrap().status, 200);
    let capture = mesh.capture();
    let arrived = app.received();

    mesh.policy.outbound.set(service.addr, Answer::Say(outbound_of_unknown_kind()));
    mesh.client.wait_for_event("outbound_policy.invalid");
    assert_eq!(live.get("/").unwrap().status, 500, "on a live connection");
    mesh.client.get(service.addr, "/").expect_err("on a new connection");
    // Without a policy the profile decides, which here names an endpoint with half an identity.
    let unreadable = with_identity(None, Some(SERVER.server_name));
    mesh.destination.profile(SERVER.addr(8080), Answer::Say(endpoint_profile(unreadable)));
    mesh.client.get(SERVER.addr(8080), "/").unwrap_err();
    assert_eq!(mesh.client.count(Refusal::PolicyInvalid), 3);
    mesh.client.wait_for_refusal(Refusal::PolicyInvalid);
    assert_eq!(attempts(&capture, SERVER.addr(8080)), 0);
    assert_eq!(app.received(), arrived);

    mesh.policy.outbound.set(service.addr, Answer::Say(service_policy(&service.authority, false)));
    let served = || mesh.client.get(service.addr, "/").is_ok_and(|reply| reply.status == 200);
    outrigger_testkit::wait_for("a good policy to be taken", PATIENCE, served).unwrap();
}

#[test]
fn a_1_6_with_a_policy_a_profile_that_fails_is_not_missed() {
    let mesh = Mesh::start();
    let _app = mesh.server.serve(8080, http);
    let service = mesh.service("web", &[meshed(&SERVER, 8080)]);
    mesh.destination.profile(service.addr, Answer::Fail(Code::Internal));
    assert_eq!(mesh.client.get(service.addr, "/").unwrap().body, "hello-from-server");
}

#[test]
fn a_1_6_a_controller_without_outbound_policies_leaves_it_to_the_profile() {
    let mesh = Mesh::start();
    let _app = mesh.server.serve(8080, http);
    let service = mesh.service("web", &[meshed(&SERVER, 8080)]);
    let capture = mesh.capture();
    mesh.policy.outbound.set(service.addr, Answer::Fail(Code::Unimplemented));
    assert_eq!(mesh.client.get(service.addr, "/").unwrap().body, "hello-from-server");
    assert_eq!(attempts(&capture, SERVER.addr(4143)), 1, "under TLS");
}

#[test]
fn a_2_1_what_is_no_service_is_forwarded_as_it_is() {
    let mesh = Mesh::start();
    // A machine outside of the mesh.
    let app = App::start(&mesh.control, 8080, http);
    let target: SocketAddr = (CONTROL, 8080).into();
    let asked = |what: &str| {
        assert_eq!(mesh.client.get(target, "/plain").unwrap().body, "hello-from-control", "{what}");
    };
    for code in [Code::NotFound, Code::InvalidArgument] {
        mesh.destination.profile(target, Answer::Fail(code));
        asked(&format!("{code:?}"));
    }
    mesh.destination.profile(target, Answer::Say(endpoint_profile(unmeshed(target))));
    asked("a profile with the bare address");
    mesh.policy.outbound.set(target, Answer::Say(egress_fallback(unmeshed(target))));
    asked("a policy for what is outside of the cluster");
    assert!(app.received().contains("GET /plain HTTP/1.1"));
}

#[test]
fn b_2_an_undeclared_port_is_refused() {
    let mesh = Mesh::start();
    let service = mesh.service("web", &[meshed(&SERVER, 8080)]);
    let capture = mesh.capture();
    // Without a policy, by the profile alone; and with the policy that says so.
    let policies = [Answer::Fail(Code::NotFound), Answer::Say(undefined_port_policy())];
    for (port, policy) in [81, 82].into_iter().zip(policies) {
        let undeclared = SocketAddr::new(service.addr.ip(), port);
        mesh.destination.profile(undeclared, Answer::Say(undeclared_port()));
        mesh.policy.outbound.set(undeclared, policy);
        let before = mesh.client.count(Refusal::UndefinedPort);
        mesh.client.get(undeclared, "/").unwrap_err();
        mesh.client.wait_for_count_above(before, Refusal::UndefinedPort);
        assert_eq!(attempts(&capture, undeclared), 0);
    }
    mesh.client.wait_for_refusal(Refusal::UndefinedPort);
    assert_eq!(capture.packets().unwrap().find(b"GET /"), None);
}

#[test]
fn a_2_1_each_destination_is_asked_for_once_and_the_asker_says_who_it_is() {
    let mesh = Mesh::start();
    let _app = mesh.server.serve(8080, http);
    let service = mesh.service("web", &[meshed(&SERVER, 8080)]);
    for _ in 0..3 {
        assert_eq!(mesh.client.get(service.addr, "/").unwrap().status, 200);
    }
    assert_eq!(mesh.destination.profiles.asked(), [(service.addr.to_string(), CLIENT.context())]);
    assert_eq!(mesh.destination.endpoints.asked(), [(service.authority, CLIENT.context())]);
    assert_eq!(mesh.policy.outbound.asked(), [(service.addr, CLIENT.workload())]);
    assert_eq!(mesh.policy.ports.asked(), [(8080, SERVER.workload())]);
}
