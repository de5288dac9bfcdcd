//! The demo, played once on real namespaces and real iptables; each test looks at one of its acts.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs::Permissions;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const OUTRIGGER: &str = env!("CARGO_BIN_EXE_outrigger");
const PROGRAMS: [&str; 4] = ["outrigger-proxy", "outrigger-proxy-init", "outrigger-destination", "outrigger-policy"];

/// Starts a demo. The programs that it needs are other packages', which cargo does not build for this test.
fn start(args: &[&str]) -> Child {
    for program in PROGRAMS {
        let path = Path::new(OUTRIGGER).with_file_name(program);
        assert!(path.is_file(), "{} is not built: run `make build` before the tests", path.display());
    }
    let mut command = Command::new(OUTRIGGER);
    command.arg("demo").args(args).args(["-o", "json"]).env_remove("KEEP");
    command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("the demo starts")
}

/// The report of a demo that ended; its stdout must hold nothing else.
fn finish(mut demo: Child) -> Value {
    let mut stdout = String::new();
    demo.stdout.take().expect("stdout is a pipe").read_to_string(&mut stdout).expect("stdout is text");
    let status = demo.wait().expect("the demo ends");
    let report: Value = serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{status}, not JSON: {e}: {stdout}"));
    let held = acts(&report).iter().all(|act| act["ok"] == true);
    assert_eq!(status.success(), held, "the exit code says what the report says: {report:#}");
    report
}

fn acts(report: &Value) -> &[Value] {
    report["acts"].as_array().expect("the report has acts")
}

/// Whether a process's network has left anything.
fn left_behind(pid: u32) -> bool {
    let prefix = format!("outrigger-{pid}-");
    let in_folder = |folder: &str, prefix: &str| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|e| e.file_name()).any(|name| name.to_string_lossy().starts_with(prefix))
    };
    in_folder("/run/netns", &prefix)
        || in_folder("/etc/netns", &prefix)
        || in_folder("/run/outrigger", &format!("{pid}-"))
}

fn act(number: u64) -> &'static Value {
    static REPORT: OnceLock<Value> = OnceLock::new();
    let report = REPORT.get_or_init(|| finish(start(&[])));
    acts(report).iter().find(|act| act["act"] == number).expect("the act was played")
}

#[track_caller]
fn held(number: u64, row: &str) {
    let act = act(number);
    assert!(
        act["rows"].as_array().is_some_and(|rows| rows.iter().any(|r| r == row)),
        "act {number} is not about {row}"
    );
    assert_eq!(act["ok"], true, "expected {}, saw {}", act["expected"], act["seen"]);
}

#[test]
fn l_018_a_client_is_answered_by_the_vm_and_by_the_pods() {
    held(1, "L-018");
    assert!(act(1)["seen"].as_str().unwrap().contains("hello-from-external-workload"));
}

#[test]
fn l_019_the_vm_reaches_the_cluster_only_service() {
    held(2, "L-019");
    assert!(!act(2)["seen"].as_str().unwrap().contains("hello-from-external-workload"));
}

#[test]
fn l_020_the_wire_carries_tls_1_3_and_no_text() {
    held(3, "L-020");
}

#[test]
fn l_020_the_server_is_told_the_clients_spiffe_id() {
    held(4, "L-020");
    let seen = act(4)["seen"].as_str().unwrap();
    assert!(seen.contains("spiffe://root.linkerd.cluster.local/external-workload"), "{seen}");
}

#[test]
fn l_021_a_server_without_a_policy_answers_403() {
    held(5, "L-021");
}

#[test]
fn l_024_the_guides_server_selects_no_port_and_says_so() {
    held(5, "L-024");
}

#[test]
fn l_022_a_policy_for_its_spiffe_id_admits_the_vm_alone() {
    held(6, "L-022");
}

#[test]
fn t_53_a_pod_that_drains_under_load_fails_no_request() {
    held(7, "T-53");
}

#[test]
fn t_53_a_pod_that_is_killed_fails_at_most_what_was_in_flight() {
    held(8, "T-53");
}

#[test]
fn t_05_svids_rotate_under_load_and_fail_no_request() {
    held(9, "T-05");
}

#[test]
fn two_demos_run_at_once_and_leave_nothing() {
    let demos = [start(&["--act", "2"]), start(&["--act", "2"])];
    let pids = demos.each_ref().map(Child::id);
    for report in demos.map(finish) {
        assert_eq!(report["acts"][0]["ok"], true, "{report:#}");
    }
    assert!(!pids.iter().any(|pid| left_behind(*pid)));
}

/// Starts a demo and signals it as soon as its machines are there.
fn interrupted(signal: Signal) -> (u32, ExitStatus) {
    let mut demo = start(&[]);
    let pid = demo.id();
    let namespace = format!("/run/netns/outrigger-{pid}-0-control-plane");
    until("the demo has made its machines", || Path::new(&namespace).exists());
    kill(Pid::from_raw(pid as i32), signal).expect("the demo runs");
    (pid, demo.wait().expect("the demo ends"))
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited 30 s until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn ctrl_c_removes_everything() {
    let (pid, status) = interrupted(Signal::SIGINT);
    assert_eq!(status.code(), Some(130));
    assert!(!left_behind(pid));
}

#[test]
fn a_demo_after_a_crash_removes_what_the_crash_left() {
    let (crashed, _) = interrupted(Signal::SIGKILL);
    let report = finish(start(&["--act", "4"]));
    assert_eq!(report["acts"][0]["ok"], true, "{report:#}");
    assert!(!left_behind(crashed));
}

/// Another process than the demo's issuer speaks the Workload API, as a SPIRE agent would.
#[test]
fn an_agent_of_ones_own_replaces_the_issuer() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let entry = |uid, account: &str, namespace: &str| {
        let dns = format!("{account}.{namespace}.serviceaccount.identity.linkerd.cluster.local");
        let id = format!("spiffe://root.linkerd.cluster.local/ns/{namespace}/sa/{account}");
        json!({ "uid": uid, "spiffeId": id, "dnsNames": [dns] })
    };
    let vm = json!({ "uid": 2102, "spiffeId": "spiffe://root.linkerd.cluster.local/external-workload" });
    let pods =
        [entry(2103, "client", "mixed-env"), entry(2104, "default", "mixed-env"), entry(2105, "default", "mixed-env")];
    let controllers = entry(2110, "linkerd-destination", "linkerd");
    let entries = [&[vm, controllers], &pods[..]].concat();
    std::fs::write(path("entries.yaml"), json!({ "entries": entries }).to_string()).unwrap();
    let (socket, state) = (path("agent/api.sock"), path("state"));
    let mut agent = Command::new(OUTRIGGER)
        .args(["identity", "serve", "--socket", &socket, "--entries", &path("entries.yaml"), "--state-dir", &state])
        .args(["--trust-domain", "root.linkerd.cluster.local", "--group", "2102"])
        .stderr(Stdio::null())
        .spawn()
        .expect("the agent starts");
    until("the agent listens", || Path::new(&socket).exists());
    let anchors = path("state/ca.crt");
    let report = finish(start(&["--act", "4", "--spire-socket", &socket, "--trust-anchors", &anchors]));
    agent.kill().and_then(|()| agent.wait()).expect("the agent ends");
    assert_eq!(report["acts"][0]["ok"], true, "{report:#}");
}
