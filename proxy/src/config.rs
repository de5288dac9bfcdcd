//! What the proxy was told: the contract's environment (A.6) as values, complete before any port is bound.

use crate::env::{Environment, InvalidEnvironment};
use ipnet::IpNet;
use outrigger_model::{DefaultPolicy, DnsName, Identity, WorkloadRef};
use outrigger_mtls::grpc::ControlAddr;
use outrigger_proxy_core::balance::Backoff;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    pub outbound: Outbound,
    pub inbound: Inbound,
    pub identity: IdentityConfig,
    pub destination: Destination,
    pub policy: Policy,
    pub admin: SocketAddr,
    /// How long a drain may take (`SHUTDOWN_GRACE_PERIOD`).
    pub grace: Duration,
    pub workers: usize,
}

/// From the application into the mesh.
#[derive(Debug, Clone)]
pub struct Outbound {
    /// One or two addresses, usually on loopback.
    pub listen: Vec<SocketAddr>,
    pub side: Side,
    /// How long a request waits for a ready endpoint.
    pub failfast: Duration,
    /// How long an unused destination is remembered.
    pub idle: Duration,
}

/// From the mesh to the application.
#[derive(Debug, Clone)]
pub struct Inbound {
    pub listen: SocketAddr,
    pub side: Side,
    /// This workload's addresses; empty: any.
    pub ips: BTreeSet<IpAddr>,
    /// Ports whose policy is watched from the start.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Ports that are opaque until the controller says otherwise.
    pub opaque_ports: Vec<RangeInclusive<u16>>,
    /// What holds until the controller answers, if it was set explicitly.
    pub default_policy: Option<DefaultPolicy>,
    pub cluster_networks: Vec<IpNet>,
    /// How long an unused port's policy is watched.
    pub idle: Duration,
}

/// What both directions have.
#[derive(Debug, Clone)]
pub struct Side {
    pub detect_timeout: Duration,
    pub connect_timeout: Duration,
    pub backoff: Backoff,
    pub accepted: SocketOptions,
    pub connected: SocketOptions,
    /// How long an unused HTTP/1 connection is kept.
    pub pool_idle: Duration,
    /// How many unused HTTP/1 connections are kept per endpoint.
    pub pool_size: usize,
    pub max_in_flight: usize,
}

/// Options of a TCP socket, besides TCP_NODELAY.
#[derive(Debug, Clone, Copy, Default)]
pub struct SocketOptions {
    pub keepalive: Option<Duration>,
    pub user_timeout: Option<Duration>,
}

/// Who this workload is and who says so.
#[derive(Debug, Clone)]
pub struct IdentityConfig {
    pub id: Identity,
    /// The SNI by which peers ask for this workload.
    pub server_name: DnsName,
    pub socket: PathBuf,
    pub trust_anchors: String,
}

/// Where destinations are resolved.
#[derive(Debug, Clone)]
pub struct Destination {
    pub addr: ControlAddr,
    pub context: String,
    /// Only addresses in these are looked up; `None`: all of them.
    pub networks: Option<Vec<IpNet>>,
}

/// Where policies come from.
#[derive(Debug, Clone)]
pub struct Policy {
    pub addr: ControlAddr,
    pub workload: String,
}

const CONTROL_FORM: &str = "host:port, such as linkerd-dst-headless.linkerd.svc.cluster.local.:8086";
const WORKLOAD_FORM: &str = "{\"ns\":\"NS\",\"pod\":\"NAME\"} or {\"ns\":\"NS\",\"external_workload\":\"NAME\"}";

impl Config {
    /// Reads every variable through `read`; all mistakes are reported together (exit code 64, A.6).
    pub fn from_env(read: impl Fn(&str) -> Option<String>) -> Result<Self, InvalidEnvironment> {
        let mut env = Environment::new(read);
        let outbound = outbound(&mut env);
        let inbound = inbound(&mut env);
        let identity = identity(&mut env);
        let destination = destination(&mut env);
        let policy = policy(&mut env);
        let admin = env.value("ADMIN_LISTEN_ADDR", "an address such as 127.0.0.1:4191");
        let grace = env.duration("SHUTDOWN_GRACE_PERIOD", Duration::from_secs(120));
        let workers = workers(&mut env);
        let complete = || {
            Some(Self {
                outbound,
                inbound,
                identity: identity?,
                destination: destination?,
                policy: policy?,
                admin: admin.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 4191))),
                grace,
                workers,
            })
        };
        let whole = complete();
        env.finish(whole)
    }
}

