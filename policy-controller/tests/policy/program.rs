//! The program: a folder, a port, a signal.

use crate::support::*;
use linkerd2_proxy_api::inbound::PortSpec;
use linkerd2_proxy_api::inbound::inbound_server_policies_client::InboundServerPoliciesClient;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use outrigger_mtls::grpc::{ControlAddr, channel};
use std::fs;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
}

fn command(folder: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger-policy"));
    command.arg("--manifests").arg(folder).args(flags).stderr(Stdio::piped()).stdin(Stdio::null()).kill_on_drop(true);
    command
}

impl Program {
    fn start(folder: &Path) -> Self {
        let flags = ["--grpc-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--log-format", "json"];
        let mut child = command(folder, &flags).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The fields of the next line with this event.
    async fn logged(&mut self, event: &str) -> serde_json::Value {
        loop {
            let line = timeout(PATIENCE, self.lines.next_line()).await.expect("the line in time").unwrap();
            let line: serde_json::Value = serde_json::from_str(&line.expect("the program runs")).unwrap();
            if line["fields"]["event"] == event {
                return line["fields"].clone();
            }
        }
    }

    async fn port(&mut self, event: &str) -> u16 {
        self.logged(event).await["addr"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap()
    }

    async fn ended(mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.expect("an end in time").unwrap()
    }
}

async fn page(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn c_2_the_program_follows_its_folder_and_ends_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("web.yaml"), WEB).unwrap();
    let mut program = Program::start(folder.path());
    let admin = program.port("admin.serving").await;
    let port = program.port("policy.serving").await;
    assert!(page(admin, "/ready").await.starts_with("HTTP/1.1 200"));

    let addr = ControlAddr { host: "127.0.0.1".into(), port, name: None };
    let mut client = InboundServerPoliciesClient::new(channel(addr, watch::channel(None).1));
    let watched = client.watch_port(PortSpec { workload: web().to_json(), port: 80 }).await.unwrap();
    let mut stream = watched.into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().labels["name"], "all-unauthenticated");

    let wrong = SERVER.replace("name: srv", "name: wrong").replace("port: http", "port: htpp");
    fs::write(folder.path().join("servers.yaml"), format!("{SERVER}{wrong}")).unwrap();
    let message = timeout(PATIENCE, stream.message()).await.expect("the change in time").unwrap().unwrap();
    assert_eq!((message.labels["name"].as_str(), message.authorizations.len()), ("srv", 0));
    assert_eq!(program.logged("server.selects_nothing").await["object"], "Server ns/wrong");

    let servers = page(admin, "/servers.json").await;
    let (_, servers) = servers.split_once("\r\n\r\n").unwrap();
    let servers: serde_json::Value = serde_json::from_str(servers).unwrap();
    assert_eq!(servers[0]["selected"][0]["workload"], "pod/web.ns");
    assert_eq!((&servers[1]["name"], &servers[1]["portNames"][0]), (&"wrong".into(), &"http".into()));
    let metrics = page(admin, "/metrics").await;
    assert!(metrics.contains("server_selected_ports{namespace=\"ns\",name=\"srv\"} 1"), "{metrics}");
    assert!(metrics.contains("server_selected_ports{namespace=\"ns\",name=\"wrong\"} 0"), "{metrics}");
    assert!(metrics.contains("inbound_policy_streams 1"), "{metrics}");

    kill(Pid::from_raw(program.child.id().unwrap().cast_signed()), Signal::SIGTERM).unwrap();
    let end = timeout(PATIENCE, stream.message()).await.expect("the stream's end in time");
    assert!(end.unwrap().is_none(), "the stream ends with OK");
    assert!(program.ended().await.success());
}

async fn refusal(folder: &Path, flags: &[&str]) -> String {
    let output = timeout(PATIENCE, command(folder, flags).output()).await.expect("an end in time").unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn what_keeps_the_program_from_starting_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().map(|addr| (addr.to_string(), taken)).unwrap();
    let loopback = ["--admin-addr", "127.0.0.1:0", "--grpc-addr"];

    let text = refusal(folder.path(), &[&loopback[..], &[&taken.0]].concat()).await;
    assert!(text.contains("--grpc-addr") && text.contains(&taken.0), "{text}");

    let text = refusal(folder.path(), &[&loopback[..], &["192.0.2.1:8090"]].concat()).await;
    assert!(text.contains("--spire-socket"), "{text}");

    let missing = ["127.0.0.1:0", "--spire-socket", "/nonexistent/api.sock", "--trust-anchors", "/nonexistent/ca.crt"];
    let text = refusal(folder.path(), &[&loopback[..], &missing].concat()).await;
    assert!(text.contains("--trust-anchors /nonexistent/ca.crt"), "{text}");

    let text = refusal(folder.path(), &["--default-policy", "allow"]).await;
    assert!(text.contains("all-unauthenticated"), "{text}");

    fs::write(folder.path().join("bad.yaml"), SERVER.replace("proxyProtocol", "protocol")).unwrap();
    let text = refusal(folder.path(), &[&loopback[..], &["127.0.0.1:0"]].concat()).await;
    assert!(text.contains("bad.yaml") && text.contains("Server ns/srv") && text.contains("protocol"), "{text}");
}
