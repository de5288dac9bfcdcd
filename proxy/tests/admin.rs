//! The admin port from elsewhere (A.5): its policy decides, whichever way a request comes.

use crate::support::*;
use outrigger_testkit::Host;
use std::net::SocketAddr;

const PORT: u16 = 4191;

fn mesh() -> Mesh {
    Plan::default().env(&SERVER, "ADMIN_LISTEN_ADDR", "0.0.0.0:4191").start()
}

fn from(host: &Host, to: SocketAddr, request: &str) -> u16 {
    let mut http = Http::new(connect_from(host, to).unwrap());
    http.send(&format!("{request} HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n")).unwrap();
    http.receive().unwrap().status
}

#[test]
fn a_5_from_elsewhere_the_admin_ports_policy_decides() {
    let mesh = mesh();
    let stranger = |request: &str| from(&mesh.control, SERVER.addr(PORT), request);
    assert_eq!(stranger("GET /live"), 200, "the default policy is everybody's");
    assert_eq!(stranger("GET /proxy-log-level"), 403, "but only its own host may act");
    assert_eq!(stranger("POST /shutdown"), 404);

    mesh.policy.set(PORT, server("admin", detect(vec![only(CLIENT.id)])));
    let closed = || stranger("GET /live") == 403;
    outrigger_testkit::wait_for("the policy to hold", PATIENCE, closed).unwrap();
    assert_eq!(stranger("GET /metrics"), 403);
    assert_eq!(mesh.server.admin("/metrics").unwrap().status, 200, "loopback needs no policy");
}

#[test]
fn a_5_a_meshed_monitor_comes_in_directly_and_by_the_proxys_own_port() {
    let mesh = mesh();
    mesh.policy.set(PORT, server("admin", detect(vec![only(CLIENT.id)])));
    for endpoint in [transparent(&SERVER, PORT), meshed(&SERVER, PORT)] {
        let service = mesh.service("admin", &[endpoint]);
        let mut client = mesh.client.http(service.addr);
        let metrics = client.get("/metrics").unwrap();
        assert!(metrics.status == 200 && metrics.body.ends_with("# EOF\n"), "{}", metrics.head);
        assert_eq!(client.get("/env.json").unwrap().status, 403);
    }
    mesh.policy.set(PORT, server("admin", detect(vec![only(OTHER.id)])));
    for endpoint in [transparent(&SERVER, PORT), meshed(&SERVER, PORT)] {
        let service = mesh.service("admin", &[endpoint]);
        let denied = || mesh.client.get(service.addr, "/metrics").is_ok_and(|reply| reply.status == 403);
        outrigger_testkit::wait_for("the policy to hold", PATIENCE, denied).unwrap();
    }
}
