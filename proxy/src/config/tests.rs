use super::*;
use std::collections::HashMap;

/// A certificate that is a valid PEM block; whether it is a CA is the verifier's business.
fn anchors() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::new(vec!["ca".to_owned()]).unwrap().self_signed(&key).unwrap().pem()
}

/// The environment block of the guide "Adding non-Kubernetes workloads to your mesh".
pub(crate) fn guide() -> HashMap<String, String> {
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
    let mut env: HashMap<_, _> = pairs.iter().map(|(k, v)| (format!("LINKERD2_PROXY_{k}"), (*v).to_owned())).collect();
    env.insert("LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS".into(), anchors());
    env
}

fn read(env: &HashMap<String, String>) -> Result<Config, InvalidEnvironment> {
    Config::from_env(|name| env.get(name).cloned())
}

fn with(name: &str, value: &str) -> Result<Config, InvalidEnvironment> {
    let mut env = guide();
    env.insert(format!("LINKERD2_PROXY_{name}"), value.into());
    read(&env)
}

#[test]
fn l_017_the_guides_environment_is_complete() {
    let config = read(&guide()).unwrap();
    assert_eq!(config.identity.socket.to_str(), Some("///tmp/spire-agent/public/api.sock"));
    assert_eq!(config.outbound.listen, ["127.0.0.1:4140".parse().unwrap()]);
    assert_eq!(config.inbound.listen, "0.0.0.0:4143".parse().unwrap());
    assert_eq!(config.admin, "127.0.0.1:4191".parse().unwrap());
    assert_eq!(config.inbound.default_policy, None);
    assert_eq!(config.inbound.side.connect_timeout, Duration::from_millis(300));
    assert!(config.destination.addr.name.is_some());
}

#[test]
fn a_6_every_mistake_names_variable_value_and_form() {
    for (name, value, says) in [
        ("INBOUND_LISTEN_ADDR", "4143", "\"4143\" is not an address"),
        ("OUTBOUND_CONNECT_TIMEOUT", "10", "\"10\" is not a duration"),
        ("OUTBOUND_LISTEN_ADDRS", "1.1.1.1:1,1.1.1.1:2,1.1.1.1:3", "more than two"),
        ("INBOUND_DEFAULT_POLICY", "allow", "one of deny"),
        ("INBOUND_DEFAULT_POLICY", "cluster-authenticated", "POLICY_CLUSTER_NETWORKS"),
        ("INBOUND_PORTS", "80,http", "ports and ranges"),
        ("POLICY_WORKLOAD", "{}", "no workload"),
        ("IDENTITY_SERVER_ID", "spiffe://", "a SPIFFE id"),
        ("IDENTITY_SERVER_NAME", "a..b", "a DNS name"),
        ("IDENTITY_TRUST_ANCHORS", "ca.crt", "IDENTITY_TRUST_ANCHORS"),
        ("IDENTITY_DISABLED", "1", "unset it"),
        ("DESTINATION_SVC_ADDR", "dst", "host:port"),
        ("OUTBOUND_CONNECT_EXP_BACKOFF_MIN", "1s", "together"),
        ("CORES_MAX_RATIO", "2", "between 0 and 1"),
    ] {
        let text = with(name, value).unwrap_err().to_string();
        assert!(text.contains(says) && text.contains("LINKERD2_PROXY_"), "{name}={value}: {text}");
    }
    let nothing = read(&HashMap::new()).unwrap_err();
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
