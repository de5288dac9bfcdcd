//! The same over IPv6, with listeners as the dual-stack chart has them.

use crate::support::*;
use std::io::{Read, Write};

#[test]
fn http_over_ipv6() {
    let mesh = Plan::default().dual_stack().start();
    let app = mesh.server.serve(8080, http);
    let endpoint = meshed_at(&SERVER, SERVER.addr_v6(8080));
    let service = mesh.service_v6("web", false, &[endpoint]);
    let capture = mesh.capture();
    assert_eq!(mesh.client.http(service.addr).post("/", "in-the-clear").unwrap().body, "hello-from-server");
    assert!(app.received().contains(&format!("l5d-client-id: {}", CLIENT.id)));
    let packets = capture.packets().unwrap();
    assert_eq!(packets.find(b"in-the-clear"), None);
    assert!(packets.tcp_flows().iter().any(|flow| flow.server == SERVER.addr_v6(4143)));
}

#[test]
fn bytes_over_ipv6() {
    let mesh = Plan::default().dual_stack().start();
    let _app = mesh.server.serve(5432, echo);
    mesh.policy.set(5432, server("db", opaque(vec![only(CLIENT.id)])));
    let endpoint = opaquely(meshed_at(&SERVER, SERVER.addr_v6(5432)));
    let service = mesh.service_v6("db", true, &[endpoint]);
    let mut stream = mesh.client.connect(service.addr).unwrap();
    let mut echoed = [0; 5];
    stream.write_all(b"hello").unwrap();
    stream.read_exact(&mut echoed).unwrap();
    assert_eq!(&echoed, b"hello");
}

#[test]
fn a_1_ipv4_through_dual_stack_listeners() {
    // The client's address decides which original destination is read, not the socket's family.
    let mesh = Plan::default().dual_stack().start();
    let app = mesh.server.serve(8080, http);
    let with_header = mesh.service("new", &[meshed(&SERVER, 8080)]);
    let without = mesh.service("old", &[transparent(&SERVER, 8080)]);
    for service in [with_header, without] {
        assert_eq!(mesh.client.get(service.addr, "/").unwrap().body, "hello-from-server");
    }
    let v6 = mesh.service_v6("v6", false, &[transparent_v6()]);
    assert_eq!(mesh.client.get(v6.addr, "/").unwrap().body, "hello-from-server");
    assert_eq!(app.received().matches("l5d-client-id").count(), 3);
}

fn transparent_v6() -> linkerd2_proxy_api::destination::WeightedAddr {
    let addr = Some(SERVER.addr_v6(8080).into());
    linkerd2_proxy_api::destination::WeightedAddr { addr, ..transparent(&SERVER, 8080) }
}
