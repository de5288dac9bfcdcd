//! Needs root, and iproute2 and util-linux installed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use outrigger_testkit::{Error, Host, Network, Process, Program, wait_for};

const SOON: Duration = Duration::from_secs(10);

fn pair() -> (Network, Host, Host) {
    let mut network = Network::new().expect("this test needs root");
    let vm = network.add_host("vm", &["10.77.0.2/24", "fd77::2/64"]).unwrap();
    let pod = network.add_host("pod", &["10.77.0.3/24", "fd77::3/64"]).unwrap();
    (network, vm, pod)
}

/// Sends `request` from one host to another's listener and returns what the listener saw.
fn exchange(from: &Host, to: &Host, address: IpAddr, request: &[u8]) -> Vec<u8> {
    let listener = to.enter(|| TcpListener::bind((address, 8080))).unwrap().unwrap();
    let mut client = from.enter(|| TcpStream::connect((address, 8080))).unwrap().unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let reader = thread::spawn(move || {
        let mut seen = Vec::new();
        server.read_to_end(&mut seen).unwrap();
        seen
    });
    client.write_all(request).unwrap();
    drop(client);
    reader.join().unwrap()
}

fn namespaces_of(id: &str) -> bool {
    let output = Command::new("ip").args(["netns", "list"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).contains(&format!("outrigger-{id}-"))
}

#[test]
fn hosts_reach_each_other_over_ipv4_and_at_once_over_ipv6() {
    let (_network, vm, pod) = pair();
    for address in [pod.ipv4().unwrap(), pod.ipv6().unwrap()] {
        assert_eq!(exchange(&vm, &pod, address, b"ahoy"), b"ahoy");
    }
}

#[test]
fn the_machines_own_namespace_sees_no_interface_of_ours() {
    let (network, vm, pod) = pair();
    let links = |args: &[&str]| String::from_utf8(Command::new("ip").args(args).output().unwrap().stdout).unwrap();
    let switch = links(&["-n", network.switch(), "-o", "link"]);
    let own = links(&["-o", "link"]);
    for name in [vm.name(), pod.name(), "bridge"] {
        assert!(switch.contains(&format!(" {name}")) && !own.contains(&format!(" {name}")), "{name}: {own}");
    }
}

#[test]
fn two_networks_use_the_same_addresses_at_once_and_leave_nothing_behind() {
    let networks: Vec<_> = thread::scope(|s| {
        let builders: Vec<_> = (0..2).map(|_| s.spawn(pair)).collect();
        builders.into_iter().map(|b| b.join().unwrap()).collect()
    });
    for (index, (_, vm, pod)) in networks.iter().enumerate() {
        let text = format!("network {index}");
        assert_eq!(exchange(vm, pod, pod.ipv4().unwrap(), text.as_bytes()), text.as_bytes());
    }
    for (network, vm, _) in networks {
        let (id, folder, etc) =
            (network.id().to_owned(), network.folder(), Path::new("/etc/netns").join(vm.namespace()));
        assert!(namespaces_of(&id) && folder.exists() && etc.exists());
        network.remove().unwrap();
        assert!(!namespaces_of(&id) && !folder.exists() && !etc.exists());
    }
}

#[test]
fn a_bad_host_name_or_address_is_refused_by_name() {
    let (mut network, ..) = pair();
    for name in ["", "vm", "a-name-that-is-too-long", "Pod", "switch"] {
        assert!(matches!(network.add_host(name, &[]), Err(Error::HostName { .. })), "{name:?}");
    }
    let error = network.add_host("odd", &["10.77.0.300/24"]).unwrap_err().to_string();
    assert!(error.contains("10.77.0.300/24") && error.contains("odd"), "{error}");
}

#[test]
fn a_program_runs_as_its_user_with_its_environment_and_its_hosts_file() {
    let (_network, vm, pod) = pair();
    vm.write_hosts(&[(pod.ipv4().unwrap(), "legacy-app legacy-app.mixed-env")]).unwrap();
    let script = "id -u; id -g; id -G; getent hosts legacy-app; env | sort; ip -o -4 addr show eth0";
    let program = Program::new("/bin/sh").args(["-c", script]).user(2102, 2103, &[2104]).env("GREETING", "ahoy");
    let mut process = vm.spawn(&program).unwrap();
    assert!(process.wait(SOON).unwrap().success(), "{}", process.log());
    let log = process.log();
    for expected in ["2102\n2103\n2103 2104\n", "10.77.0.3 ", "GREETING=ahoy\nPATH=", "10.77.0.2/24"] {
        assert!(log.contains(expected), "{expected:?} is not in {log}");
    }
    assert!(!log.contains("CARGO"), "the caller's environment leaks: {log}");
}

#[test]
fn a_hosts_file_rewritten_later_is_seen_by_a_running_program() {
    let (_network, vm, pod) = pair();
    let script = "echo up; until getent hosts late; do sleep 0.05; done";
    let mut process = vm.spawn(&Program::new("/bin/sh").args(["-c", script])).unwrap();
    process.wait_for("its start", SOON, |p| p.log().contains("up")).unwrap();
    vm.write_hosts(&[(pod.ipv6().unwrap(), "late")]).unwrap();
    assert!(process.wait(SOON).unwrap().success());
}

#[test]
fn a_host_whose_network_is_gone_leaves_nothing_behind() {
    let (network, vm, _) = pair();
    network.remove().unwrap();
    vm.write_hosts(&[]).unwrap_err();
    assert!(!Path::new("/etc/netns").join(vm.namespace()).exists());
}

#[test]
fn waiting_names_what_was_awaited_and_shows_the_log() {
    let (_network, vm, _pod) = pair();
    let mut process = vm.spawn(&Program::new("/bin/sh").args(["-c", "echo no anchor; exit 64"])).unwrap();
    let error = process.wait_for("port 4140", SOON, |_| false).unwrap_err().to_string();
    assert!(error.contains("port 4140") && error.contains("exit code 64") && error.contains("no anchor"), "{error}");
    let error = wait_for("the moon", Duration::from_millis(30), || false).unwrap_err().to_string();
    assert!(error.contains("the moon"), "{error}");
    assert!(matches!(vm.spawn(&Program::new("/no/such/program")), Err(Error::NoProgram { .. })));
}

fn sleeper(host: &Host) -> Process {
    host.spawn(&Program::new("sleep").args(["1000"])).unwrap()
}

fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == "sleep\n")
}

