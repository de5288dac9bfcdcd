//! The demo's world: five machines, the controllers, the workloads and the manifests, kept as the acts want them.

use super::binaries::{self, Binaries};
use super::issuer::Issuer;
use super::layout::{self, CONTROL_PLANE, WORKLOADS, Workload};
use super::load::Tally;
use super::manifests::Manifests;
use super::progress::Progress;
use super::running::Running;
use super::traffic::{self, Load};
use super::{Play, admin};
use anyhow::{Context as _, Result, bail};
use outrigger_testkit::{Capture, Host, Network, Process, Program};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a controller may take to come up, and a change to reach the proxies.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long the balancers may avoid a server that was slow: their estimates fall to a third in ten seconds.
const REBALANCING: Duration = Duration::from_secs(30);

/// The guide's ports: where the proxy listens, and what passes it by.
const REDIRECT: [&str; 10] = [
    // The variant that a plain iptables-save shows: the demo says to look there.
    "--iptables-mode",
    "plain",
    "--incoming-proxy-port",
    "4143",
    "--outgoing-proxy-port",
    "4140",
    "--inbound-ports-to-ignore",
    "4190,4191,4567,4568",
    "--outbound-ports-to-ignore",
    "4567,4568",
];

/// The network, in reach of whoever has to remove it: the play at its end, or a signal in its midst.
pub(crate) type Stage = Mutex<Option<Network>>;

/// Everything that runs.
pub(crate) struct World<'a> {
    play: &'a Play,
    binaries: Binaries,
    hosts: BTreeMap<&'static str, Host>,
    /// Logs, manifests and the issuer's state.
    folder: PathBuf,
    issuer: Issuer,
    _controllers: Vec<Process>,
    workloads: BTreeMap<&'static str, Running>,
    pub(crate) manifests: Manifests,
    /// Every frame since before the first program started, until an act has judged them.
    pub(crate) capture: Option<Capture>,
}

impl<'a> World<'a> {
    /// Sets everything up and waits until it is ready.
    pub(crate) fn set_up(play: &'a Play, stage: &Stage, progress: &Progress) -> Result<Self> {
        let binaries = Binaries::find()?;
        progress.step("making five machines");
        let (hosts, folder, id) = make_hosts(stage)?;
        let capture = stage.lock().as_ref().map(Network::capture).transpose()?;
        let binaries = binaries.open_to_all(&id)?;
        progress.step("starting the issuer and the controllers");
        let control_plane = &hosts[CONTROL_PLANE];
        let manifests = Manifests::in_folder(folder.join("manifests"))?;
        let issuer = Issuer::start(play, &binaries, control_plane, &folder)?;
        let _controllers = start_controllers(play, &binaries, &issuer, manifests.folder(), control_plane)?;
        let workloads = BTreeMap::new();
        let mut world = Self { play, binaries, hosts, folder, issuer, _controllers, workloads, manifests, capture };
        progress.step("starting four proxies and their applications");
        world.name_services()?;
        for workload in WORKLOADS {
            world.redirect(workload)?;
        }
        world.restore()?;
        Ok(world)
    }

    /// Brings back whatever an act has ended or removed, and waits until it is ready.
    pub(crate) fn restore(&mut self) -> Result<()> {
        for workload in WORKLOADS {
            if !self.workloads.get_mut(workload.host).is_some_and(Running::runs) {
                let host = &self.hosts[workload.host];
                self.manifests.mark_not_ready(workload)?;
                let running = Running::start(self.play, &self.binaries, &self.issuer, workload, host)?;
                self.workloads.insert(workload.host, running);
            }
        }
        for running in self.workloads.values_mut() {
            running.wait_ready()?;
        }
        self.manifests.restore_workloads()
    }

    /// The two programs of a workload.
    pub(crate) fn running(&mut self, workload: &Workload) -> Result<&mut Running> {
        self.workloads.get_mut(workload.host).with_context(|| format!("{} does not run", workload.host))
    }

    /// The machine of the controllers.
    pub(crate) fn control_plane(&self) -> &Host {
        &self.hosts[CONTROL_PLANE]
    }

    /// Sends requests from a workload's machine.
    pub(crate) fn ask(&self, from: &Workload, url: &str, requests: u64) -> Result<Tally> {
        traffic::ask(&self.binaries.outrigger, &self.hosts[from.host], url, requests, 8)
    }

