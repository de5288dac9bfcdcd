//! The embedded SPIFFE Workload API, for the demo, tests and small meshes: the agent's protocol on the agent's socket.
//!
//! Callers are attested by their uid. What they get stands in an entries file, signed by an authority of our own; both
//! are followed for changes.

mod entries;
pub mod issuer;
mod service;
mod socket;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fs, io};

use futures::StreamExt;
use outrigger_model::TrustDomain;
use thiserror::Error;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

pub use entries::{Entry, InvalidEntries};
use issuer::{Ca, IssuerError};
use proto::spiffe_workload_api_server::SpiffeWorkloadApiServer;
use service::{Service, State};
pub use socket::SocketError;

#[allow(unreachable_pub, clippy::all, clippy::allow_attributes_without_reason, reason = "generated")]
pub(crate) mod proto {
    tonic::include_proto!("_");
}

/// How the server runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// The unix socket to listen on.
    pub socket: PathBuf,
    /// The YAML file `entries: [{uid, spiffeId, dnsNames}]`.
    pub entries: PathBuf,
    pub trust_domain: TrustDomain,
    /// Holds `ca.crt` and `ca.key`; both are made when neither is there.
    pub state_dir: PathBuf,
    /// An SVID's lifetime; the next one is sent at half of it.
    pub ttl: Duration,
    /// The group that may open the socket, besides the server's own user.
    pub group: Option<u32>,
}

/// Why the server does not run.
#[derive(Debug, Error)]
pub enum ServeError {
    #[error("the lifetime of an SVID (ttl) must be at least 2 s, not {0:?}")]
    Ttl(Duration),
    #[error("{path}: {cause}")]
    Entries { path: PathBuf, cause: InvalidEntries },
    #[error("cannot read {path}: {cause}")]
    Read { path: PathBuf, cause: io::Error },
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("the server stopped: {0}")]
    Server(#[from] tonic::transport::Error),
}

/// Serves until `stop` is ready; then the streams end and the socket is removed.
///
/// Errors are those of the start. Later a file that cannot be used is logged, and what it said last stays in force.
pub async fn serve(config: Config, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
    if config.ttl < Duration::from_secs(2) {
        return Err(ServeError::Ttl(config.ttl));
    }
    let seen = fingerprint(&config);
    let ca = Ca::load_or_create(&config.state_dir, &config.trust_domain)?;
    let (sender, state) = watch::channel(Arc::new(State { entries: load_entries(&config)?, ca: Arc::new(ca) }));
    let listener = socket::bind(&config.socket, config.group).await?;
    tracing::info!(event = "workload_api.listening", socket = %config.socket.display(),
        trust_domain = %config.trust_domain, entries = state.borrow().entries.len(), "the Workload API is served");
    let service = SpiffeWorkloadApiServer::new(Service { state, ttl: config.ttl });
    let (stopping, stopped) = oneshot::channel();
    let until = async {
        tokio::select! {
            () = stop => {}
            () = follow(&config, seen, &sender) => {}
        }
        // The streams end with their state's sender; the server could not stop before them.
        drop((sender, stopping));
    };
    // Without a pause the server would spin for as long as it is out of file descriptors.
    let incoming = UnixListenerStream::new(listener).then(async |accepted| {
        if accepted.is_err() {
            sleep(Duration::from_millis(100)).await;
        }
        accepted
    });
    let serving = Server::builder().add_service(service).serve_with_incoming_shutdown(incoming, until);
    let served = tokio::select! {
        served = serving => served,
        () = grace(stopped) => Ok(()),
    };
    if let Err(error) = fs::remove_file(&config.socket) {
        tracing::debug!(event = "workload_api.socket_left", %error, "the socket was not removed");
    }
    Ok(served?)
}

/// Some time after the stop: a client that connected and never spoke must not hold it up.
async fn grace(stopped: oneshot::Receiver<()>) {
    let _ = stopped.await;
    sleep(Duration::from_secs(2)).await;
}

fn load_entries(config: &Config) -> Result<Vec<Entry>, ServeError> {
    let path = &config.entries;
    let yaml = fs::read_to_string(path).map_err(|cause| ServeError::Read { path: path.clone(), cause })?;
    entries::parse(&yaml, &config.trust_domain).map_err(|cause| ServeError::Entries { path: path.clone(), cause })
}

fn reload(config: &Config, old: &State) -> Result<State, ServeError> {
    // Only a start makes an authority: one that vanishes from under a running server is a mistake to be seen.
    let ca = Ca::load(&config.state_dir, &config.trust_domain)?;
    // The same authority again: nobody needs a new SVID.
    let ca = if ca.authorities() == old.ca.authorities() { old.ca.clone() } else { Arc::new(ca) };
    Ok(State { entries: load_entries(config)?, ca })
}

/// Looks at the files each second: they are few and small, and this sees changes on every file system.
async fn follow(config: &Config, mut seen: Fingerprint, state: &watch::Sender<Arc<State>>) {
    loop {
        sleep(Duration::from_secs(1)).await;
        let now = fingerprint(config);
        if now == seen {
            continue;
        }
        seen = now;
        let old = state.borrow().clone();
        match reload(config, &old) {
            Ok(new) => {
                tracing::info!(event = "entries.reloaded", entries = new.entries.len(), "the files were read again");
                state.send_replace(Arc::new(new));
            }
            Err(error) => tracing::error!(event = "entries.rejected", %error, "what was read last stays in force"),
        }
    }
}

type Fingerprint = [Option<(SystemTime, u64)>; 3];

fn fingerprint(config: &Config) -> Fingerprint {
    let of = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    [of(&config.entries), of(&config.state_dir.join("ca.crt")), of(&config.state_dir.join("ca.key"))]
}

#[cfg(test)]
mod tests;
