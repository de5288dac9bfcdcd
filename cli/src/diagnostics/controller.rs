//! The way to a controller, and how its answers are read and shown.

use crate::output::{Format, print_json};
use anyhow::{Context as _, Result, anyhow};
use comfy_table::Table;
use outrigger_model::DnsName;
use outrigger_mtls::grpc::{ControlAddr, channel};
use outrigger_mtls::{CredentialsWatch, WorkloadApi};
use serde_json::Value;
use std::error::Error as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

/// How long the agent may take to send our SVID.
const SVID: Duration = Duration::from_secs(10);
/// How long the controller may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// An answer in several messages is complete when none has come for this long.
const QUIET: Duration = Duration::from_millis(200);

#[derive(clap::Args)]
pub(super) struct Controller {
    /// The controller's address, if it is not the usual port on loopback.
    #[arg(long, value_name = "HOST:PORT")]
    addr: Option<ControlAddr>,
    /// The DNS name that the controller must prove; asks over mutual TLS.
    #[arg(long, requires_all = ["addr", "spire_socket"])]
    name: Option<DnsName>,
    /// The Workload API that gives us our SVID.
    #[arg(long, value_name = "PATH", requires = "name")]
    spire_socket: Option<PathBuf>,
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Go on, and show every change.
    #[arg(short, long)]
    watch: bool,
}

impl Controller {
    /// A channel to the address that was given, or to this port on loopback, and the address for error messages.
    pub(super) async fn channel(&self, port: u16) -> Result<(Channel, ControlAddr)> {
        let usual = ControlAddr { host: "127.0.0.1".to_owned(), port, name: None };
        let addr = ControlAddr { name: self.name.clone(), ..self.addr.clone().unwrap_or(usual) };
        let credentials = match &self.spire_socket {
            Some(socket) => svid(socket.clone()).await?,
            None => watch::channel(None).1,
        };
        Ok((channel(addr.clone(), credentials), addr))
    }

    /// Hands every message to `see`, and what it makes of them to `show`: once, or on every change with --watch.
    pub(super) async fn follow<M, S: Default>(
        &self,
        addr: &ControlAddr,
        mut answers: Streaming<M>,
        mut see: impl FnMut(&mut S, M) -> Result<()>,
        show: impl Fn(&S) -> (Table, Value),
    ) -> Result<()> {
        let mut state = S::default();
        let first = timeout(ANSWER, answers.message()).await.with_context(|| format!("{addr} does not answer"))?;
        let mut message = first.map_err(|status| refusal(addr, &status))?;
        while let Some(answer) = message {
            see(&mut state, answer)?;
            message = match timeout(QUIET, answers.message()).await {
                Ok(next) => next.map_err(|status| refusal(addr, &status))?,
                Err(_) => {
                    self.print(show(&state))?;
                    if !self.watch {
                        return Ok(());
                    }
                    answers.message().await.map_err(|status| refusal(addr, &status))?
                }
            };
        }
        Err(anyhow!("{addr} ended the stream"))
    }

    /// One document; with --watch one line of it for each change.
    fn print(&self, (table, json): (Table, Value)) -> Result<()> {
        match (self.output, self.watch) {
            (Format::Table, _) => Ok(writeln!(std::io::stdout(), "{table}")?),
            (Format::Json, false) => print_json(&json),
            (Format::Json, true) => Ok(writeln!(std::io::stdout(), "{json}")?),
        }
    }
}

/// What the controller said, with the cause where it could not be asked at all.
pub(super) fn refusal(addr: &ControlAddr, status: &Status) -> anyhow::Error {
    let mut reason = status.message().to_owned();
    let mut cause = status.source();
    while let Some(error) = cause {
        reason = error.to_string();
        cause = error.source();
    }
    match status.code() {
        Code::Unavailable => anyhow!("{addr} cannot be asked: {reason}"),
        code => anyhow!("{addr} refuses: {code:?}: {reason}"),
    }
}

async fn svid(socket: PathBuf) -> Result<CredentialsWatch> {
    let path = socket.display().to_string();
    let mut credentials = WorkloadApi { socket, expected_id: None, anchors_pem: None }.follow();
    let sent = timeout(SVID, credentials.wait_for(Option::is_some)).await;
    sent.with_context(|| {
        format!("the Workload API at {path} has sent no SVID in 10 s; is there an entry for our uid?")
    })??;
    Ok(credentials)
}
