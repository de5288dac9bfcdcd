//! The program itself: how it starts, what it says, and how it ends.

use crate::world::*;
use linkerd2_proxy_api::destination::GetDestination;
use linkerd2_proxy_api::destination::destination_client::DestinationClient;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const LONG: Duration = Duration::from_secs(20);

fn command(manifests: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger-destination"));
    command.arg("--manifests").arg(manifests).args(flags).kill_on_drop(true).stderr(Stdio::piped());
    command
}

async fn fails(manifests: &Path, flags: &[&str]) -> String {
    let Output { status, stderr, .. } = timeout(LONG, command(manifests, flags).output()).await.unwrap().unwrap();
    assert!(!status.success());
    String::from_utf8(stderr).unwrap()
}

struct Program {
    child: Child,
    log: BufReader<ChildStderr>,
    grpc: SocketAddr,
    admin: SocketAddr,
}

/// Starts on ports that the system picks, and reads them from the log.
async fn start(manifests: &Path, flags: &[&str]) -> Program {
    let addrs = ["--grpc-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--log-format", "json"];
    let mut child = command(manifests, &[&addrs, flags].concat()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let line = line_with(&mut log, "destination.starting").await;
    let addr = |field: &str| {
        let (_, rest) = line.split_once(&format!("\"{field}\":\"")).unwrap();
        rest.split('"').next().unwrap().parse().unwrap()
    };
    Program { child, grpc: addr("grpc"), admin: addr("admin"), log }
}

async fn line_with(log: &mut BufReader<ChildStderr>, event: &str) -> String {
    timeout(LONG, async {
        let mut line = String::new();
        while !line.contains(event) {
            line.clear();
            assert_ne!(log.read_line(&mut line).await.unwrap(), 0, "the log ended before {event}");
        }
        line
    })
    .await
    .unwrap()
}

async fn ask(addr: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn b_1_the_program_follows_its_folder_and_ends_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("services.yaml"), SERVICES).unwrap();
    std::fs::write(folder.path().join("vm.yaml"), VM).unwrap();
    let mut program = start(folder.path(), &[]).await;
    line_with(&mut program.log, "destination.serving").await;
    assert!(ask(program.admin, "/ready").await.starts_with("HTTP/1.1 200"));

    let endpoint = Endpoint::from_shared(format!("http://{}", program.grpc)).unwrap();
    let channel = endpoint.connect_lazy();
    let service = "io.linkerd.proxy.destination.Destination".to_owned();
    let health = HealthClient::new(channel.clone()).check(HealthCheckRequest { service }).await.unwrap();
    assert_eq!(health.into_inner().status(), ServingStatus::Serving);
    let mut client = DestinationClient::new(channel);
    let path = "legacy-app.mixed-env.svc.cluster.local:80".to_owned();
    let mut stream = client.get(GetDestination { path, ..GetDestination::default() }).await.unwrap().into_inner();
    timeout(LONG, stream.message()).await.unwrap().unwrap().unwrap();
    std::fs::write(folder.path().join("pod.yaml"), pod(1)).unwrap();
    timeout(LONG, stream.message()).await.expect("the new pod is told").unwrap().unwrap();

    let metrics = ask(program.admin, "/metrics").await;
    for line in [
        "destination_streams_open{rpc=\"Get\"} 1",
        "destination_updates_sent_total{rpc=\"Get\"} 2",
        "destination_objects{kind=\"Pod\"} 1",
        "destination_topics 1",
        "destination_last_change_age_seconds ",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }

    let pid = Pid::from_raw(program.child.id().unwrap() as i32);
    kill(pid, Signal::SIGTERM).unwrap();
    assert_eq!(timeout(LONG, stream.message()).await.unwrap().unwrap(), None, "the stream ends with OK");
    assert!(timeout(LONG, program.child.wait()).await.unwrap().unwrap().success());
}

#[tokio::test]
async fn a_missing_agent_means_not_ready_and_no_exit() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("services.yaml"), SERVICES).unwrap();
    let socket = folder.path().join("agent.sock");
    let mut program = start(folder.path(), &["--spire-socket", socket.to_str().unwrap()]).await;
    line_with(&mut program.log, "destination.serving").await;
    let answer = ask(program.admin, "/ready").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("the Workload API has sent no SVID yet"), "{answer}");
    assert!(ask(program.admin, "/live").await.starts_with("HTTP/1.1 200"));
    assert!(program.child.try_wait().unwrap().is_none());
}

#[tokio::test]
async fn what_keeps_it_from_starting_is_said_with_the_flag() {
    let folder = tempfile::tempdir().unwrap();
    let admin = ["--admin-addr", "127.0.0.1:0"];
    let with = |flags: &[&'static str]| [&admin, flags].concat();
    let error = fails(&folder.path().join("nowhere"), &with(&["--grpc-addr", "127.0.0.1:0"])).await;
    assert!(error.contains("--manifests") && error.contains("nowhere"), "{error}");

    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let error = fails(folder.path(), &["--grpc-addr", &addr, "--admin-addr", "127.0.0.1:0"]).await;
    assert!(error.contains(&format!("cannot listen on --grpc-addr {addr}")), "{error}");

    let error = fails(folder.path(), &with(&["--grpc-addr", "192.0.2.1:8086"])).await;
    assert!(error.contains("--grpc-addr 192.0.2.1:8086 needs --spire-socket"), "{error}");

    let anchors = ["--grpc-addr", "127.0.0.1:0", "--spire-socket", "/s", "--trust-anchors", "/nowhere/ca.crt"];
    let error = fails(folder.path(), &with(&anchors)).await;
    assert!(error.contains("--trust-anchors /nowhere/ca.crt"), "{error}");

    std::fs::write(folder.path().join("wrong.yaml"), VM.replace("10.0.0.9", "10.0.0")).unwrap();
    let error = fails(folder.path(), &with(&["--grpc-addr", "127.0.0.1:0"])).await;
    assert!(error.contains("wrong.yaml") && error.contains("workloadIPs"), "{error}");
}
