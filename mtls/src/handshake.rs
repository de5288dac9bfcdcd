//! The two ends of a mutual TLS handshake.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use outrigger_model::{DnsName, Identity, Peer, Refusal};
use rustls::pki_types::ServerName;
use rustls::{CertificateError, OtherError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::alpn::{Alpn, TRANSPORT_HEADER};
use crate::credentials::Credentials;
use crate::verify::{self, Rejected, VerifyServer};

/// A handshake that was refused, by whom and why.
#[derive(Debug, thiserror::Error)]
#[error("{refusal}: {cause}")]
pub struct TlsError {
    /// The stable reason, for metrics and the log.
    pub refusal: Refusal,
    #[source]
    cause: Box<dyn Error + Send + Sync>,
}

impl TlsError {
    pub(crate) fn new(refusal: Refusal, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { refusal, cause: cause.into() }
    }

    fn from_io(error: io::Error, side: fn(&Rejected) -> Refusal) -> Self {
        let refusal = rejected(&error).map_or(Refusal::HandshakeFailed, side);
        Self::new(refusal, error)
    }
}

/// Our own verdict, if that is what ended the handshake.
fn rejected(error: &io::Error) -> Option<&Rejected> {
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) => cause.downcast_ref(),
        _ => None,
    }
}

/// A handshake that we began.
#[derive(Debug)]
pub struct Connected<IO> {
    pub stream: TlsStream<IO>,
    /// The server negotiated `transport.l5d.io/v1`: it awaits a header.
    pub transport_header: bool,
}

/// A handshake that a client began.
#[derive(Debug)]
pub struct Accepted<IO> {
    pub stream: TlsStream<IO>,
    /// Whom the client's certificate names; none if it presented none.
    pub peer: Option<Peer>,
    /// `transport.l5d.io/v1` was negotiated: a header comes first.
    pub transport_header: bool,
}

/// Completes a client's handshake on `io`. The server must prove `expected`; `server_name` is only its SNI.
///
/// TLS 1.3 ends a client's handshake before the server has judged the client: a server that refuses us says so by an
/// alert on the first read. There is no time limit here; the caller has one for the whole connect.
pub async fn connect<IO>(
    creds: &Credentials,
    io: IO,
    server_name: &DnsName,
    expected: &Identity,
    alpn: Alpn,
) -> Result<Connected<IO>, TlsError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    in_force(creds)?;
    let sni = ServerName::try_from(server_name.as_str().to_owned())
        .map_err(|error| TlsError::new(Refusal::EndpointIdentityUnusable, error))?;
    let mut config = creds.client().clone();
    let verifier = VerifyServer { roots: creds.roots().clone(), expected: expected.clone() };
    config.dangerous().set_certificate_verifier(Arc::new(verifier));
    config.alpn_protocols = alpn.protocols();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(sni, io)
        .await
        .map_err(|error| TlsError::from_io(error, Rejected::of_server))?;
    let transport_header = stream.get_ref().1.alpn_protocol() == Some(TRANSPORT_HEADER);
    Ok(Connected { stream: stream.into(), transport_header })
}

/// Completes a server's handshake on `io`. A client may present no certificate, but not a bad one.
///
/// There is no time limit here; the caller has one for detection and handshake together.
pub async fn accept<IO>(creds: &Credentials, io: IO, alpn: Alpn) -> Result<Accepted<IO>, TlsError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    in_force(creds)?;
    let stream = TlsAcceptor::from(creds.server(alpn).clone())
        .accept(io)
        .await
        .map_err(|error| TlsError::from_io(error, Rejected::of_client))?;
    let session = stream.get_ref().1;
    let transport_header = session.alpn_protocol() == Some(TRANSPORT_HEADER);
    let peer = match session.peer_certificates().and_then(<[_]>::first) {
        Some(leaf) => {
            let peer = verify::names(creds.roots().own(), leaf);
            Some(peer.map_err(|rejected| TlsError::new(rejected.of_client(), rejected))?)
        }
        None => None,
    };
    Ok(Accepted { stream: stream.into(), peer, transport_header })
}

fn in_force(creds: &Credentials) -> Result<(), TlsError> {
    if creds.expired(SystemTime::now()) {
        return Err(TlsError::new(Refusal::NoSvid, format!("the SVID of {} has expired", creds.id())));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
