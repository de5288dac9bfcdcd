//! Every variable of the contract (A.6), as data.

use super::value::{AccessLog, LogFilter, LogFormat, Suffixes, Value, Workload};
use ipnet::IpNet;
use outrigger_model::{DefaultPolicy, DnsName, Identity};
use outrigger_mtls::grpc::ControlAddr;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// A variable, or two that differ in their direction only.
pub(crate) struct Variable {
    pub group: &'static str,
    /// Without [`super::PREFIX`]; `*_` stands for `INBOUND_` and `OUTBOUND_`.
    pub name: &'static str,
    /// As it would be written; empty: none.
    pub default: &'static str,
    pub form: &'static str,
    pub meaning: &'static str,
    pub effect: Effect,
    pub accepts: fn(&str) -> bool,
}

/// Whether the variable does anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Now,
    /// What it is about is still to be built.
    Later,
    /// What it is about is decided elsewhere.
    Never,
}

impl Variable {
    /// The names that it stands for.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> + use<> {
        let (both, directions) = match self.name.strip_prefix('*') {
            Some(rest) => (rest, &["INBOUND", "OUTBOUND"][..]),
            None => (self.name, &[""][..]),
        };
        directions.iter().map(move |direction| format!("{direction}{both}"))
    }
}

/// The variable of that name, without prefix.
pub(super) fn find(name: &str) -> Option<&'static Variable> {
    VARIABLES.iter().find(|variable| variable.names().any(|known| known == name))
}

macro_rules! variables {
    ($($group:literal { $($effect:ident $form:ty: $name:literal $default:literal $meaning:literal;)* })*) => {
        pub(super) const VARIABLES: &[Variable] = &[$($(Variable {
            group: $group,
            name: $name,
            default: $default,
            form: <$form>::FORM,
            meaning: $meaning,
            effect: Effect::$effect,
            accepts: |text| <$form>::parse(text).is_some(),
        }),*),*];
    };
}