fn outbound<F: Fn(&str) -> Option<String>>(env: &mut Environment<F>) -> Outbound {
    let one = env.addresses("OUTBOUND_LISTEN_ADDR");
    let listen = env.addresses("OUTBOUND_LISTEN_ADDRS").or(one).unwrap_or_default();
    if listen.len() > 2 {
        env.mistake("OUTBOUND_LISTEN_ADDRS", "names more than two addresses; one of each IP family is allowed");
    }
    let default = SocketAddr::from(([127, 0, 0, 1], 4140));
    Outbound {
        listen: if listen.is_empty() { vec![default] } else { listen },
        side: side(env, "OUTBOUND", Duration::from_secs(1), Duration::from_secs(60)),
        failfast: env.duration("OUTBOUND_HTTP_FAILFAST_TIMEOUT", Duration::from_secs(3)),
        idle: env.duration("OUTBOUND_DISCOVERY_IDLE_TIMEOUT", Duration::from_secs(5)),
    }
}

fn inbound<F: Fn(&str) -> Option<String>>(env: &mut Environment<F>) -> Inbound {
    let default = SocketAddr::from(([0, 0, 0, 0], 4143));
    let policies = "one of deny, all-unauthenticated, all-authenticated, cluster-unauthenticated, \
                    cluster-authenticated, audit";
    let inbound = Inbound {
        listen: env.value("INBOUND_LISTEN_ADDR", "an address such as 0.0.0.0:4143").unwrap_or(default),
        side: side(env, "INBOUND", Duration::from_millis(300), Duration::from_secs(10)),
        ips: env.ips("INBOUND_IPS").unwrap_or_default(),
        ports: env.ports("INBOUND_PORTS"),
        opaque_ports: env.ports("INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION"),
        default_policy: env.value("INBOUND_DEFAULT_POLICY", policies),
        cluster_networks: env.networks("POLICY_CLUSTER_NETWORKS").unwrap_or_default(),
        idle: env.duration("INBOUND_DISCOVERY_IDLE_TIMEOUT", Duration::from_secs(90)),
    };
    let of_cluster = matches!(
        inbound.default_policy,
        Some(DefaultPolicy::ClusterAuthenticated | DefaultPolicy::ClusterUnauthenticated)
    );
    if of_cluster && inbound.cluster_networks.is_empty() {
        env.mistake(
            "POLICY_CLUSTER_NETWORKS",
            "is not set, and INBOUND_DEFAULT_POLICY is about the cluster's networks",
        );
    }
    inbound
}

fn side<F: Fn(&str) -> Option<String>>(
    env: &mut Environment<F>,
    direction: &str,
    connect_timeout: Duration,
    backoff_max: Duration,
) -> Side {
    let name = |what: &str| format!("{direction}_{what}");
    let socket = |env: &mut Environment<F>, which: &str| SocketOptions {
        keepalive: env.optional_duration(&name(&format!("{which}_KEEPALIVE"))),
        user_timeout: env.optional_duration(&name(&format!("{which}_USER_TIMEOUT"))),
    };
    // The inbound name lacks its direction (A.6).
    let pool_size =
        if direction == "INBOUND" { "MAX_IDLE_CONNS_PER_ENDPOINT".into() } else { name("MAX_IDLE_CONNS_PER_ENDPOINT") };
    Side {
        detect_timeout: env.duration(&name("DETECT_TIMEOUT"), Duration::from_secs(10)),
        connect_timeout: env.duration(&name("CONNECT_TIMEOUT"), connect_timeout),
        backoff: backoff(env, &name("CONNECT_EXP_BACKOFF"), backoff_max),
        accepted: socket(env, "ACCEPT"),
        connected: socket(env, "CONNECT"),
        pool_idle: env.duration(&name("HTTP1_CONNECTION_POOL_IDLE_TIMEOUT"), Duration::from_secs(3)),
        pool_size: env.number(&pool_size, 10_000),
        max_in_flight: env.number(&name("MAX_IN_FLIGHT"), 100_000),
    }
}

fn backoff<F: Fn(&str) -> Option<String>>(env: &mut Environment<F>, name: &str, default_max: Duration) -> Backoff {
    let min = env.optional_duration(&format!("{name}_MIN"));
    let max = env.optional_duration(&format!("{name}_MAX"));
    if min.is_some() != max.is_some() {
        env.mistake(&format!("{name}_MIN"), format!("must be set together with {name}_MAX"));
    }
    let (min, max) = (min.unwrap_or(Duration::from_millis(100)), max.unwrap_or(default_max));
    if min > max || min.is_zero() {
        env.mistake(&format!("{name}_MIN"), format!("must be above zero and at most {name}_MAX"));
    }
    let share = |text: &str| text.parse::<f64>().ok().filter(|share| (0.0..=100.0).contains(share));
    let jitter = env.parsed(&format!("{name}_JITTER"), "a share such as 0.1", share).unwrap_or(0.1);
    Backoff { min, max, jitter }
}

