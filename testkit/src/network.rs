use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use crate::command::ip;
use crate::lock::{self, Lock};
use crate::wait::poll;
use crate::{Capture, Error, Host, run_in};

const STATE: &str = "/run/outrigger";
const SWITCH: &str = "switch";

/// The switch's bridge device.
pub(crate) const BRIDGE: &str = "bridge";

/// A switch with hosts around it, all of them network namespaces, removed when this is dropped.
///
/// The namespaces are named `outrigger-<id>-<host>`; the id is unique on the machine.
pub struct Network {
    id: String,
    state: PathBuf,
    switch: String,
    hosts: Vec<Host>,
    lock: Option<Lock>,
}

impl Network {
    /// An empty network, its lock and logs under /run/outrigger; first removes what crashed owners left there.
    pub fn new() -> Result<Self, Error> {
        Self::in_folder(Path::new(STATE))
    }

    /// As [`Network::new`], with its lock and logs in another folder.
    pub fn in_folder(state: &Path) -> Result<Self, Error> {
        if !Uid::effective().is_root() {
            return Err(Error::NotRoot);
        }
        fs::create_dir_all(state).map_err(Error::io(format!("cannot make the folder {}", state.display())))?;
        Self::sweep_in(state)?;
        let (id, lock) = free_id(state)?;
        let switch = namespace(&id, SWITCH);
        let network = Self { id, state: state.to_owned(), switch, hosts: Vec::new(), lock: Some(lock) };
        fs::create_dir_all(network.folder())
            .map_err(Error::io(format!("cannot make {}", network.folder().display())))?;
        create_namespace(&network.switch)?;
        only_switch(&network.switch)?;
        ip(&format!("-n {} link add {BRIDGE} type bridge forward_delay 0 mcast_snooping 0", network.switch))?;
        ip(&format!("-n {} link set {BRIDGE} up", network.switch))?;
        Ok(network)
    }

    /// The part of the names that is this network's own.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The network's folder, for logs and sockets; it is removed with the network.
    pub fn folder(&self) -> PathBuf {
        self.state.join(&self.id)
    }

    /// The switch's namespace, where all traffic between hosts can be seen.
    pub fn switch(&self) -> &str {
        &self.switch
    }

    /// The hosts in the order in which they were added.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Adds a host with loopback and an `eth0` on the switch; `addresses` are CIDRs, IPv4 or IPv6, usable at once.
    pub fn add_host(&mut self, name: &str, addresses: &[&str]) -> Result<Host, Error> {
        let problem = match name {
            "" | SWITCH | BRIDGE => Some("it is empty or the switch's own"),
            _ if name.len() > 15 => Some("it is too long"),
            _ if !name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-')) => {
                Some("it has other characters")
            }
            _ if self.hosts.iter().any(|h| h.name() == name) => Some("it is taken"),
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(Error::HostName { name: name.to_owned(), problem });
        }
        let host = Host::new(name, namespace(&self.id, name), addresses, self.folder())?;
        create_namespace(host.namespace())?;
        self.hosts.push(host.clone());
        ip(&format!("-n {} link add {name} type veth peer name eth0 netns {}", self.switch, host.namespace()))?;
        ip(&format!("-n {} link set {name} master {BRIDGE} up", self.switch))?;
        host.bring_up()?;
        Ok(host)
    }

    /// Starts to record every frame that crosses the switch, up to 256 MiB.
    pub fn capture(&self) -> Result<Capture, Error> {
        Capture::start(&self.switch)
    }

    /// Ends what runs in the hosts and removes them; dropping does the same without telling of a failure.
    pub fn remove(mut self) -> Result<(), Error> {
        self.tear_down()
    }

    /// Leaves the network up after this program's end, until [`Network::remove_kept`].
    pub fn keep(mut self) -> Result<(), Error> {
        let lock = self.lock.take().map_or(Ok(()), Lock::keep);
        lock.map_err(Error::io("cannot mark the network as kept"))
    }

    /// Removes the networks under /run/outrigger whose owners are dead, and returns their ids.
    pub fn sweep() -> Result<Vec<String>, Error> {
        Self::sweep_in(Path::new(STATE))
    }

    /// As [`Network::sweep`], for another state folder.
    pub fn sweep_in(state: &Path) -> Result<Vec<String>, Error> {
        sweep(state, false)
    }

    /// Removes the networks under /run/outrigger that were kept, and those whose owners are dead.
    pub fn remove_kept() -> Result<Vec<String>, Error> {
        Self::remove_kept_in(Path::new(STATE))
    }

    /// As [`Network::remove_kept`], for another state folder.
    pub fn remove_kept_in(state: &Path) -> Result<Vec<String>, Error> {
        sweep(state, true)
    }

    fn tear_down(&mut self) -> Result<(), Error> {
        let Some(lock) = self.lock.take() else { return Ok(()) };
        remove_all(&self.state, &self.id, lock)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Err(error) = self.tear_down() {
            eprintln!("outrigger: the network {} is not wholly removed: {error}", self.id);
        }
    }
}

