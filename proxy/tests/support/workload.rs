//! A machine with a proxy, and what can be done and seen there.

use super::app::{App, Connection};
use super::http::{Http, Reply};
use super::member::{CONTROL, DESTINATION, GROUP, Member, POLICY};
use outrigger_model::Refusal;
use outrigger_proxy_init::{Firewall, Options};
use outrigger_testkit::{Host, Network, Process, Program, wait_for};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

/// One member's machine. Its proxy can be started, ended and started again.
pub(crate) struct Workload {
    pub host: Host,
    program: Program,
    log: PathBuf,
    proxy: Option<Process>,
}

/// What every workload of a mesh needs to know of it.
pub(super) struct Site {
    pub program: PathBuf,
    pub socket: String,
    pub anchors: String,
    pub dual_stack: bool,
    /// By machine, without the prefix: what differs from the guide's environment.
    pub env: Vec<(&'static str, &'static str, String)>,
}

impl Workload {
    /// A machine with redirect rules, and no proxy yet.
    pub(super) fn set_up(network: &mut Network, member: &'static Member, site: &Site) -> Self {
        let (v4, v6) = (format!("{}/24", member.v4), format!("{}/64", member.v6));
        let addresses: &[&str] = if site.dual_stack { &[&v4, &v6] } else { &[&v4] };
        let host = network.add_host(member.host, addresses).unwrap();
        // Services' addresses must have some route; the redirect takes the connection before it leaves.
        host.add_default_route(None).unwrap();
        host.write_hosts(&[(CONTROL.into(), DESTINATION.0), (CONTROL.into(), POLICY.0)]).unwrap();
        redirect(&host, member, site.dual_stack);
        let log = network.folder().join(format!("{}.log", member.host));
        let mut program = Program::new(&site.program).user(member.uid, member.uid, &[GROUP]).log(&log);
        let own = site.env.iter().filter(|(host, ..)| *host == member.host);
        let own = own.map(|(_, name, value)| (*name, value.clone()));
        for (name, value) in member.environment(&site.socket, &site.anchors).into_iter().chain(own) {
            program = program.env(format!("LINKERD2_PROXY_{name}"), value);
        }
        Self { host, program, log, proxy: None }
    }

    pub(crate) fn start_proxy(&mut self) {
        self.proxy = Some(self.host.spawn(&self.program).unwrap());
    }

    /// A second proxy on this machine, with these variables changed; an empty value unsets one.
    pub(crate) fn spawn_another(&self, env: &[(&str, &str)]) -> Process {
        let mut program = self.program.clone().log(self.log.with_extension("another.log"));
        for (name, value) in env {
            program = program.env(format!("LINKERD2_PROXY_{name}"), value);
        }
        self.host.spawn(&program).unwrap()
    }

    pub(crate) fn proxy(&mut self) -> &mut Process {
        self.proxy.as_mut().expect("the proxy was not started")
    }

    pub(crate) fn wait_until_ready(&mut self) {
        let host = self.host.clone();
        let ready = |_: &Process| admin(&host, "/ready").is_ok_and(|reply| reply.status == 200);
        self.proxy().wait_for("the proxy to be ready", super::PATIENCE, ready).unwrap();
    }

    /// Asks the proxy's admin server.
    pub(crate) fn admin(&self, path: &str) -> io::Result<Reply> {
        admin(&self.host, path)
    }

    /// An application on this machine.
    pub(crate) fn serve(
        &self,
        port: u16,
        serve: impl Fn(&mut Connection) -> io::Result<()> + Send + Sync + 'static,
    ) -> App {
        App::start(&self.host, port, serve)
    }

    /// Connects as a program of this machine does: through the rules. Reads fail after a while.
    pub(crate) fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        connect_from(&self.host, to)
    }

    /// A connection for requests.
    pub(crate) fn http(&self, to: SocketAddr) -> Http {
        Http::new(self.connect(to).unwrap())
    }

    /// One GET on a connection of its own.
    pub(crate) fn get(&self, to: SocketAddr, path: &str) -> io::Result<Reply> {
        Http::new(self.connect(to)?).get(path)
    }

    /// What the metrics count as refused, by number.
    pub(crate) fn refusals(&self) -> BTreeMap<u16, u64> {
        let metrics = self.admin("/metrics").unwrap().body;
        let mut refusals = BTreeMap::new();
        for line in metrics.lines().filter(|line| line.starts_with("refusals_total{")) {
            let number = line.split_once("number=\"").and_then(|(_, rest)| rest.split('"').next());
            let count = line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok());
            *refusals.entry(number.unwrap().parse().unwrap()).or_default() += count.unwrap();
        }
        refusals
    }

    /// How often this was refused.
    pub(crate) fn count(&self, refusal: Refusal) -> u64 {
        self.refusals().get(&refusal.number()).copied().unwrap_or_default()
    }

    /// Waits until this was refused more often than `before`.
    pub(crate) fn wait_for_count_above(&self, before: u64, refusal: Refusal) {
        wait_for("the refusal to be counted", super::PATIENCE, || self.count(refusal) > before).unwrap();
    }

    /// The proxy's log, line by line; what is no JSON is left out.
    pub(crate) fn log(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until the log has an event.
    pub(crate) fn wait_for_event(&self, event: &str) {
        let logged = || self.log().iter().any(|line| line["fields"]["event"] == event);
        wait_for(event, super::PATIENCE, logged).unwrap();
    }

    /// Waits until a refusal is counted under its reason and stands in the log under its number.
    pub(crate) fn wait_for_refusal(&self, refusal: Refusal) {
        let reason = format!("reason=\"{}\",number=\"{}\"", refusal.label(), refusal.number());
        let counted = || {
            let metrics = self.admin("/metrics").unwrap().body;
            metrics.lines().any(|line| line.starts_with("refusals_total{") && line.contains(&reason))
        };
        let logged = || {
            let fields = self.log().into_iter().map(|line| line["fields"].clone());
            fields.into_iter().any(|f| f["number"] == refusal.number() && f["reason"] == refusal.label())
        };
        let what = format!("{} ({}) in log and metrics", refusal.number(), refusal.label());
        if let Err(error) = wait_for(&what, super::PATIENCE, || counted() && logged()) {
            panic!("{error}; counted: {}, logged: {}, refusals: {:?}", counted(), logged(), self.refusals());
        }
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("---- the log of {} ----\n{text}", self.host.name());
        }
    }
}

/// The guide's rules.
fn redirect(host: &Host, member: &Member, dual_stack: bool) {
    let options = Options {
        incoming_proxy_port: 4143,
        outgoing_proxy_port: 4140,
        proxy_uid: Some(member.uid),
        inbound_ports_to_ignore: [4190, 4191, 4567, 4568].map(Into::into).into(),
        outbound_ports_to_ignore: [4567, 4568].map(Into::into).into(),
        ..Options::default()
    };
    let firewall = Firewall { ipv6: Some(dual_stack), ..Firewall::default() };
    host.enter(|| firewall.install(&options)).unwrap().unwrap();
}

fn admin(host: &Host, path: &str) -> io::Result<Reply> {
    Http::new(connect_from(host, (Ipv4Addr::LOCALHOST, 4191).into())?).get(path)
}

/// Connects from any machine.
pub(crate) fn connect_from(host: &Host, to: SocketAddr) -> io::Result<TcpStream> {
    let stream = host.enter(|| TcpStream::connect_timeout(&to, super::PATIENCE)).unwrap()?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(super::PATIENCE + Duration::from_secs(5)))?;
    Ok(stream)
}