variables! {
    "Listening" {
        Now Vec<SocketAddr>: "OUTBOUND_LISTEN_ADDRS" "" "where the application's connections are redirected to, one address of each IP family; wins over the next";
        Now SocketAddr: "OUTBOUND_LISTEN_ADDR" "127.0.0.1:4140" "the same, one address";
        Now SocketAddr: "INBOUND_LISTEN_ADDR" "0.0.0.0:4143" "where connections to this workload are redirected to, and peers' proxies connect to";
        Now SocketAddr: "ADMIN_LISTEN_ADDR" "127.0.0.1:4191" "the admin server; on another address than loopback the port's policy applies";
        Later SocketAddr: "CONTROL_LISTEN_ADDR" "0.0.0.0:4190" "the tap server";
        Now u32: "*_TCP_LISTEN_BACKLOG" "4096" "connections that may wait to be accepted; the kernel's somaxconn limits it";
    }
    "Inbound" {
        Now BTreeSet<IpAddr>: "INBOUND_IPS" "" "this workload's addresses: connections to others are refused, and traffic to them stays here; none: any";
        Now Vec<RangeInclusive<u16>>: "INBOUND_PORTS" "" "ports whose policy is watched from the start; others are from their first connection on";
        Now Vec<RangeInclusive<u16>>: "INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION" "" "ports that are opaque until the policy controller says otherwise";
        Never Vec<RangeInclusive<u16>>: "INBOUND_PORTS_REQUIRE_IDENTITY" "" "the policy controller enforces the annotation of that name";
        Never Vec<RangeInclusive<u16>>: "INBOUND_PORTS_REQUIRE_TLS" "" "the policy controller enforces it";
        Now DefaultPolicy: "INBOUND_DEFAULT_POLICY" "" "what a port allows until the policy controller has answered; unset: nothing";
        Now Duration: "INBOUND_DISCOVERY_IDLE_TIMEOUT" "90s" "how long the policy of an unused port is watched";
        Now Duration: "INBOUND_DETECT_TIMEOUT" "10s" "how long TLS, a transport header and a port's first policy are waited for";
        Now Duration: "INBOUND_CONNECT_TIMEOUT" "300ms" "how long the application may take to accept a connection";
        Now Duration: "INBOUND_CONNECT_EXP_BACKOFF_MIN" "100ms" "the first pause after a failed connection; set together with the next";
        Now Duration: "INBOUND_CONNECT_EXP_BACKOFF_MAX" "10s" "the longest pause";
        Now f64: "INBOUND_CONNECT_EXP_BACKOFF_JITTER" "0.1" "the share of a pause that is added at random at most";
        Never usize: "INBOUND_HTTP_QUEUE_CAPACITY" "10000" "requests that wait for the application: none does, it is connected to at once or the request fails";
        Never Duration: "INBOUND_HTTP_FAILFAST_TIMEOUT" "1s" "how long they wait";
        Now Duration: "INBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT" "3s" "how long an unused HTTP/1 connection to the application is kept";
        Now usize: "MAX_IDLE_CONNS_PER_ENDPOINT" "10000" "how many of them are kept";
        Now usize: "INBOUND_MAX_IN_FLIGHT" "100000" "inbound requests, and connections, at one time; what comes beyond is refused";
        Later Suffixes: "INBOUND_GATEWAY_SUFFIXES" "" "names for which this proxy is a gateway; none: it is no gateway";
        Later String: "INBOUND_METRICS_AUTHORITY_LABELS" "" "unsafe: label metrics by the authority that clients name";
    }
    "Outbound" {
        Now Duration: "OUTBOUND_DISCOVERY_IDLE_TIMEOUT" "5s" "how long an unused destination is remembered";
        Now Duration: "OUTBOUND_DETECT_TIMEOUT" "10s" "how long a protocol's first bytes and a destination's first answer are waited for";
        Now Duration: "OUTBOUND_CONNECT_TIMEOUT" "1s" "how long an endpoint may take to accept a connection, TLS included";
        Now Duration: "OUTBOUND_CONNECT_EXP_BACKOFF_MIN" "100ms" "the first pause after a failed connection, to a controller too; set together with the next";
        Now Duration: "OUTBOUND_CONNECT_EXP_BACKOFF_MAX" "60s" "the longest pause";
        Now f64: "OUTBOUND_CONNECT_EXP_BACKOFF_JITTER" "0.1" "the share of a pause that is added at random at most";
        Now usize: "OUTBOUND_TCP_QUEUE_CAPACITY" "10000" "connections that may wait for a ready endpoint of one service";
        Now Duration: "OUTBOUND_TCP_FAILFAST_TIMEOUT" "3s" "how long they wait";
        Now usize: "OUTBOUND_HTTP_QUEUE_CAPACITY" "10000" "requests that may wait for a ready endpoint of one service";
        Now Duration: "OUTBOUND_HTTP_FAILFAST_TIMEOUT" "3s" "how long they wait";
        Now Duration: "OUTBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT" "3s" "how long an unused HTTP/1 connection to an endpoint is kept";
        Now usize: "OUTBOUND_MAX_IDLE_CONNS_PER_ENDPOINT" "10000" "how many of them are kept";
        Now usize: "OUTBOUND_MAX_IN_FLIGHT" "100000" "outbound requests, and connections, at one time; what comes beyond is refused";
        Now bool: "OUTBOUND_DISABLE_INFORMATIONAL_HEADERS" "" "do not tell the application by l5d-proxy-error why a request failed; unset: as INGRESS_MODE is";
        Later bool: "OUTBOUND_METRICS_HOSTNAME_LABELS" "false" "label route metrics by hostname";
        Later bool: "INGRESS_MODE" "false" "route HTTP by l5d-dst-override and authority";
    }
    "Sockets" {
        Now Duration: "*_ACCEPT_KEEPALIVE" "" "TCP keepalive of accepted connections; unset: off";
        Now Duration: "*_CONNECT_KEEPALIVE" "" "TCP keepalive of connections that the proxy makes";
        Now Duration: "*_ACCEPT_USER_TIMEOUT" "" "TCP_USER_TIMEOUT of accepted connections; unset: the kernel's";
        Now Duration: "*_CONNECT_USER_TIMEOUT" "" "TCP_USER_TIMEOUT of connections that the proxy makes";
    }
    "HTTP/2" {
        Now u32: "*_SERVER_HTTP2_MAX_CONCURRENT_STREAMS" "1000" "requests at one time on one accepted connection";
        Now u32: "*_SERVER_HTTP2_MAX_FRAME_SIZE" "16384" "the largest frame that is read, 16384 to 16777215 bytes";
        Now u32: "*_SERVER_HTTP2_MAX_HEADER_LIST_SIZE" "65536" "the largest head that is read, in bytes";
        Now usize: "*_SERVER_HTTP2_MAX_PENDING_ACCEPT_RESET_STREAMS" "20" "requests that a client may reset before they were looked at, until its connection is closed";
        Now u32: "*_SERVER_HTTP2_MAX_SEND_BUF_SIZE" "409600" "bytes that wait to be sent on one stream";
        Now Duration: "*_SERVER_HTTP2_KEEP_ALIVE_INTERVAL" "10s" "how often a silent client is asked whether it is there";
        Now Duration: "*_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT" "3s" "how long it may take to answer";
        Now bool: "*_SERVER_HTTP2_ADAPTIVE_FLOW_CONTROL" "false" "size windows by what the connection carries; the next two have no effect then";
        Now u32: "*_SERVER_HTTP2_INITIAL_STREAM_WINDOW_SIZE" "65535" "bytes that a client may send on one stream before they are read";
        Now u32: "*_SERVER_HTTP2_INITIAL_CONNECTION_WINDOW_SIZE" "1048576" "the same on all streams of one connection";
        Later Duration: "*_SERVER_HTTP2_MAX_CONNECTION_AGE" "" "after that the client is asked to connect anew";
        Now u32: "HTTP2_INITIAL_STREAM_WINDOW_SIZE" "65535" "bytes that an upstream may send on one stream before they are read";
        Now u32: "HTTP2_INITIAL_CONNECTION_WINDOW_SIZE" "1048576" "the same on all streams of one connection";
    }
    "Discovery and policy" {
        Now ControlAddr: "DESTINATION_SVC_ADDR" "" "the destination controller; required";
        Now DnsName: "DESTINATION_SVC_NAME" "" "the name that its certificate carries; required unless it is on loopback";
        Now String: "DESTINATION_CONTEXT" "" "the token that tells the controller where this workload is";
        Later Suffixes: "DESTINATION_PROFILE_SUFFIXES" "svc.cluster.local." "names that are looked up";
        Now Vec<IpNet>: "DESTINATION_PROFILE_NETWORKS" "" "addresses that are looked up; unset: all";
        Later Duration: "DESTINATION_PROFILE_INITIAL_TIMEOUT" "500ms" "how long an inbound request waits for its service's profile";
        Now ControlAddr: "POLICY_SVC_ADDR" "" "the policy controller; required";
        Now DnsName: "POLICY_SVC_NAME" "" "the name that its certificate carries; required unless it is on loopback";
        Now Workload: "POLICY_WORKLOAD" "" "this workload, as the policy controller knows it; required";
        Now Vec<IpNet>: "POLICY_CLUSTER_NETWORKS" "" "what the cluster-… default policies call the cluster";
        Now Duration: "CONTROL_STREAM_INITIAL_TIMEOUT" "" "a controller's stream that says nothing for so long is opened anew; not on loopback";
        Now Duration: "CONTROL_STREAM_IDLE_TIMEOUT" "" "the same after its first message";
        Now Duration: "CONTROL_STREAM_LIFETIME" "" "every stream is opened anew after that, so that load spreads over a controller's replicas";
        Later Duration: "DNS_MIN_TTL" "" "a controller's addresses are looked up again no sooner";
        Later Duration: "DNS_MAX_TTL" "" "and no later";
    }
    "Identity" {
        Now String: "IDENTITY_TRUST_ANCHORS" "" "PEM certificates, the content, not a file's name; required";
        Now DnsName: "IDENTITY_LOCAL_NAME" "" "stands for the next two";
        Now Identity: "IDENTITY_SERVER_ID" "" "this workload's identity; required";
        Now DnsName: "IDENTITY_SERVER_NAME" "" "the SNI by which peers ask for this workload; required";
        Now PathBuf: "IDENTITY_SPIRE_WORKLOAD_API_ADDRESS" "" "the socket of the SPIFFE Workload API, perhaps with unix: before it; required";
        Now PathBuf: "IDENTITY_SPIRE_SOCKET" "" "the same, by its older name";
        Later Duration: "IDENTITY_SPIRE_EXP_BACKOFF_MIN" "100ms" "the first pause between attempts to reach it";
        Later Duration: "IDENTITY_SPIRE_EXP_BACKOFF_MAX" "1s" "the longest";
        Later f64: "IDENTITY_SPIRE_EXP_BACKOFF_JITTER" "0.1" "the share that is added at random at most";
        Later Duration: "LINKERD2_PROXY_IDENTITY_SPIRE_EXP_BACKOFF_MIN" "100ms" "the same three as Linkerd's proxy reads them";
        Later Duration: "LINKERD2_PROXY_IDENTITY_SPIRE_EXP_BACKOFF_MAX" "1s" "";
        Later f64: "LINKERD2_PROXY_IDENTITY_SPIRE_EXP_BACKOFF_JITTER" "0.1" "";
        Later ControlAddr: "IDENTITY_SVC_ADDR" "" "the identity controller, for workloads without a Workload API";
        Later DnsName: "IDENTITY_SVC_NAME" "" "the name that its certificate carries";
        Later PathBuf: "IDENTITY_DIR" "" "the folder with key.p8 and csr.der";
        Later PathBuf: "IDENTITY_TOKEN_FILE" "" "the token for the identity controller";
        Later Duration: "IDENTITY_MIN_REFRESH" "10s" "certificates are asked for again no sooner";
        Later Duration: "IDENTITY_MAX_REFRESH" "24h" "and no later";
        Now String: "IDENTITY_DISABLED" "" "an error if it is set: a proxy without an identity is no member of the mesh";
    }
    "The process" {
        Now LogFilter: "LOG" "warn,linkerd=info,hickory=error" "what is logged to standard error; PUT /proxy-log-level changes it";
        Now LogFormat: "LOG_FORMAT" "plain" "how";
        Later AccessLog: "ACCESS_LOG" "" "a line for each inbound request";
        Now Duration: "METRICS_RETAIN_IDLE" "10m" "how long series of metrics that nothing counts any more are shown";
        Now bool: "SHUTDOWN_ENDPOINT_ENABLED" "false" "POST /shutdown from this host ends the proxy as SIGTERM does";
        Now Duration: "SHUTDOWN_GRACE_PERIOD" "120s" "how long open connections may take to end after SIGTERM";
        Later DnsName: "TAP_SVC_NAME" "" "who may tap; unset: nobody";
        Later ControlAddr: "TRACE_COLLECTOR_SVC_ADDR" "" "where spans go, OTLP over gRPC; unset: nowhere";
        Later DnsName: "TRACE_COLLECTOR_SVC_NAME" "" "the name that its certificate carries";
        Later PathBuf: "TRACE_ATTRIBUTES_PATH" "" "a file of attributes of every span";
        Later String: "TRACE_EXTRA_ATTRIBUTES" "" "more of them, KEY=VALUE";
        Later String: "TRACE_SERVICE_NAME" "" "the service's name in spans";
        Never String: "TRACE_PROTOCOL" "" "charts set it";
        Never PathBuf: "TRACE_ANNOTATIONS_PATH" "" "charts set it";
        Now usize: "CORES" "1" "worker threads, by an older name of CORES_MAX";
        Now usize: "CORES_MIN" "1" "worker threads at least";
        Now usize: "CORES_MAX" "" "worker threads at most; never more than there are cores";
        Now f64: "CORES_MAX_RATIO" "" "the same as a share of the cores, at most 1";
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_6_every_default_is_of_its_variables_form_and_no_name_comes_twice() {
        let mut names = HashSet::new();
        for variable in VARIABLES {
            assert!(variable.default.is_empty() || (variable.accepts)(variable.default), "{}", variable.name);
            assert!(variable.names().all(|name| names.insert(name)), "{} comes twice", variable.name);
        }
    }
}