fn namespace(id: &str, host: &str) -> String {
    format!("outrigger-{id}-{host}")
}

fn free_id(state: &Path) -> Result<(String, Lock), Error> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    loop {
        let id = format!("{}-{}", process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        // A network that was kept may bear our process id, if its owner had it before us.
        if let Some(mut lock) = Lock::take(state, &id)?
            && !lock.is_kept()
        {
            return Ok((id, lock));
        }
    }
}

fn create_namespace(name: &str) -> Result<(), Error> {
    ip(&format!("netns add {name}"))?;
    // Without duplicate address detection an IPv6 address is usable as soon as it is set.
    let settings = ["all/accept_dad", "default/accept_dad", "all/accept_ra", "default/accept_ra"];
    run_in(name, || settings.iter().try_for_each(|s| fs::write(format!("/proc/sys/net/ipv6/conf/{s}"), "0")))?
        .map_err(Error::io(format!("cannot set IPv6's sysctls in {name}")))?;
    ip(&format!("-n {name} link set lo up")).map(drop)
}

/// Keeps frames out of iptables and connection tracking, where the kernel would take them through both (br_netfilter).
fn only_switch(switch: &str) -> Result<(), Error> {
    run_in(switch, || {
        for family in ["ip", "ip6", "arp"] {
            match fs::write(format!("/proc/sys/net/bridge/bridge-nf-call-{family}tables"), "0") {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    })?
    .map_err(Error::io(format!("cannot keep netfilter out of {switch}")))
}

fn sweep(state: &Path, kept_too: bool) -> Result<Vec<String>, Error> {
    let mut swept = Vec::new();
    for id in lock::ids(state) {
        let Some(mut lock) = Lock::take(state, &id)? else { continue };
        if lock.is_kept() && !kept_too {
            continue;
        }
        remove_all(state, &id, lock)?;
        swept.push(id);
    }
    Ok(swept)
}

fn remove_all(state: &Path, id: &str, lock: Lock) -> Result<(), Error> {
    let prefix = namespace(id, "");
    for name in names_in("/run/netns", &prefix) {
        end_processes(&name)?;
        ip(&format!("netns del {name}"))?;
    }
    for name in names_in("/etc/netns", &prefix) {
        let folder = Path::new("/etc/netns").join(name);
        fs::remove_dir_all(&folder).map_err(Error::io(format!("cannot remove {}", folder.display())))?;
    }
    let folder = state.join(id);
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(Error::io(format!("cannot remove {}", folder.display())))?;
    }
    lock.remove().map_err(Error::io("cannot remove the lock file"))
}

fn names_in(folder: &str, prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().into_string().ok()).filter(|name| name.starts_with(prefix)).collect()
}

fn end_processes(namespace: &str) -> Result<(), Error> {
    let gone = poll(Duration::from_secs(5), || {
        let pids = match ip(&format!("netns pids {namespace}")) {
            Ok(pids) => pids,
            Err(error) => return Some(Err(error)),
        };
        let pids = pids.lines().filter_map(|line| line.trim().parse().ok()).filter(|pid| *pid != process::id() as i32);
        let left: Vec<Pid> = pids.map(Pid::from_raw).collect();
        for pid in &left {
            // One that is gone already is what we want.
            let _ = kill(*pid, Signal::SIGKILL);
        }
        left.is_empty().then_some(Ok(()))
    });
    gone.unwrap_or_else(|| {
        let log = String::new();
        Err(Error::TimedOut {
            what: format!("the processes in {namespace} to end"),
            waited: Duration::from_secs(5),
            log,
        })
    })
}
