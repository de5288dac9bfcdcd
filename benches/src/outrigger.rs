//! A pair of Outrigger proxies, with all that they need: identities, both controllers and a folder of manifests.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path as FilePath, PathBuf};

use anyhow::{Context as _, Result};
use outrigger_testkit::{Host, Network, Process, Program};
use serde_json::json;

use crate::path::{Ends, Path, SERVER_PORT, started};
use crate::programs;
use crate::redirect::{CLIENT_UID, INBOUND_PORT, OUTBOUND_PORT, SERVER_UID, redirect};

const TRUST_DOMAIN: &str = "root.linkerd.cluster.local";
const CONTROL_PLANE: &str = "10.88.0.1";
const SERVICE: &str = "10.96.88.1";
/// The names that proxies know the controllers by, and their ports.
const DESTINATION: (&str, u16) = ("linkerd-dst-headless.linkerd.svc.cluster.local", 8086);
const POLICY: (&str, u16) = ("linkerd-policy.linkerd.svc.cluster.local", 8090);
/// The group that may use the Workload API's socket.
const GROUP: u32 = 2102;

/// Starts everything; the client asks the server's Service, as clients in a mesh do.
pub(crate) fn path(network: &mut Network) -> Result<Path> {
    let mut ends = Ends::new(network, "outrigger", 3)?;
    let control = network.add_host("control", &[&format!("{CONTROL_PLANE}/16")])?;
    let mesh = Mesh::start(&control, &network.folder(), ends.client_address, ends.server_address)?;
    let proxies = vec![
        mesh.start_proxy(&ends.client, "client", CLIENT_UID, OUTBOUND_PORT)?,
        mesh.start_proxy(&ends.server, "server", SERVER_UID, INBOUND_PORT)?,
    ];
    redirect(&ends.client, CLIENT_UID)?;
    redirect(&ends.server, SERVER_UID)?;
    // The Service's address needs some route; the redirect takes the connection before it leaves.
    ends.client.add_default_route(None)?;
    ends.running.extend(mesh.running);
    Ok(ends.path("outrigger", SocketAddr::new(SERVICE.parse()?, 80), proxies))
}

/// The issuer and the controllers.
struct Mesh {
    socket: PathBuf,
    anchors: String,
    running: Vec<Process>,
}

impl Mesh {
    fn start(host: &Host, folder: &FilePath, client: IpAddr, server: IpAddr) -> Result<Self> {
        let (manifests, entries) = (folder.join("manifests"), folder.join("entries.yaml"));
        let (socket, state) = (folder.join("spire/api.sock"), folder.join("issuer"));
        fs::create_dir(&manifests).with_context(|| format!("cannot make {}", manifests.display()))?;
        fs::write(manifests.join("bench.yaml"), objects(client, server))?;
        fs::write(&entries, registrations())?;

        let issuer = Program::new(programs::ours("outrigger")?)
            .args(["identity", "serve", "--trust-domain", TRUST_DOMAIN, "--group", &GROUP.to_string()])
            .args([FilePath::new("--socket"), &socket, FilePath::new("--entries"), &entries])
            .args([FilePath::new("--state-dir"), &state]);
        let mut issuer = host.spawn(&issuer)?;
        issuer.wait_for("the issuer's socket", crate::path::START, |_| socket.exists())?;

        let anchors = state.join("ca.crt");
        let mut running = vec![issuer];
        for (name, port) in [("outrigger-destination", DESTINATION.1), ("outrigger-policy", POLICY.1)] {
            let controller = Program::new(programs::ours(name)?)
                .args([FilePath::new("--manifests"), &manifests, FilePath::new("--spire-socket"), &socket])
                .args([FilePath::new("--trust-anchors"), &anchors]);
            running.push(started(host, &controller, port)?);
        }
        let anchors = fs::read_to_string(&anchors).context("the issuer wrote no certificate")?;
        Ok(Self { socket, anchors, running })
    }

    /// A proxy with the environment that the guide "Adding non-Kubernetes workloads" gives it.
    fn start_proxy(&self, host: &Host, name: &str, uid: u32, port: u16) -> Result<Process> {
        let control_plane: IpAddr = CONTROL_PLANE.parse()?;
        host.write_hosts(&[(control_plane, DESTINATION.0), (control_plane, POLICY.0)])?;
        let controllers = account_name("linkerd", "linkerd-destination");
        let workload = json!({ "ns": "bench", "pod": name }).to_string();
        let address = |(name, port)| format!("{name}.:{port}");
        let proxy = Program::new(programs::for_anyone(&programs::ours("outrigger-proxy")?)?)
            .user(uid, GROUP, &[])
            .env("LINKERD2_PROXY_IDENTITY_SERVER_ID", account_id("bench", name))
            .env("LINKERD2_PROXY_IDENTITY_SERVER_NAME", account_name("bench", name))
            .env("LINKERD2_PROXY_IDENTITY_SPIRE_SOCKET", format!("unix://{}", self.socket.display()))
            .env("LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS", &self.anchors)
            .env("LINKERD2_PROXY_DESTINATION_CONTEXT", &workload)
            .env("LINKERD2_PROXY_POLICY_WORKLOAD", &workload)
            .env("LINKERD2_PROXY_DESTINATION_SVC_ADDR", address(DESTINATION))
            .env("LINKERD2_PROXY_DESTINATION_SVC_NAME", &controllers)
            .env("LINKERD2_PROXY_POLICY_SVC_ADDR", address(POLICY))
            .env("LINKERD2_PROXY_POLICY_SVC_NAME", &controllers);
        started(host, &proxy, port)
    }
}

/// Who gets which names: the controllers run as root.
fn registrations() -> String {
    let entry = |uid: u32, namespace: &str, account: &str| {
        json!({
            "uid": uid,
            "spiffeId": account_id(namespace, account),
            "dnsNames": [account_name(namespace, account)],
        })
    };
    let entries = [
        entry(0, "linkerd", "linkerd-destination"),
        entry(CLIENT_UID, "bench", "client"),
        entry(SERVER_UID, "bench", "server"),
    ];
    json!({ "entries": entries }).to_string()
}

/// Two meshed pods, and a Service that selects the server's.
fn objects(client: IpAddr, server: IpAddr) -> String {
    let pod = |name: &str, ip: IpAddr| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": "bench",
                "labels": { "app": name, "linkerd.io/control-plane-ns": "linkerd" },
            },
            "spec": {
                "serviceAccountName": name,
                "containers": [{ "name": "app", "ports": [{ "name": "http", "containerPort": SERVER_PORT }] }],
            },
            "status": {
                "phase": "Running",
                "podIP": ip,
                "podIPs": [{ "ip": ip }],
                "conditions": [{ "type": "Ready", "status": "True" }],
            },
        })
    };
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "bench" } });
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": "server", "namespace": "bench" },
        "spec": {
            "clusterIP": SERVICE,
            "selector": { "app": "server" },
            "ports": [{ "name": "http", "port": 80, "targetPort": SERVER_PORT }],
        },
    });
    // JSON is YAML.
    [namespace, service, pod("client", client), pod("server", server)].map(|object| object.to_string()).join("\n---\n")
}

fn account_id(namespace: &str, account: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/ns/{namespace}/sa/{account}")
}

fn account_name(namespace: &str, account: &str) -> String {
    format!("{account}.{namespace}.serviceaccount.identity.linkerd.cluster.local")
}
