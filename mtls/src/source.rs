//! Our own identity, followed from the SPIFFE Workload API for as long as the program runs.
//!
//! The `spiffe` crate's client does the RPC and the SPIFFE checks of each message (key usage, one URI SAN, mandatory
//! fields): one call gives the stream, and it is another's reading of the specification than our server's. Its
//! `X509Source` is not used: it gives up where a late agent is normal here, and hides the DNS SANs we choose by.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use outrigger_model::{Identity, Peer, TrustDomain};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use spiffe::transport::Endpoint;
use spiffe::{WorkloadApiClient, WorkloadApiError, X509Context, X509Svid};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::CredentialsWatch;
use crate::credentials::{Bundles, Credentials, InvalidSvid, Svid};
use crate::verify;

/// Where our identity comes from, and which one we take.
#[derive(Debug, Clone)]
pub struct WorkloadApi {
    /// The agent's unix socket; a leading `unix:` is dropped.
    pub socket: PathBuf,
    /// The SPIFFE id or DNS SAN that our SVID must carry. Without one the agent's first SVID is ours.
    pub expected_id: Option<Identity>,
    /// PEM certificates that join our own trust domain's roots, and no other's.
    pub anchors_pem: Option<String>,
}

const WARN_EVERY: Duration = Duration::from_secs(15);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

impl WorkloadApi {
    /// Spawns a task that follows the agent, reconnecting for ever, until every receiver is gone.
    ///
    /// An agent that is late, or knows no entry for us yet, leaves the value at `None`; an agent that goes away, or
    /// sends what cannot be used, leaves the credentials that are.
    pub fn follow(self) -> CredentialsWatch {
        let (sender, receiver) = watch::channel(None);
        let anchors = self.anchors_pem.as_deref().map(parse_anchors).transpose().unwrap_or_else(|error| {
            tracing::error!(event = "anchors.invalid", %error, "the configured trust anchors vouch for nobody");
            None
        });
        let socket = strip_scheme(&self.socket);
        let follower =
            Follower { socket, expected: self.expected_id, anchors: anchors.unwrap_or_default(), sender, revision: 0 };
        tokio::spawn(follower.run());
        receiver
    }
}

/// Follows the agent at `socket`, with the trust anchors of a PEM file beside its own. Without a socket there are no
/// credentials, ever.
pub fn credentials_of(socket: Option<&Path>, anchors: Option<&Path>) -> Result<CredentialsWatch, AnchorsFileError> {
    let Some(socket) = socket else { return Ok(watch::channel(None).1) };
    let anchors_pem = anchors.map(read_anchors).transpose()?;
    Ok(WorkloadApi { socket: socket.to_owned(), expected_id: None, anchors_pem }.follow())
}

fn read_anchors(path: &Path) -> Result<String, AnchorsFileError> {
    let unreadable = |cause| AnchorsFileError::Unreadable { path: path.to_owned(), cause };
    let pem = std::fs::read_to_string(path).map_err(unreadable)?;
    parse_anchors(&pem).map_err(|cause| AnchorsFileError::Invalid { path: path.to_owned(), cause })?;
    Ok(pem)
}

/// A file of trust anchors that cannot be used.
#[derive(Debug, Error)]
pub enum AnchorsFileError {
    #[error("{path}: {cause}")]
    Unreadable { path: PathBuf, cause: std::io::Error },
    #[error("{path}: {cause}")]
    Invalid { path: PathBuf, cause: InvalidAnchors },
}

/// PEM trust anchors that cannot be read.
#[derive(Debug, Error)]
pub enum InvalidAnchors {
    #[error("the PEM text of the trust anchors is malformed: {0}")]
    Pem(rustls::pki_types::pem::Error),
    #[error("the text of the trust anchors holds no BEGIN CERTIFICATE block")]
    Empty,
}

/// Reads the certificates of a PEM text, as DER; other blocks are skipped.
pub fn parse_anchors(pem: &str) -> Result<Vec<Vec<u8>>, InvalidAnchors> {
    let anchors: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|der| der.map(|der| der.to_vec()).map_err(InvalidAnchors::Pem))
        .collect::<Result<_, _>>()?;
    if anchors.is_empty() { Err(InvalidAnchors::Empty) } else { Ok(anchors) }
}

fn strip_scheme(socket: &Path) -> PathBuf {
    let path = socket.to_string_lossy();
    match path.strip_prefix("unix://").or_else(|| path.strip_prefix("unix:")) {
        Some(bare) => bare.into(),
        None => socket.to_owned(),
    }
}

