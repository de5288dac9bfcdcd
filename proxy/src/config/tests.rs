use super::*;
use std::time::Duration;

/// A certificate that is a valid PEM block; whether it is a CA is the verifier's business.
fn anchors() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::new(vec!["ca".to_owned()]).unwrap().self_signed(&key).unwrap().pem()
}

/// The environment block of the guide "Adding non-Kubernetes workloads to your mesh".
pub(crate) fn guide() -> BTreeMap<String, String> {
    let pairs = [
        ("IDENTITY_SERVER_ID", "spiffe://root.linkerd.cluster.local/external-workload"),
        ("IDENTITY_SERVER_NAME", "external-workload.cluster.local"),
        ("POLICY_WORKLOAD", "{\"ns\":\"mixed-env\", \"external_workload\":\"external-workload\"}"),
        (
            "DESTINATION_CONTEXT",
            "{\"ns\":\"mixed-env\", \"nodeName\":\"my-vm\", \"external_workload\":\"external-workload\"}",
        ),
        ("DESTINATION_SVC_ADDR", "linkerd-dst-headless.linkerd.svc.cluster.local.:8086"),
        ("DESTINATION_SVC_NAME", "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local"),
        ("POLICY_SVC_NAME", "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local"),
        ("POLICY_SVC_ADDR", "linkerd-policy.linkerd.svc.cluster.local.:8090"),
        ("IDENTITY_SPIRE_SOCKET", "unix:///tmp/spire-agent/public/api.sock"),
    ];
    let mut env: BTreeMap<_, _> = pairs.iter().map(|(k, v)| (format!("LINKERD2_PROXY_{k}"), (*v).to_owned())).collect();
    env.insert("LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS".into(), anchors());
    env
}

fn read(env: &BTreeMap<String, String>) -> Result<Config, InvalidEnvironment> {
    Config::from_env(env)
}

fn with(name: &str, value: &str) -> Result<Config, InvalidEnvironment> {
    let mut env = guide();
    env.insert(format!("LINKERD2_PROXY_{name}"), value.into());
    read(&env)
}

#[test]
fn l_017_the_guides_environment_is_complete() {
    let config = read(&guide()).unwrap();
    assert_eq!(config.identity.socket.to_str(), Some("unix:///tmp/spire-agent/public/api.sock"));
    assert_eq!(config.outbound.listen, ["127.0.0.1:4140".parse().unwrap()]);
    assert_eq!(config.inbound.listen, "0.0.0.0:4143".parse().unwrap());
    assert_eq!(config.process.admin, "127.0.0.1:4191".parse().unwrap());
    assert_eq!(config.inbound.default_policy, None);
    assert_eq!(config.inbound.side.connect_timeout, Duration::from_millis(300));
    assert!(config.destination.addr.name.is_some());
}

#[test]
fn a_6_every_mistake_names_variable_value_and_form() {
    for (name, value, says) in [
        ("INBOUND_LISTEN_ADDR", "4143", "\"4143\" is not an address"),
        ("OUTBOUND_CONNECT_TIMEOUT", "10", "\"10\" is not a duration"),
        ("OUTBOUND_LISTEN_ADDRS", "1.1.1.1:1,1.1.1.1:2,1.1.1.1:3", "one or two"),
        ("INBOUND_DEFAULT_POLICY", "allow", "one of deny"),
        ("INBOUND_DEFAULT_POLICY", "cluster-authenticated", "POLICY_CLUSTER_NETWORKS"),
        ("INBOUND_PORTS", "80,http", "ports and ranges"),
        ("POLICY_WORKLOAD", "{}", "external_workload"),
        ("IDENTITY_SERVER_ID", "spiffe://", "a SPIFFE id"),
        ("IDENTITY_SERVER_NAME", "a..b", "a DNS name"),
        ("IDENTITY_TRUST_ANCHORS", "ca.crt", "IDENTITY_TRUST_ANCHORS"),
        ("IDENTITY_DISABLED", "1", "unset it"),
        ("DESTINATION_SVC_ADDR", "dst", "host:port"),
        ("OUTBOUND_CONNECT_EXP_BACKOFF_MIN", "1s", "together"),
        ("CORES_MAX_RATIO", "2", "between 0 and 1"),
        ("INBOUND_SERVER_HTTP2_MAX_FRAME_SIZE", "1", "between 16384"),
        ("HTTP2_INITIAL_STREAM_WINDOW_SIZE", "2147483648", "above"),
        ("CONTROL_STREAM_LIFETIME", "0", "above zero"),
        ("LOG", "outrigger=loud", "target=level"),
        ("INGRESS_MODE", "yes", "\"yes\" is not true or false"),
        ("TRACE_COLLECTOR_SVC_ADDR", "collector", "host:port"),
    ] {
        let text = with(name, value).unwrap_err().to_string();
        assert!(text.contains(says) && text.contains("LINKERD2_PROXY_"), "{name}={value}: {text}");
    }
    let nothing = read(&BTreeMap::new()).unwrap_err();
    assert_eq!(nothing.0.len(), 7, "all that is missing is said at once: {nothing}");
}