#[test]
fn a_process_outlives_the_thread_that_started_it_and_ends_on_sigterm() {
    let (_network, vm, _pod) = pair();
    let mut process = thread::scope(|s| s.spawn(|| sleeper(&vm)).join().unwrap());
    process.wait_for("sleep to run", SOON, |p| runs(p.pid())).unwrap();
    process.terminate().unwrap();
    assert!(!process.wait(SOON).unwrap().success());
}

#[test]
fn dropping_a_process_or_its_network_ends_it() {
    let (network, vm, _pod) = pair();
    let mut dropped = sleeper(&vm);
    dropped.wait_for("sleep to run", SOON, |p| runs(p.pid())).unwrap();
    let pid = dropped.pid();
    drop(dropped);
    assert!(!runs(pid));
    let mut left = sleeper(&vm);
    left.wait_for("sleep to run", SOON, |p| runs(p.pid())).unwrap();
    network.remove().unwrap();
    left.wait(SOON).unwrap();
}

#[test]
fn a_listener_is_seen_from_outside_its_host() {
    let (_network, vm, pod) = pair();
    let listener = pod.enter(|| TcpListener::bind("[::]:4143")).unwrap().unwrap();
    assert!(pod.is_listening(4143).unwrap());
    assert!(!vm.is_listening(4143).unwrap());
    drop(listener);
    assert!(!pod.is_listening(4143).unwrap());
}

/// Not a test by itself: the owner that `what_a_killed_owner_left_is_swept` starts and kills.
#[test]
#[ignore = "runs only as the child of another test"]
fn owner_that_gets_killed() {
    let state = std::env::var_os("TESTKIT_STATE").unwrap();
    let mut network = Network::in_folder(Path::new(&state)).unwrap();
    let vm = network.add_host("vm", &["10.77.0.2/24"]).unwrap();
    let process = vm.spawn(&Program::new("sleep").args(["1000"]).outlives_us()).unwrap();
    println!("ready {} {}", network.id(), process.pid());
    thread::sleep(Duration::from_secs(60));
}

#[test]
fn what_a_killed_owner_left_is_swept_and_what_a_living_one_holds_is_not() {
    let state = tempfile::tempdir().unwrap();
    let (network, ..) = pair();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "owner_that_gets_killed", "--ignored", "--nocapture"]).env("TESTKIT_STATE", state.path());
    let mut owner = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    let mut stdout = owner.stdout.take().unwrap();
    while !text.contains("ready ") || !text.ends_with('\n') {
        let mut byte = [0];
        assert_eq!(stdout.read(&mut byte).unwrap(), 1, "the owner ended early: {text}");
        text.push(char::from(byte[0]));
    }
    let (id, pid) = text.split("ready ").nth(1).unwrap().trim().split_once(' ').unwrap();
    let pid: u32 = pid.parse().unwrap();
    assert!(Network::sweep_in(state.path()).unwrap().is_empty(), "it lives");
    wait_for("sleep to run", SOON, || runs(pid)).unwrap();
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert!(namespaces_of(id) && runs(pid), "a killed owner cannot clean up");

    assert_eq!(Network::sweep_in(state.path()).unwrap(), [id]);
    assert!(!namespaces_of(id));
    wait_for("the swept process to end", SOON, || !runs(pid)).unwrap();
    assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0);
    assert!(namespaces_of(network.id()), "the living network stays");
}

#[test]
fn a_kept_network_stays_until_it_is_removed() {
    let state = tempfile::tempdir().unwrap();
    let mut network = Network::in_folder(state.path()).unwrap();
    network.add_host("vm", &[]).unwrap();
    let id = network.id().to_owned();
    network.keep().unwrap();
    assert!(Network::sweep_in(state.path()).unwrap().is_empty());
    assert!(namespaces_of(&id));
    assert_eq!(Network::remove_kept_in(state.path()).unwrap(), [id.as_str()]);
    assert!(!namespaces_of(&id));
}