/// Why there is no new SVID.
#[derive(Debug, Error)]
enum Trouble {
    #[error("the Workload API: {0}")]
    Api(#[from] WorkloadApiError),
    #[error("the Workload API has not answered for {} s", WARN_EVERY.as_secs())]
    Silent,
    #[error("the Workload API ended its stream")]
    Ended,
}

/// Why an SVID that the agent sent is not installed.
#[derive(Debug, Error)]
enum NotInstalled {
    #[error("no SVID carries the expected id {expected}; the agent offers {offered}")]
    NoneExpected { expected: Identity, offered: String },
    #[error("the agent sent no SVID")]
    None,
    #[error(transparent)]
    Invalid(#[from] InvalidSvid),
    #[error(transparent)]
    Name(#[from] outrigger_model::InvalidName),
}

struct Follower {
    socket: PathBuf,
    expected: Option<Identity>,
    anchors: Vec<Vec<u8>>,
    sender: watch::Sender<Option<Arc<Credentials>>>,
    revision: u64,
}

impl Follower {
    async fn run(mut self) {
        let abandoned = self.sender.clone();
        tokio::select! {
            () = abandoned.closed() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&mut self) {
        let mut backoff = BACKOFF_MIN;
        let mut warned: Option<Instant> = None;
        loop {
            let before = self.revision;
            let trouble = self.session().await;
            if self.revision > before {
                (backoff, warned) = (BACKOFF_MIN, None);
            }
            if warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
                warned = Some(Instant::now());
                self.warn(&trouble);
            }
            // Jitter, so that the workloads of a host do not all knock at once when its agent comes back.
            sleep(backoff.mul_f64(rand::random_range(0.75..1.25))).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// One stream, from connecting to its end.
    async fn session(&mut self) -> Trouble {
        let first = timeout(WARN_EVERY, async {
            let client = WorkloadApiClient::connect(Endpoint::Unix(self.socket.clone())).await?;
            let mut contexts = client.stream_x509_contexts().await?;
            let first = contexts.next().await;
            Ok::<_, WorkloadApiError>((first, contexts))
        });
        let (mut next, mut contexts) = match first.await {
            Ok(Ok(begun)) => begun,
            Ok(Err(error)) => return error.into(),
            Err(_) => return Trouble::Silent,
        };
        while let Some(context) = next {
            match context {
                Ok(context) => self.install(&context),
                Err(error) => return error.into(),
            }
            next = contexts.next().await;
        }
        Trouble::Ended
    }

    fn install(&mut self, context: &X509Context) {
        match self.credentials(context) {
            Ok(credentials) => {
                self.revision += 1;
                tracing::info!(event = "svid.installed", id = %credentials.id(), revision = self.revision,
                    not_after = unix(credentials.not_after()), "a new SVID serves new handshakes");
                self.sender.send_replace(Some(Arc::new(credentials)));
            }
            Err(error) => {
                let kept = self.sender.borrow().is_some();
                tracing::error!(event = "svid.rejected", %error, kept, "the agent's SVID is not installed");
            }
        }
    }

    fn credentials(&self, context: &X509Context) -> Result<Credentials, NotInstalled> {
        let svid = self.choose(context.svids())?;
        let mut bundles = Bundles::new();
        for (domain, bundle) in context.bundle_set().iter() {
            let authorities = bundle.authorities().iter().map(|authority| authority.as_bytes().to_vec());
            bundles.insert(domain.as_str().parse()?, authorities.collect());
        }
        bundles.entry(trust_domain(svid)?).or_default().extend(self.anchors.iter().cloned());
        let svid = Svid {
            chain: svid.cert_chain().iter().map(|certificate| certificate.as_bytes().to_vec()).collect(),
            key: svid.private_key().as_bytes().to_vec(),
        };
        Ok(Credentials::new(svid, &bundles, self.revision + 1)?)
    }

    fn choose<'a>(&self, svids: &'a [Arc<X509Svid>]) -> Result<&'a X509Svid, NotInstalled> {
        let Some(expected) = &self.expected else {
            return svids.first().map(AsRef::as_ref).ok_or(NotInstalled::None);
        };
        let carries = |svid: &&Arc<X509Svid>| names(svid).is_some_and(|names| names.is(expected));
        svids.iter().find(carries).map(AsRef::as_ref).ok_or_else(|| NotInstalled::NoneExpected {
            expected: expected.clone(),
            offered: svids.iter().map(|svid| svid.spiffe_id().to_string()).collect::<Vec<_>>().join(", "),
        })
    }

    fn warn(&self, trouble: &Trouble) {
        let held = self.sender.borrow().as_ref().map(|credentials| unix(credentials.not_after()));
        tracing::warn!(event = "workload_api.unavailable", socket = %self.socket.display(), error = %chain(trouble),
            svid_not_after = held, "no SVID from the Workload API; retrying. Is its agent running, may this user \
            open the socket, and is there an entry for this user?");
    }
}

fn trust_domain(svid: &X509Svid) -> Result<TrustDomain, outrigger_model::InvalidName> {
    svid.spiffe_id().trust_domain().as_str().parse()
}

fn names(svid: &X509Svid) -> Option<Peer> {
    verify::names(&trust_domain(svid).ok()?, &svid.leaf().as_bytes().into()).ok()
}

fn unix(time: std::time::SystemTime) -> u64 {
    time.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The whole chain of causes: a transport's own text is only "transport error".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
