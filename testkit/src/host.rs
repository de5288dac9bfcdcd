use std::fmt::Write;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ipnet::IpNet;

use crate::command::{ip, missing};
use crate::{Error, Process, Program, run_in};

/// A machine on the network: a namespace with loopback and `eth0`. Clones speak of the same machine.
#[derive(Clone, Debug)]
pub struct Host {
    name: String,
    namespace: String,
    addresses: Vec<IpNet>,
    folder: PathBuf,
}

impl Host {
    pub(crate) fn new(name: &str, namespace: String, addresses: &[&str], folder: PathBuf) -> Result<Self, Error> {
        let parse = |text: &&str| {
            text.parse().map_err(|e: ipnet::AddrParseError| Error::Address {
                host: name.to_owned(),
                address: (*text).to_owned(),
                problem: e.to_string(),
            })
        };
        let addresses = addresses.iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { name: name.to_owned(), namespace, addresses, folder })
    }

    pub(crate) fn bring_up(&self) -> Result<(), Error> {
        // A namespace without these files would see the machine's own, which name other addresses and resolvers.
        let etc = self.etc();
        fs::create_dir_all(&etc).map_err(Error::io(format!("cannot make {}", etc.display())))?;
        self.write_hosts(&[])?;
        self.write_resolv_conf("")?;
        ip(&format!("-n {} link set eth0 up", self.namespace))?;
        self.addresses.iter().try_for_each(|address| {
            let nodad = if address.addr().is_ipv6() { " nodad" } else { "" };
            self.ip(&format!("addr add {address} dev eth0{nodad}")).map(drop)
        })
    }

    /// The name given to [`crate::Network::add_host`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace's name, as `ip netns` takes it.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The first IPv4 address.
    pub fn ipv4(&self) -> Option<IpAddr> {
        self.addresses.iter().map(IpNet::addr).find(IpAddr::is_ipv4)
    }

    /// The first IPv6 address.
    pub fn ipv6(&self) -> Option<IpAddr> {
        self.addresses.iter().map(IpNet::addr).find(IpAddr::is_ipv6)
    }

    /// Runs `ip -n <this host>` with the arguments in `line`, split at spaces.
    pub fn ip(&self, line: &str) -> Result<String, Error> {
        ip(&format!("-n {} {line}", self.namespace))
    }

    /// Sends what no other route covers to `gateway`, or out of eth0 as if it were a neighbour.
    pub fn add_default_route(&self, gateway: Option<IpAddr>) -> Result<(), Error> {
        let families: &[&str] = match gateway {
            Some(IpAddr::V4(_)) => &["-4"],
            Some(IpAddr::V6(_)) => &["-6"],
            None => &["-4", "-6"],
        };
        let via = gateway.map(|g| format!("via {g} ")).unwrap_or_default();
        families.iter().try_for_each(|family| self.ip(&format!("{family} route add default {via}dev eth0")).map(drop))
    }

    /// Replaces what programs of this host see as /etc/hosts by loopback's names and `entries`.
    ///
    /// Programs that already run see it too: the file is rewritten in place.
    pub fn write_hosts(&self, entries: &[(IpAddr, &str)]) -> Result<(), Error> {
        let mut text = "127.0.0.1 localhost\n::1 localhost\n".to_owned();
        for (address, names) in entries {
            let _ = writeln!(text, "{address} {names}");
        }
        self.write_etc("hosts", &text)
    }

    /// Replaces what programs of this host see as /etc/resolv.conf.
    pub fn write_resolv_conf(&self, text: &str) -> Result<(), Error> {
        self.write_etc("resolv.conf", text)
    }

    fn etc(&self) -> PathBuf {
        Path::new("/etc/netns").join(&self.namespace)
    }

    /// Fails once the network is removed: the folder is made only once.
    fn write_etc(&self, file: &str, text: &str) -> Result<(), Error> {
        let path = self.etc().join(file);
        fs::write(&path, text).map_err(Error::io(format!("cannot write {}", path.display())))
    }

    /// Starts a program in this host; its output goes to `<network folder>/<host>-<program>-<n>.log` unless it says otherwise.
    pub fn spawn(&self, program: &Program) -> Result<Process, Error> {
        Process::spawn(program, self, &self.folder)
    }

    /// Runs a program in this host as root to its end and returns what it wrote.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<Output, Error> {
        let command = ["netns", "exec", &self.namespace, program];
        Command::new("ip").args(command).args(args).output().map_err(|e| missing("ip", e))
    }

    /// Runs `work` on a thread inside this host; sockets made there belong to the host for ever.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        run_in(&self.namespace, work)
    }

    /// Whether a TCP socket of this host listens on the port, on whatever address (proc_net_tcp(5)).
    pub fn is_listening(&self, port: u16) -> Result<bool, Error> {
        let tables = self.enter(|| {
            ["tcp", "tcp6"].map(|f| fs::read_to_string(format!("/proc/thread-self/net/{f}")).unwrap_or_default())
        })?;
        let end = format!(":{port:04X}");
        Ok(tables.iter().flat_map(|table| table.lines()).any(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields.get(1).is_some_and(|local| local.ends_with(&end)) && fields.get(3) == Some(&"0A")
        }))
    }
}