fn identity<F: Fn(&str) -> Option<String>>(env: &mut Environment<F>) -> Option<IdentityConfig> {
    if env.text("IDENTITY_DISABLED").is_some() {
        env.mistake("IDENTITY_DISABLED", "a proxy without an identity is no member of the mesh; unset it");
    }
    let trust_anchors = env.required("IDENTITY_TRUST_ANCHORS", "the PEM certificates of the trust anchors");
    if let Some(Err(error)) = trust_anchors.as_deref().map(outrigger_mtls::parse_anchors) {
        env.mistake("IDENTITY_TRUST_ANCHORS", error);
    }
    let both = env.value::<DnsName>("IDENTITY_LOCAL_NAME", "a DNS name");
    let id = env.value("IDENTITY_SERVER_ID", "a SPIFFE id or a DNS name").or_else(|| both.clone().map(Identity::Dns));
    let server_name = env.value("IDENTITY_SERVER_NAME", "a DNS name").or(both);
    for (name, missing) in [("IDENTITY_SERVER_ID", id.is_none()), ("IDENTITY_SERVER_NAME", server_name.is_none())] {
        if missing && env.text(name).is_none() {
            env.mistake(name, "is not set; set it, or IDENTITY_LOCAL_NAME for both");
        }
    }
    let socket = env.text("IDENTITY_SPIRE_WORKLOAD_API_ADDRESS").or_else(|| env.text("IDENTITY_SPIRE_SOCKET"));
    if socket.is_none() {
        env.mistake(
            "IDENTITY_SPIRE_SOCKET",
            "is not set; set it to the Workload API's socket, unix:///path/to/api.sock",
        );
    }
    let socket = socket.map(|path| PathBuf::from(path.strip_prefix("unix:").unwrap_or(&path)));
    Some(IdentityConfig { id: id?, server_name: server_name?, socket: socket?, trust_anchors: trust_anchors? })
}

fn destination<F: Fn(&str) -> Option<String>>(env: &mut Environment<F>) -> Option<Destination> {
    let addr = control(env, "DESTINATION_SVC");
    let context = env.text("DESTINATION_CONTEXT").unwrap_or_default();
    // Linkerd reads "unset" as "none" and learns of services by OutboundPolicies instead, which this proxy does not ask.
    let networks = env.networks("DESTINATION_PROFILE_NETWORKS");
    Some(Destination { addr: addr?, context, networks })
}

fn policy<F: Fn(&str) -> Option<String>>(env: &mut Environment<F>) -> Option<Policy> {
    let addr = control(env, "POLICY_SVC");
    let workload = env.required("POLICY_WORKLOAD", WORKLOAD_FORM);
    if let Some(Err(error)) = workload.as_deref().map(WorkloadRef::parse) {
        env.mistake("POLICY_WORKLOAD", error);
    }
    Some(Policy { addr: addr?, workload: workload? })
}

fn control<F: Fn(&str) -> Option<String>>(env: &mut Environment<F>, service: &str) -> Option<ControlAddr> {
    let (addr, name) = (format!("{service}_ADDR"), format!("{service}_NAME"));
    if env.text(&addr).is_none() {
        env.mistake(&addr, format!("is not set; set it to {CONTROL_FORM}"));
    }
    let parsed: Option<ControlAddr> = env.value(&addr, CONTROL_FORM);
    let identity = env.value(&name, "the DNS name that the controller's certificate carries");
    let parsed = parsed?;
    let loopback = parsed.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) || parsed.host == "localhost";
    if identity.is_none() && !loopback {
        env.mistake(&name, format!("is not set, and {parsed} is not on loopback: it must prove its identity"));
    }
    Some(ControlAddr { name: if loopback { None } else { identity }, ..parsed })
}

fn workers<F: Fn(&str) -> Option<String>>(env: &mut Environment<F>) -> usize {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    let older = env.number("CORES", 1);
    let least = env.number("CORES_MIN", 1);
    let share = |text: &str| text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    let ratio = env.parsed("CORES_MAX_RATIO", "a share of the cores between 0 and 1", share);
    let of_ratio = ratio.map(|ratio| (available as f64 * ratio).round() as usize);
    let most = env.value("CORES_MAX", "a whole number").or(of_ratio).unwrap_or(older);
    most.max(least).clamp(1, available)
}

#[cfg(test)]
pub(crate) mod tests;
