//! The whole, from set-up to removal.

use super::agent::Agent;
use super::destination::{Destination, Service};
use super::member::{CLIENT, CONTROL, CONTROL_V6, Member, SERVER};
use super::messages::service_policy;
use super::policy::Policy;
use super::script::Answer;
use super::stranger::Stranger;
use super::workload::{Site, Workload};
use linkerd2_proxy_api::destination::WeightedAddr;
use outrigger_testkit::{Capture, Host, Network};
use std::fs::{self, Permissions};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use tempfile::TempDir;

/// Two workloads, both controllers, the Workload API. Parts end in the order in which they stand here.
pub(crate) struct Mesh {
    pub client: Workload,
    pub server: Workload,
    pub destination: Destination,
    pub policy: Policy,
    pub agent: Agent,
    /// A machine without proxy and rules; the controllers are there too.
    pub control: Host,
    site: Site,
    /// How many there are.
    services: AtomicU8,
    _program: Option<TempDir>,
    network: Network,
}

/// How a mesh differs from the usual one.
#[derive(Default)]
pub(crate) struct Plan {
    env: Vec<(&'static str, &'static str, String)>,
    dual_stack: bool,
    without_agent: bool,
}

impl Plan {
    /// A variable of one member's proxy, without its prefix `LINKERD2_PROXY_`.
    pub(crate) fn env(mut self, member: &Member, name: &'static str, value: &str) -> Self {
        self.env.push((member.host, name, value.to_owned()));
        self
    }

    /// IPv6 beside IPv4: addresses, rules and listeners.
    pub(crate) fn dual_stack(mut self) -> Self {
        self.dual_stack = true;
        self
    }

    /// The Workload API is down until [`Agent::start`], and no proxy is waited for.
    pub(crate) fn without_agent(mut self) -> Self {
        self.without_agent = true;
        self
    }

    pub(crate) fn start(self) -> Mesh {
        let mut network = Network::new().expect("this test needs root");
        let agent = Agent::new(&network.folder());
        let control = network.add_host("control", &[&format!("{CONTROL}/24"), &format!("{CONTROL_V6}/64")]).unwrap();
        let destination = Destination::start(&control, agent.controllers());
        let policy = Policy::start(&control, agent.controllers());
        let (program, _program) = program();
        let socket = agent.socket().to_str().unwrap().to_owned();
        let anchors = agent.ca().bundle_pem().to_owned();
        let site = Site { program, socket, anchors, dual_stack: self.dual_stack, env: self.environment() };
        let client = Workload::set_up(&mut network, &CLIENT, &site);
        let server = Workload::set_up(&mut network, &SERVER, &site);
        let services = AtomicU8::new(0);
        let mut mesh = Mesh { client, server, destination, policy, agent, control, site, services, _program, network };
        if !self.without_agent {
            mesh.agent.start();
        }
        for workload in [&mut mesh.client, &mut mesh.server] {
            workload.start_proxy();
        }
        if !self.without_agent {
            mesh.client.wait_until_ready();
            mesh.server.wait_until_ready();
        }
        mesh
    }

    fn environment(&self) -> Vec<(&'static str, &'static str, String)> {
        let listen = super::member::MEMBERS.iter().flat_map(|member| {
            [("OUTBOUND_LISTEN_ADDRS", "127.0.0.1:4140,[::1]:4140"), ("INBOUND_LISTEN_ADDR", "[::]:4143")]
                .map(|(name, value)| (member.host, name, value.to_owned()))
        });
        // A plan's own variables come last and win.
        listen.filter(|_| self.dual_stack).chain(self.env.iter().cloned()).collect()
    }
}

impl Mesh {
    /// The usual mesh, ready.
    pub(crate) fn start() -> Self {
        Plan::default().start()
    }

    /// Another workload, ready.
    pub(crate) fn add(&mut self, member: &'static Member) -> Workload {
        let mut workload = Workload::set_up(&mut self.network, member, &self.site);
        workload.start_proxy();
        workload.wait_until_ready();
        workload
    }

    /// A new service with these endpoints, on an address of its own, known to both controllers.
    pub(crate) fn service(&self, name: &str, endpoints: &[WeightedAddr]) -> Service {
        self.declare([10, 96, 0, self.next()].into(), name, false, endpoints)
    }

    /// As [`Mesh::service`], with the port marked opaque.
    pub(crate) fn opaque_service(&self, name: &str, endpoints: &[WeightedAddr]) -> Service {
        self.declare([10, 96, 0, self.next()].into(), name, true, endpoints)
    }

    /// As [`Mesh::service`] or [`Mesh::opaque_service`], on an IPv6 address.
    pub(crate) fn service_v6(&self, name: &str, opaque: bool, endpoints: &[WeightedAddr]) -> Service {
        self.declare([0xfd96, 0, 0, 0, 0, 0, 0, self.next().into()].into(), name, opaque, endpoints)
    }

    fn declare(&self, ip: IpAddr, name: &str, opaque: bool, endpoints: &[WeightedAddr]) -> Service {
        let service = self.destination.declare((ip, 80).into(), name, opaque, endpoints);
        self.policy.outbound.set(service.addr, Answer::Say(service_policy(&service.authority, opaque)));
        service
    }

    fn next(&self) -> u8 {
        self.services.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Starts to record every frame between the machines.
    pub(crate) fn capture(&self) -> Capture {
        self.network.capture().unwrap()
    }

    /// Somebody on a machine without a proxy, with openssl.
    pub(crate) fn stranger(&self) -> Stranger {
        Stranger::new(&self.control, self.network.folder())
    }
}

/// The proxy's program. Its user must be able to run it: below a folder that is closed to others it is copied.
fn program() -> (PathBuf, Option<TempDir>) {
    let built = Path::new(env!("CARGO_BIN_EXE_outrigger-proxy"));
    let open = |folder: &Path| fs::metadata(folder).is_ok_and(|m| m.permissions().mode() & 0o001 == 0o001);
    if built.ancestors().all(open) {
        return (built.to_owned(), None);
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join("outrigger-proxy");
    fs::copy(built, &copy).unwrap();
    (copy, Some(folder))
}
