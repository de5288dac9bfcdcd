//! What `outrigger diagnostics` shows of real controllers that follow the example's manifests.

use outrigger_testkit::{Host, Network, Process, Program};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const OUTRIGGER: &str = env!("CARGO_BIN_EXE_outrigger");
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/mesh-expansion");
const NAME: &str = "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local";
const VM: &str = "externalworkload/external-workload.mixed-env";

/// Both controllers and the issuer on one machine, a VM beside it.
struct Mesh {
    control_plane: Host,
    vm: Host,
    socket: PathBuf,
    folder: tempfile::TempDir,
    _processes: Vec<Process>,
    _network: Network,
}

impl Mesh {
    fn start() -> Self {
        let mut network = Network::new().expect("namespaces can be made");
        let control_plane = network.add_host("control-plane", &["10.77.0.2/24"]).expect("a machine");
        let vm = network.add_host("vm", &["10.77.0.10/24"]).expect("a machine");
        // Where every user may come: a checkout may be closed to them.
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("it is opened");
        fs::copy(OUTRIGGER, folder.path().join("outrigger")).expect("outrigger is copied");
        let socket = folder.path().join("spire/api.sock");
        let mut processes = vec![issuer(&control_plane, folder.path(), &socket)];
        for (name, port) in [("outrigger-destination", 8086), ("outrigger-policy", 8090)] {
            let path = Path::new(OUTRIGGER).with_file_name(name);
            assert!(path.is_file(), "{} is not built: run `make build` before the tests", path.display());
            let program = Program::new(path)
                .args(["--manifests", EXAMPLE])
                .args([Path::new("--spire-socket"), &socket])
                .args([Path::new("--trust-anchors"), &folder.path().join("issuer/ca.crt")]);
            let listens = || control_plane.is_listening(port).unwrap_or(false);
            processes.push(started(&control_plane, &program, listens));
        }
        Self { control_plane, vm, socket, folder, _processes: processes, _network: network }
    }

    /// Asks as the controllers' own user, over loopback.
    fn ask(&self, args: &[&str]) -> Result<Value, String> {
        let output = self.control_plane.run(OUTRIGGER, &[&["diagnostics"], args].concat());
        answer(output.expect("outrigger starts"))
    }

    /// Asks as the VM's proxy does, over mutual TLS.
    fn ask_from_vm(&self, args: &[&str]) -> Result<Value, String> {
        let outrigger = self.folder.path().join("outrigger");
        let (outrigger, socket) = (outrigger.to_str().expect("UTF-8"), self.socket.to_str().expect("UTF-8"));
        let user = ["--reuid=2102", "--regid=2102", "--clear-groups", "--", outrigger, "diagnostics"];
        let mutual = ["--name", NAME, "--spire-socket", socket];
        answer(self.vm.run("setpriv", &[&user[..], args, &mutual].concat()).expect("setpriv starts"))
    }
}

fn issuer(host: &Host, folder: &Path, socket: &Path) -> Process {
    let entries = json!({ "entries": [
        { "uid": 0, "spiffeId": "spiffe://root.linkerd.cluster.local/ns/linkerd/sa/linkerd-destination", "dnsNames": [NAME] },
        { "uid": 2102, "spiffeId": "spiffe://root.linkerd.cluster.local/external-workload" },
    ]});
    let file = folder.join("entries.yaml");
    fs::write(&file, entries.to_string()).expect("the entries are written");
    let program = Program::new(OUTRIGGER)
        .args(["identity", "serve", "--trust-domain", "root.linkerd.cluster.local", "--group", "2102"])
        .args([Path::new("--socket"), socket, Path::new("--entries"), &file])
        .args([Path::new("--state-dir"), &folder.join("issuer")]);
    started(host, &program, || socket.exists())
}

fn started(host: &Host, program: &Program, listens: impl Fn() -> bool) -> Process {
    let mut process = host.spawn(program).expect("the program starts");
    process.wait_for("the program to listen", Duration::from_secs(15), |_| listens()).expect("it listens");
    process
}

/// The JSON that was shown, or the error.
fn answer(output: std::process::Output) -> Result<Value, String> {
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).expect("stdout is one JSON document")),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[test]
fn controllers_are_asked_over_loopback_and_over_mutual_tls() {
    let mesh = Mesh::start();
    let service = "legacy-app-cluster.mixed-env.svc.cluster.local:80";

    let endpoints = mesh.ask(&["endpoints", service, "-o", "json"]).unwrap();
    let addresses: Vec<_> = endpoints["endpoints"].as_array().unwrap().iter().map(|e| &e["address"]).collect();
    assert_eq!(addresses, ["10.77.0.21:80", "10.77.0.22:80"]);
    let profile = mesh.ask(&["profile", "10.77.0.10:80", "-o", "json"]).unwrap();
    assert_eq!(profile["endpoint"]["serverName"], "external-workload.cluster.local");
    let policy = mesh.ask(&["policy", "pod/legacy-app-6bb4854789-x4wbw.mixed-env", "80", "-o", "json"]).unwrap();
    assert_eq!(policy["protocol"], "HTTP/1");
    let client = "spiffe://root.linkerd.cluster.local/external-workload";
    assert_eq!(policy["authorizations"][0]["clients"], client);

    let service_policy = ["policy", "svc/legacy-app-cluster.mixed-env", "80", "-o", "json"];
    let outbound = mesh.ask(&service_policy).unwrap();
    assert_eq!(outbound["parent"], "Service mixed-env/legacy-app-cluster:80");
    assert_eq!((&outbound["protocol"], &outbound["backends"][0]["backend"]), (&json!("detect"), &json!(service)));
    let outside = mesh.ask(&["policy", "203.0.113.5", "443", "-o", "json"]).unwrap();
    assert_eq!(
        (&outside["parent"], &outside["backends"][0]["backend"]),
        (&json!("default/egress-fallback"), &json!("203.0.113.5:443"))
    );

    let unknown = mesh.ask(&["endpoints", "nobody.mixed-env.svc.cluster.local:80"]).unwrap_err();
    assert!(unknown.contains("NotFound") && unknown.contains("nobody"), "{unknown}");

    let own = mesh.ask_from_vm(&["policy", VM, "80", "--addr", "10.77.0.2:8090", "-o", "json"]).unwrap();
    assert_eq!(own["server"], "default/all-unauthenticated");
    let from_vm = [&service_policy[..], &["--addr", "10.77.0.2:8090", "--from"]].concat();
    assert_eq!(mesh.ask_from_vm(&[&from_vm[..], &[VM]].concat()).unwrap(), outbound);
    let as_pod = mesh.ask_from_vm(&[&from_vm[..], &["pod/client.mixed-env"]].concat()).unwrap_err();
    assert!(as_pod.contains("PermissionDenied"), "{as_pod}");
    let service = mesh.ask_from_vm(&["endpoints", service, "--addr", "10.77.0.2:8086", "-o", "json"]).unwrap();
    assert_eq!(service["endpoints"].as_array().unwrap().len(), 2);
    let others = mesh.ask_from_vm(&["policy", "pod/client.mixed-env", "80", "--addr", "10.77.0.2:8090"]).unwrap_err();
    assert!(others.contains("PermissionDenied"), "{others}");
}