#[test]
fn a_controller_off_loopback_must_be_named() {
    let mut env = guide();
    env.remove("LINKERD2_PROXY_POLICY_SVC_NAME");
    assert!(read(&env).unwrap_err().to_string().contains("must prove its identity"));
    env.insert("LINKERD2_PROXY_POLICY_SVC_ADDR".into(), "127.0.0.1:8090".into());
    assert_eq!(read(&env).unwrap().policy.addr.name, None);
}

#[test]
fn a_6_every_variable_of_the_table_is_read_and_checked() {
    use crate::env::tests::each_variable;
    let bad = "\u{1}";
    for (name, _) in each_variable().filter(|(_, accepts)| !accepts(bad)) {
        let error = with(&name, bad).map(|_| name.clone()).expect_err("it is checked").to_string();
        assert!(error.contains(&format!("LINKERD2_PROXY_{name}: \"\\u{{1}}\" is not ")), "{name}: {error}");
    }
}

#[test]
fn a_6_what_is_set_in_vain_is_said_once() {
    let mut env = guide();
    assert_eq!(read(&env).unwrap().warnings, [""; 0]);
    for (name, value) in [("TAP_SVC_NAME", "tap.example"), ("INBOUND_PORTS_REQUIRE_TLS", "80"), ("INBOUND_TYPO", "1")] {
        env.insert(format!("LINKERD2_PROXY_{name}"), value.into());
    }
    env.insert("PATH".into(), "/bin".into());
    let warnings = read(&env).unwrap().warnings;
    assert_eq!(
        warnings,
        [
            "LINKERD2_PROXY_INBOUND_PORTS_REQUIRE_TLS is accepted and has no effect",
            "LINKERD2_PROXY_INBOUND_TYPO is no variable of this proxy and has no effect",
            "LINKERD2_PROXY_TAP_SVC_NAME is accepted and has no effect yet",
        ]
    );
}

#[test]
fn a_6_defaults_and_values_arrive() {
    let plain = read(&guide()).unwrap();
    assert_eq!(plain.inbound.side.backoff.max, Duration::from_secs(10));
    assert_eq!(plain.outbound.side.backoff.max, Duration::from_secs(60));
    assert_eq!(plain.outbound.http2_windows, Windows::Fixed { stream: 65_535, connection: 1 << 20 });
    assert!(plain.outbound.informs && plain.destination.streams == StreamLimits::default());
    assert!(!with("INGRESS_MODE", "true").unwrap().outbound.informs);
    assert!(!with("OUTBOUND_DISABLE_INFORMATIONAL_HEADERS", "true").unwrap().outbound.informs);
    assert_eq!(with("OUTBOUND_SERVER_HTTP2_ADAPTIVE_FLOW_CONTROL", "true").unwrap().inbound.side.http2.windows, {
        plain.outbound.http2_windows
    });
    let adaptive = with("OUTBOUND_SERVER_HTTP2_ADAPTIVE_FLOW_CONTROL", "true").unwrap();
    assert_eq!(adaptive.outbound.side.http2.windows, Windows::Adaptive);
    assert_eq!(with("INBOUND_TCP_LISTEN_BACKLOG", "7").unwrap().inbound.side.backlog, 7);
    let mut env = guide();
    env.insert("LINKERD2_PROXY_CONTROL_STREAM_IDLE_TIMEOUT".into(), "5m".into());
    env.insert("LINKERD2_PROXY_POLICY_SVC_ADDR".into(), "127.0.0.1:8090".into());
    let limited = read(&env).unwrap();
    assert_eq!(limited.destination.streams.idle, Some(Duration::from_secs(300)));
    assert_eq!(limited.policy.streams, StreamLimits::default(), "streams on loopback last");
}

#[test]
fn the_environments_page_is_the_tables() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/environment.md")).unwrap();
    assert!(page == crate::env::page(), "run: outrigger-proxy --help > docs/environment.md");
}
