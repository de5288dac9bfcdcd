//! A TLS client that is not ours: openssl, with whatever certificate the test gives it.

use outrigger_mtls::Svid;
use outrigger_mtls::workload_api::issuer::Leaf;
use outrigger_testkit::Host;
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime};

/// What the client offers.
pub(crate) struct Stranger {
    host: Host,
    folder: PathBuf,
    server_name: String,
    alpn: Option<&'static str>,
    svid: Option<Svid>,
}

/// The ALPN of a proxy's own port (A.1.3).
const TRANSPORT_HEADER: &str = "transport.l5d.io/v1";

impl Stranger {
    pub(super) fn new(host: &Host, folder: PathBuf) -> Self {
        Self { host: host.clone(), folder, server_name: super::SERVER.server_name.to_owned(), alpn: None, svid: None }
    }

    /// Presents this certificate.
    pub(crate) fn with(mut self, svid: Svid) -> Self {
        self.svid = Some(svid);
        self
    }

    /// Offers the transport header's ALPN.
    pub(crate) fn offering_the_header(mut self) -> Self {
        self.alpn = Some(TRANSPORT_HEADER);
        self
    }

    /// Asks for another name.
    pub(crate) fn asking_for(mut self, server_name: &str) -> Self {
        self.server_name = server_name.to_owned();
        self
    }

    /// Completes a handshake, sends `bytes`, and returns what came back until the server ended the connection.
    pub(crate) fn talk(&self, to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
        let mut client = self.spawn(to);
        let (mut stdin, mut stdout) = (client.stdin.take().unwrap(), client.stdout.take().unwrap());
        // Fails where the server has refused the handshake; stays open so that the server is the one who ends.
        let _ = stdin.write_all(bytes).and_then(|()| stdin.flush());
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut answer = Vec::new();
            let _ = stdout.read_to_end(&mut answer);
            sender.send(answer)
        });
        let answer = receiver.recv_timeout(super::PATIENCE);
        // Reaped whether it has ended or not.
        let _ = client.kill();
        let _ = client.wait();
        answer.expect("the server neither answers nor ends the connection")
    }

    fn spawn(&self, to: SocketAddr) -> Child {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-tls1_3", "-connect", &to.to_string()]);
        command.args(["-servername", &self.server_name]);
        if let Some(alpn) = self.alpn {
            command.args(["-alpn", alpn]);
        }
        if let Some(svid) = &self.svid {
            static COUNTER: AtomicU32 = AtomicU32::new(0);
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let file = |end: &str, der: &[u8]| {
                let path = self.folder.join(format!("stranger-{number}.{end}"));
                fs::write(&path, der).unwrap();
                path
            };
            command.arg("-cert").arg(file("crt", &svid.chain[0])).args(["-certform", "DER"]);
            command.arg("-key").arg(file("key", &svid.key)).args(["-keyform", "DER"]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        self.host.enter(|| command.spawn()).unwrap().expect("openssl is installed")
    }
}

/// A certificate's contents, valid now, to be changed and then issued by [`super::Mesh`]'s agent or anybody else.
pub(crate) fn leaf(uris: &[&str]) -> Leaf {
    Leaf {
        uris: uris.iter().map(ToString::to_string).collect(),
        dns_names: vec![],
        not_before: SystemTime::now() - Duration::from_secs(3600),
        not_after: SystemTime::now() + Duration::from_secs(3600),
    }
}

/// A transport header (A.1.4), written by hand: a port, perhaps a host, perhaps HTTP/1.
pub(crate) fn transport_header(port: u16, name: &str, http1: bool) -> Vec<u8> {
    let mut message = vec![0x08];
    let mut rest = port;
    while rest >= 0x80 {
        message.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    message.push(rest as u8);
    if !name.is_empty() {
        message.extend([0x12, name.len() as u8]);
        message.extend(name.bytes());
    }
    if http1 {
        message.extend([0x1a, 2, 0x0a, 0]);
    }
    let length = (message.len() as u32).to_be_bytes();
    [b"transport.l5d.io/v1\r\n\r\n".as_slice(), &length, &message].concat()
}
