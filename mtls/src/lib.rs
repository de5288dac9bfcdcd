//! SVIDs, trust bundles and mutual TLS: the one crate that knows rustls, X.509 and the SPIFFE Workload API.
//!
//! ```text
//! agent ──Workload API──▶ WorkloadApi::follow ──watch──▶ Credentials ──▶ connect / accept ──▶ Peer
//! ```
//!
//! A [`Credentials`] is one immutable snapshot: an SVID, its key, one root set per trust domain. Whatever changes makes
//! a new snapshot for new handshakes; connections that exist keep the keys that they agreed on.

mod alpn;
mod credentials;
pub mod grpc;
mod handshake;
#[cfg(test)]
mod peers;
mod source;
mod verify;
pub mod workload_api;

pub use alpn::Alpn;
pub use credentials::{Bundles, Credentials, InvalidSvid, Svid};
pub use handshake::{Accepted, Connected, TlsError, accept, connect};
pub use source::{AnchorsFileError, InvalidAnchors, WorkloadApi, credentials_of, parse_anchors};
pub use tokio_rustls::TlsStream;

/// What a part of the program follows: the newest credentials, or nothing as long as there are none.
pub type CredentialsWatch = tokio::sync::watch::Receiver<Option<std::sync::Arc<Credentials>>>;
