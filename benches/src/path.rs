//! A way from a client's host to the server's, with or without proxies.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use outrigger_testkit::{Host, Network, Process, Program};

use crate::serve::MARKER;

pub(crate) const SERVER_PORT: u16 = 8080;
/// How long a program may take to start, or a path to its first answer.
pub(crate) const START: Duration = Duration::from_secs(20);

/// What is measured: a client's host, the address it asks, and the proxies between, client's side first.
pub(crate) struct Path {
    pub(crate) name: &'static str,
    pub(crate) client: Host,
    pub(crate) target: SocketAddr,
    pub(crate) proxies: Vec<Process>,
    _running: Vec<Process>,
}

/// A client's and a server's host, the server running.
pub(crate) struct Ends {
    pub(crate) client: Host,
    pub(crate) server: Host,
    pub(crate) client_address: IpAddr,
    pub(crate) server_address: IpAddr,
    /// The server, and whatever else has to live as long as the path.
    pub(crate) running: Vec<Process>,
}

impl Ends {
    /// Adds `<name>-a` at 10.88.`net`.1 and `<name>-b` at 10.88.`net`.2.
    pub(crate) fn new(network: &mut Network, name: &str, net: u8) -> Result<Self> {
        let client = network.add_host(&format!("{name}-a"), &[&format!("10.88.{net}.1/16")])?;
        let server = network.add_host(&format!("{name}-b"), &[&format!("10.88.{net}.2/16")])?;
        let address = |host: &Host| host.ipv4().context("a host without an IPv4 address");
        let (client_address, server_address) = (address(&client)?, address(&server)?);
        let listen = SocketAddr::new([0, 0, 0, 0].into(), SERVER_PORT);
        let program = Program::new(std::env::current_exe()?).args(["serve", &listen.to_string()]);
        let running = vec![started(&server, &program, SERVER_PORT)?];
        Ok(Self { client, server, client_address, server_address, running })
    }

    pub(crate) fn path(self, name: &'static str, target: SocketAddr, proxies: Vec<Process>) -> Path {
        Path { name, client: self.client, target, proxies, _running: self.running }
    }
}

/// No proxy and no redirect.
pub(crate) fn direct(network: &mut Network) -> Result<Path> {
    let ends = Ends::new(network, "direct", 1)?;
    let target = SocketAddr::new(ends.server_address, SERVER_PORT);
    Ok(ends.path("direct", target, Vec::new()))
}

/// Starts a program and waits until its host listens on `port`.
pub(crate) fn started(host: &Host, program: &Program, port: u16) -> Result<Process> {
    let mut process = host.spawn(program)?;
    process.wait_for(&format!("{}:{port}", host.name()), START, |_| host.is_listening(port).unwrap_or(false))?;
    Ok(process)
}

impl Path {
    /// One request has to come back whole, and its body may be seen on the wire only where there are no proxies.
    pub(crate) fn check(&self, network: &Network) -> Result<()> {
        let capture = network.capture()?;
        outrigger_testkit::wait_for(&format!("an answer over {}", self.name), START, || self.request().is_ok())
            .or_else(|_| self.request().with_context(|| format!("{} does not answer{}", self.name, self.logs())))?;
        let seen = capture.packets()?.find(MARKER.as_bytes());
        match (self.proxies.is_empty(), seen) {
            (false, Some(place)) => bail!("{} is not encrypted: the body crossed in {place}", self.name),
            (true, None) => bail!("the capture missed the direct path's body"),
            _ => Ok(()),
        }
    }

    fn logs(&self) -> String {
        self.proxies.iter().map(|proxy| format!("\n{}", proxy.log())).collect()
    }

    fn request(&self) -> Result<()> {
        let answer = self.client.enter(|| -> Result<String> {
            let mut stream = TcpStream::connect_timeout(&self.target, Duration::from_secs(2))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            write!(stream, "GET / HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.target)?;
            let mut answer = [0; 4096];
            let mut length = 0;
            while !String::from_utf8_lossy(&answer[..length]).contains(MARKER) {
                match stream.read(&mut answer[length..])? {
                    0 => break,
                    more => length += more,
                }
            }
            Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
        })??;
        ensure!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(MARKER), "the answer was: {answer:.200}");
        Ok(())
    }
}
