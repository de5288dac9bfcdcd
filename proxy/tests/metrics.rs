//! What the admin port shows (A.5): names and labels that dashboards depend on.

use crate::support::*;
use outrigger_testkit::wait_for;
use std::collections::BTreeSet;
use std::io::{Read, Write};

/// A machine's metrics.
struct Metrics(String);

impl Metrics {
    fn of(workload: &Workload) -> Self {
        let reply = workload.admin("/metrics").unwrap();
        assert_eq!(reply.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
        assert!(reply.body.ends_with("# EOF\n"));
        Self(reply.body)
    }

    /// The value of the one series of that name with all of these labels.
    fn value(&self, name: &str, labels: &[&str]) -> f64 {
        let of = |line: &&str| {
            let series = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']));
            series.is_some_and(|series| labels.iter().all(|label| series.contains(label)))
        };
        let found: Vec<_> = self.0.lines().filter(of).collect();
        assert_eq!(found.len(), 1, "{name} {labels:?} in {}", self.0);
        found[0].rsplit(' ').next().unwrap().parse().unwrap()
    }
}

fn id(label: &str, member: &str) -> String {
    format!("{label}=\"{member}\"")
}

#[test]
fn a_5_requests_and_connections_are_counted_by_who_and_where() {
    let mesh = Mesh::start();
    let _app = mesh.server.serve(8080, http);
    let service = mesh.service("web", &[meshed(&SERVER, 8080)]);
    let mut client = mesh.client.http(service.addr);
    for _ in 0..3 {
        assert_eq!(client.get("/").unwrap().status, 200);
    }

    let (at_client, at_server) = (Metrics::of(&mesh.client), Metrics::of(&mesh.server));
    let (server_id, client_id) = (id("server_id", SERVER.id), id("client_id", CLIENT.id));
    let from_app = ["direction=\"outbound\"", "peer=\"src\"", "tls=\"no_identity\"", "no_tls_reason=\"loopback\""];
    let to_peer = ["direction=\"outbound\"", "peer=\"dst\"", "tls=\"true\"", &server_id];
    let from_peer = ["direction=\"inbound\"", "peer=\"src\"", "tls=\"true\"", &client_id, "target_port=\"8080\""];
    for (metrics, labels) in [(&at_client, &from_app[..]), (&at_client, &to_peer), (&at_server, &from_peer)] {
        assert_eq!(metrics.value("tcp_open_total", labels), 1.0);
        assert_eq!(metrics.value("tcp_open_connections", labels), 1.0);
        assert!(metrics.value("tcp_read_bytes_total", labels) >= 90.0);
        assert!(metrics.value("tcp_write_bytes_total", labels) >= 90.0);
    }
    let served = ["direction=\"inbound\"", "status_code=\"200\"", "classification=\"success\""];
    assert_eq!(at_server.value("response_total", &served), 3.0);
    assert_eq!(at_server.value("response_latency_ms_count", &["direction=\"inbound\""]), 3.0);
    assert_eq!(at_client.value("request_total", &["direction=\"outbound\""]), 3.0);
    let admitted = [client_id.as_str(), "srv_name=\"all-unauthenticated\"", "authz_name=\"everyone\"", "tls=\"true\""];
    assert_eq!(at_server.value("inbound_http_authz_allow_total", &admitted), 3.0);

    drop(client);
    let ended = || Metrics::of(&mesh.client).value("tcp_open_connections", &from_app) == 0.0;
    wait_for("the connection's end to be counted", PATIENCE, ended).unwrap();
    assert_eq!(Metrics::of(&mesh.client).value("tcp_close_total", &from_app), 1.0);
}

#[test]
fn a_5_admitted_denied_and_ended_connections_are_counted() {
    let mesh = Mesh::start();
    let _app = mesh.server.serve(5432, echo);
    let service = mesh.opaque_service("db", &[opaquely(meshed(&SERVER, 5432))]);
    mesh.policy.set(5432, server("db", opaque(vec![only(CLIENT.id)])));
    let mut client = mesh.client.connect(service.addr).unwrap();
    client.write_all(b"hello").unwrap();
    client.read_exact(&mut [0; 5]).unwrap();
    let by = id("client_id", CLIENT.id);
    let labels = [by.as_str(), "srv_name=\"db\"", "target_port=\"5432\""];
    assert_eq!(Metrics::of(&mesh.server).value("inbound_tcp_authz_allow_total", &labels), 1.0);

    mesh.policy.set(5432, server("db", opaque(vec![only(OTHER.id)])));
    assert!(ends(&mut client));
    assert_eq!(Metrics::of(&mesh.server).value("inbound_tcp_authz_terminate_total", &labels), 1.0);
    let mut denied = mesh.client.connect(service.addr).unwrap();
    denied.write_all(b"hello").unwrap();
    assert!(ends(&mut denied));
    assert_eq!(Metrics::of(&mesh.server).value("inbound_tcp_authz_deny_total", &labels), 1.0);
}

#[test]
fn a_5_the_process_its_identity_and_its_controllers_are_shown() {
    let mesh = Mesh::start();
    let service = mesh.service("web", &[meshed(&SERVER, 8080)]);
    let _app = mesh.server.serve(8080, http);
    assert_eq!(mesh.client.get(service.addr, "/").unwrap().status, 200);
    let metrics = Metrics::of(&mesh.client);
    for name in ["process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"] {
        assert!(metrics.value(name, &[]) > 0.0, "{name}");
    }
    assert!(metrics.value("process_cpu_seconds_total", &[]) >= 0.0);
    assert_eq!(metrics.value("proxy_build_info", &["vendor=\"outrigger\""]), 1.0);
    assert!(metrics.value("control_identity_cert_refreshes_total", &[]) >= 1.0);
    let destination = ["addr=\"", ":8086\"", "tls=\"true\"", "server_id=\"linkerd-destination."];
    assert!(metrics.value("control_request_total", &destination) >= 2.0, "a profile, and endpoints");
    assert!(metrics.value("control_streams", &destination) >= 2.0);

    let names: Vec<_> = metrics.0.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "every family stands once");
}