    /// Sends batches of requests until one is answered as wanted, or patience ends; the last batch.
    pub(crate) fn ask_until(&self, from: &Workload, url: &str, wanted: impl Fn(&Tally) -> bool) -> Result<Tally> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let batch = self.ask(from, url, 16)?;
            if wanted(&batch) || Instant::now() > deadline {
                return Ok(batch);
            }
        }
    }

    /// Sends batches of requests until each of these has answered, one request failed, or patience ends; all of them.
    /// The balancer may leave out for a while whoever was slow before.
    pub(crate) fn ask_all(&self, from: &Workload, url: &str, servers: &[&Workload]) -> Result<(bool, Tally)> {
        let deadline = Instant::now() + REBALANCING;
        let mut total = Tally::default();
        loop {
            total.add(self.ask(from, url, 16)?);
            let all = servers.iter().all(|server| total.payloads.contains_key(&server.payload()));
            if all || total.failed() > 0 || Instant::now() > deadline {
                return Ok((all && total.failed() == 0, total));
            }
        }
    }

    /// Starts load from a workload's machine.
    pub(crate) fn load(&self, from: &Workload, url: &str, connections: u32) -> Result<Load> {
        Load::start(&self.binaries.outrigger, &self.hosts[from.host], url, connections)
    }

    /// Commands for a user who kept the demo.
    pub(crate) fn how_to_look_around(&self) -> String {
        let inside = |host: &str| format!("ip netns exec {}", self.hosts[host].namespace());
        let (client, vm, control) = (inside("client"), inside("vm"), inside(CONTROL_PLANE));
        let (outrigger, folder) = (self.binaries.outrigger.display(), self.manifests.folder().display());
        format!(
            "The mesh stays up. Look around:\n\
             \x20 {client} curl -s http://legacy-app.mixed-env.svc.cluster.local/who-am-i\n\
             \x20 {vm} curl -s http://legacy-app-cluster.mixed-env.svc.cluster.local/who-am-i\n\
             \x20 {vm} curl -s http://127.0.0.1:4191/metrics        each proxy's admin port; also /ready\n\
             \x20 {vm} iptables-save -t nat\n\
             \x20 {control} {outrigger} diagnostics endpoints legacy-app.mixed-env.svc.cluster.local:80\n\
             \x20 {control} {outrigger} diagnostics policy pod/{}.mixed-env 80\n\
             Change the mesh by editing the manifests in {folder}\n\
             Logs are beside them, in {}\n\
             Remove it all: {outrigger} demo --remove",
            layout::LEGACY_APP.name,
            self.folder.display(),
        )
    }

    /// Until there is a resolver, each machine gets the services' names in its /etc/hosts.
    fn name_services(&self) -> Result<()> {
        let mut names: Vec<(IpAddr, String)> = self.manifests.services()?;
        let control_plane: IpAddr = layout::CONTROL_PLANE_ADDRESS.parse()?;
        names.extend(layout::CONTROLLER_NAMES.map(|name| (control_plane, name.to_owned())));
        let entries: Vec<_> = names.iter().map(|(ip, name)| (*ip, name.as_str())).collect();
        Ok(WORKLOADS.iter().try_for_each(|w| self.hosts[w.host].write_hosts(&entries))?)
    }

    /// The guide's chains.
    fn redirect(&self, workload: &Workload) -> Result<()> {
        let program = self.binaries.proxy_init.to_str().context("proxy-init's path is not UTF-8")?;
        let uid = workload.uid.to_string();
        let output = self.hosts[workload.host].run(program, &[&["--proxy-uid", &uid], &REDIRECT[..]].concat())?;
        if !output.status.success() {
            bail!("outrigger-proxy-init in {}: {}", workload.host, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

type Made = (BTreeMap<&'static str, Host>, PathBuf, String);

/// Holds the stage all the while, so that a signal finds either nothing or all of it.
fn make_hosts(stage: &Stage) -> Result<Made> {
    let mut stage = stage.lock();
    let network = stage.insert(Network::new()?);
    binaries::remove_stale_copies();
    let workloads = WORKLOADS.iter().map(|w| (w.host, w.address));
    let mut hosts = BTreeMap::new();
    for (name, address) in workloads.chain([(CONTROL_PLANE, layout::CONTROL_PLANE_ADDRESS)]) {
        let host = network.add_host(name, &[&format!("{address}/24")])?;
        // Services' addresses must have some route; the redirect takes the connection before it leaves.
        host.add_default_route(None)?;
        hosts.insert(name, host);
    }
    Ok((hosts, network.folder(), network.id().to_owned()))
}

fn start_controllers(
    play: &Play,
    binaries: &Binaries,
    issuer: &Issuer,
    manifests: &Path,
    host: &Host,
) -> Result<Vec<Process>> {
    let controllers = [
        (&binaries.destination, admin::DESTINATION, &["--service-cidr", layout::SERVICE_CIDR][..]),
        (&binaries.policy, admin::POLICY, &[]),
    ];
    let spawn = |(program, port, more): (&PathBuf, u16, &[&str])| {
        let program = Program::new(program)
            .user(layout::CONTROLLERS_UID, layout::GROUP, &[])
            .args([Path::new("--manifests"), manifests, Path::new("--spire-socket"), &issuer.socket])
            .args([Path::new("--trust-anchors"), &issuer.anchors])
            .args(more);
        anyhow::Ok((host.spawn(&play.lasting(program))?, port))
    };
    let started = controllers.into_iter().map(spawn).collect::<Result<Vec<_>>>()?;
    let wait = |(mut controller, port): (Process, u16)| {
        controller.wait_for("the controller to be ready", PATIENCE, |_| admin::is_ready(host, port))?;
        Ok(controller)
    };
    started.into_iter().map(wait).collect()
}
