use std::fs::File;
use std::process::Command;
use std::time::Duration;

use outrigger_testkit::{Network, Program, wait_for};

use crate::machine::{PORTS, PROGRAM, fail, machines, nft_ruleset, only_programs, our_rules, proxy_init, succeed};

const PATIENCE: Duration = Duration::from_secs(20);
const IPTABLES: [&str; 3] = ["iptables-nft", "iptables-nft-save", "iptables-nft-restore"];

#[test]
fn a_wrong_flag_exits_64_and_says_which() {
    let m = machines();
    for (flags, named) in [
        ("-p http", "--incoming-proxy-port"),
        ("-o 4143", "--outgoing-proxy-port"),
        ("-p 4143 -o 4140 --subnets-to-ignore 10.0.0.0", "--subnets-to-ignore"),
        ("-p 4143 -o 4140 --inbound-ports-to-ignore 9-8", "9-8"),
        ("-p 4143 -o 4140 --port 1", "--port"),
    ] {
        let output = proxy_init(&m.vm, flags);
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{flags}: {log}");
        assert!(log.contains(named), "{flags}: {log}");
    }
    assert_eq!(nft_ruleset(&m.vm), "", "nothing was written");
    let help = Command::new(PROGRAM).arg("--help").output().unwrap();
    assert!(help.status.success());
}

#[test]
fn without_net_admin_it_says_what_to_do() {
    let m = machines();
    for mode in ["nft", "legacy"] {
        let flags = format!("{PORTS} -u 2102 --iptables-mode {mode}");
        let program = Program::new(PROGRAM).args(flags.split(' ')).user(2102, 2102, &[]);
        let mut process = m.vm.spawn(&program).unwrap();
        assert_eq!(process.wait(PATIENCE).unwrap().code(), Some(1), "{}", process.log());
        assert!(process.log().contains("NET_ADMIN"), "{}", process.log());
    }
}

#[test]
fn without_iptables_or_with_a_wrong_namespace_it_says_what_to_do() {
    let m = machines();
    let log = fail(&m.vm, &format!("{PORTS} -u 2102 --firewall-bin-path /no/such/iptables"));
    assert!(log.contains("/no/such/iptables is not installed") && log.contains("apt-get install iptables"), "{log}");
    let output =
        Command::new(PROGRAM).args(["-p", "4143", "-o", "4140", "--netns", "no-such-namespace"]).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("--netns /run/netns/no-such-namespace") && log.contains("ip netns list"), "{log}");
}

#[test]
fn d_1_a_missing_back_end_falls_back_to_the_next() {
    let m = machines();
    let folder = tempfile::tempdir().unwrap();
    let programs = [
        "iptables-nft",
        "iptables-nft-save",
        "iptables-nft-restore",
        "ip6tables-nft",
        "ip6tables-nft-save",
        "ip6tables-nft-restore",
    ];
    only_programs(folder.path(), &programs);
    let mut command = Command::new(PROGRAM);
    command.args(["--netns", m.vm.namespace(), "-p", "4143", "-o", "4140", "-u", "2102", "--iptables-mode", "legacy"]);
    let output = command.env("PATH", folder.path()).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && log.contains("proxy_init.fell_back"), "{log}");
    assert_eq!(our_rules(&m.vm, "iptables-nft").len(), 6);
    assert_eq!(our_rules(&m.vm, "ip6tables-nft").len(), 6);
}

#[test]
fn without_ip6tables_it_fails_where_ipv6_would_bypass_the_proxy_and_only_there() {
    let mut network = Network::new().expect("this test needs root");
    let dual = network.add_host("dual", &["10.77.0.2/24", "fd77::2/64"]).unwrap();
    let single = network.add_host("single", &["10.77.0.3/24"]).unwrap();
    single.ip("-6 addr flush dev eth0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    only_programs(folder.path(), &IPTABLES);
    let flags = format!("{PORTS} -u 2102 --firewall-bin-path {}/iptables-nft", folder.path().display());
    let log = fail(&dual, &flags);
    assert!(log.contains("--ipv6=false") && log.contains("ip6tables-nft"), "{log}");
    succeed(&dual, &format!("{flags} --ipv6=false"));
    let log = succeed(&single, &flags);
    assert!(log.contains("proxy_init.no_ipv6"), "{log}");
    fail(&single, &format!("{flags} --ipv6=true"));
    assert_eq!(our_rules(&single, "iptables-nft").len(), 6);
}

/// Runs proxy-init with the legacy back end and a lock file of our own.
fn with_lock(namespace: &str, lock: &std::path::Path, flags: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["--netns", namespace, "-p", "4143", "-o", "4140", "-u", "2102", "--iptables-mode", "legacy"]);
    command.args(flags).env("XTABLES_LOCKFILE", lock);
    command
}

#[test]
fn a_taken_lock_is_named_and_waited_for_when_asked() {
    let m = machines();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("xtables.lock");
    let lock = File::create(&path).unwrap();
    lock.lock().unwrap();
    let output = with_lock(m.vm.namespace(), &path, &[]).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains(path.to_str().unwrap()) && log.contains("--use-wait-flag"), "{log}");
    assert_eq!(our_rules(&m.vm, "iptables-legacy"), [""; 0]);

    let log_path = folder.path().join("log");
    let mut command = with_lock(m.vm.namespace(), &path, &["-w"]);
    let mut waiting = command.stderr(File::create(&log_path).unwrap()).spawn().unwrap();
    let told = || std::fs::read_to_string(&log_path).unwrap().contains("proxy_init.waiting_for_lock");
    wait_for("proxy-init to wait", PATIENCE, told).unwrap();
    drop(lock);
    assert!(waiting.wait().unwrap().success());
    assert_eq!(our_rules(&m.vm, "iptables-legacy").len(), 6);
}

#[test]
fn a_kernel_that_holds_other_rules_than_were_given_is_an_error() {
    let m = machines();
    let folder = tempfile::tempdir().unwrap();
    only_programs(folder.path(), &["iptables-nft", "iptables-nft-save"]);
    // A restore that reports success and does nothing.
    let restore = folder.path().join("iptables-nft-restore");
    std::os::unix::fs::symlink("/bin/true", &restore).unwrap();
    let flags = format!("{PORTS} -u 2102 --ipv6=false --firewall-bin-path {}/iptables-nft", folder.path().display());
    let log = fail(&m.vm, &flags);
    assert!(log.contains("does not hold the IPv4 rules") && log.contains("PROXY_INIT_OUTPUT is missing"), "{log}");
}

#[test]
fn without_an_owner_it_warns_of_the_loop() {
    let m = machines();
    assert!(succeed(&m.vm, PORTS).contains("proxy_init.no_owner"));
    assert!(!succeed(&m.vm, &format!("{PORTS} -u 0")).contains("proxy_init.no_owner"));
}

#[test]
fn d_1_logs_are_plain_or_json() {
    let m = machines();
    let log = succeed(&m.vm, &format!("{PORTS} -u 2102 --log-format json"));
    assert!(log.lines().all(|line| line.starts_with('{') && line.contains("\"event\":\"proxy_init.")), "{log}");
    let log = succeed(&m.vm, &format!("{PORTS} -u 2102 --log-level error"));
    assert_eq!(log, "");
}
