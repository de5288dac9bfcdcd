use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use nix::sched::{CloneFlags, setns};

use crate::{Error, Family};

/// Moves this thread, and the programs that it starts from now on, into a network namespace (setns(2)).
///
/// The namespace is a path, or a name that `ip netns` knows.
pub fn enter_namespace(namespace: &str) -> Result<(), Error> {
    let path = match namespace.contains('/') {
        true => PathBuf::from(namespace),
        false => PathBuf::from("/run/netns").join(namespace),
    };
    let entered = File::open(&path).and_then(|file| setns(file, CloneFlags::CLONE_NEWNET).map_err(io::Error::from));
    entered.map_err(|source| Error::Namespace { path: path.display().to_string(), source })
}

/// Sets for how many seconds conntrack remembers a connection in CLOSE_WAIT, in this network namespace.
pub fn set_close_wait_timeout(seconds: u32) -> Result<(), Error> {
    let path = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait";
    let failed = |source| Error::CloseWait { path: path.to_owned(), source };
    fs::write(path, seconds.to_string()).map_err(failed)
}

/// Whether an interface other than loopback has an IPv6 address in this network namespace.
pub(crate) fn has_ipv6() -> bool {
    let table = fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
    table.lines().filter_map(|line| line.split_whitespace().last()).any(|interface| interface != "lo")
}

/// Whether iptables-legacy has a `nat` table in this network namespace; asking iptables-legacy itself would make one.
pub(crate) fn has_legacy_nat(family: Family) -> bool {
    let file = match family {
        Family::V4 => "ip_tables_names",
        Family::V6 => "ip6_tables_names",
    };
    let tables = fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
    tables.lines().any(|table| table == "nat")
}
