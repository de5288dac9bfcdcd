use std::path::Path;
use std::process::{Command, Output};

use outrigger_testkit::{Host, Network};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_outrigger-proxy-init");
pub(crate) const PORTS: &str = "-p 4143 -o 4140";
pub(crate) const MODES: [&str; 2] = ["nft", "legacy"];

/// A host on a network of its own, and a second one to talk to.
pub(crate) struct Machines {
    _network: Network,
    pub(crate) vm: Host,
    pub(crate) peer: Host,
}

pub(crate) fn machines() -> Machines {
    let mut network = Network::new().expect("this test needs root");
    let vm = network.add_host("vm", &["10.77.0.2/24", "fd77::2/64"]).unwrap();
    let peer = network.add_host("peer", &["10.77.0.3/24", "fd77::3/64"]).unwrap();
    Machines { _network: network, vm, peer }
}

/// Runs proxy-init for the host, with flags split at spaces.
pub(crate) fn proxy_init(host: &Host, flags: &str) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(["--netns", host.namespace()]).args(flags.split_whitespace()).output().unwrap()
}

/// As [`proxy_init`], which must succeed; returns its log.
pub(crate) fn succeed(host: &Host, flags: &str) -> String {
    let output = proxy_init(host, flags);
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{flags}: {log}");
    log
}

/// As [`proxy_init`], which must fail; returns its log.
pub(crate) fn fail(host: &Host, flags: &str) -> String {
    let output = proxy_init(host, flags);
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{flags}: {log}");
    log
}

/// Runs a command line in the host, which must succeed, and returns its standard output.
pub(crate) fn sh(host: &Host, line: &str) -> String {
    let output = host.run("sh", &["-ec", line]).unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What iptables-save prints for both families, without comments and counters.
pub(crate) fn saved(host: &Host, mode: &str) -> String {
    let text = sh(host, &format!("iptables-{mode}-save; ip6tables-{mode}-save"));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| format!("{}\n", line.split(" [").next().unwrap())).collect()
}

/// The rules of one family that mention our chains.
pub(crate) fn our_rules(host: &Host, program: &str) -> Vec<String> {
    let text = sh(host, &format!("{program}-save -t nat"));
    text.lines().filter(|line| line.starts_with("-A") && line.contains("PROXY_INIT")).map(str::to_owned).collect()
}

/// What nftables itself holds, without the values of counters.
pub(crate) fn nft_ruleset(host: &Host) -> String {
    let text = sh(host, "nft list ruleset");
    let mut words: Vec<&str> = text.split(' ').collect();
    for index in 1..words.len() {
        if matches!(words[index - 1], "packets" | "bytes") {
            words[index] = "N";
        }
    }
    words.join(" ")
}

/// Links the named iptables programs, and no others, into a folder to be named by --firewall-bin-path.
pub(crate) fn only_programs(folder: &Path, names: &[&str]) {
    for name in names {
        let target = std::fs::canonicalize(Path::new("/usr/sbin").join(name)).unwrap();
        std::os::unix::fs::symlink(target, folder.join(name)).unwrap();
    }
}
