//! Whether a peer's certificate is to be believed, and whom it names.
//!
//! The leaf's one URI SAN chooses the root set: that of its trust domain, and no other. A leaf without a URI SAN (as
//! Linkerd's own issuer makes them) is judged by our own domain's set, so a federated bundle can never vouch for a DNS
//! name.

use std::collections::BTreeMap;
use std::sync::Arc;

use outrigger_model::{Identity, InvalidPeer, Peer, Refusal, TrustDomain};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, PeerIncompatible, SignatureScheme,
};
use thiserror::Error;
use webpki::{EndEntityCert, KeyUsage};

/// Why a certificate is refused. Travels through rustls as [`CertificateError::Other`].
#[derive(Debug, Error)]
pub(crate) enum Rejected {
    #[error("it cannot be parsed: {0}")]
    Malformed(webpki::Error),
    #[error(transparent)]
    Names(#[from] InvalidPeer),
    #[error("there is no bundle for the trust domain {0}")]
    UnknownDomain(TrustDomain),
    #[error("{0}")]
    NotInForce(webpki::Error),
    #[error("{0}")]
    Untrusted(webpki::Error),
    #[error("expected {expected}, but it names {presented}")]
    WrongIdentity { expected: Identity, presented: String },
}

impl Rejected {
    /// The refusal for the operator when a client presented the certificate.
    pub(crate) fn of_client(&self) -> Refusal {
        match self {
            Self::Names(_) | Self::WrongIdentity { .. } => Refusal::ClientNamesInvalid,
            Self::UnknownDomain(_) => Refusal::ClientTrustDomainUnknown,
            Self::NotInForce(_) => Refusal::ClientCertificateExpired,
            Self::Malformed(_) | Self::Untrusted(_) => Refusal::ClientCertificateUntrusted,
        }
    }

    /// The refusal for the operator when a server presented the certificate.
    pub(crate) fn of_server(&self) -> Refusal {
        match self {
            Self::Names(_) | Self::WrongIdentity { .. } => Refusal::ServerIdentityMismatch,
            Self::NotInForce(_) => Refusal::ServerCertificateExpired,
            Self::Malformed(_) | Self::UnknownDomain(_) | Self::Untrusted(_) => Refusal::ServerCertificateUntrusted,
        }
    }
}

impl From<Rejected> for rustls::Error {
    fn from(rejected: Rejected) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(rejected))))
    }
}

/// The root sets, one per trust domain, and which domain is ours.
#[derive(Debug)]
pub(crate) struct Roots {
    own: TrustDomain,
    sets: BTreeMap<TrustDomain, Vec<TrustAnchor<'static>>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Roots {
    pub(crate) fn new(
        own: TrustDomain,
        sets: BTreeMap<TrustDomain, Vec<TrustAnchor<'static>>>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        Self { own, sets, algorithms }
    }

    /// Our own trust domain.
    pub(crate) fn own(&self) -> &TrustDomain {
        &self.own
    }

    /// Verifies a chain for `usage` at `now` against the one root set that may vouch for its leaf (X.509-SVID §5).
    pub(crate) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: KeyUsage,
        now: UnixTime,
    ) -> Result<Peer, Rejected> {
        let leaf = EndEntityCert::try_from(leaf).map_err(Rejected::Malformed)?;
        let peer = sans(&self.own, &leaf)?;
        let domain = match peer.identity() {
            Identity::Spiffe(id) => id.trust_domain(),
            Identity::Dns(_) => self.own.clone(),
        };
        let Some(anchors) = self.sets.get(&domain) else { return Err(Rejected::UnknownDomain(domain)) };
        leaf.verify_for_usage(self.algorithms.all, anchors, intermediates, now, usage, None, None).map_err(
            |e| match e {
                webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => Rejected::NotInForce(e),
                e => Rejected::Untrusted(e),
            },
        )?;
        Ok(peer)
    }
}

/// The names of a leaf to a workload of the domain `own`, without asking who vouches for them.
pub(crate) fn names(own: &TrustDomain, leaf: &CertificateDer<'_>) -> Result<Peer, Rejected> {
    sans(own, &EndEntityCert::try_from(leaf).map_err(Rejected::Malformed)?)
}

fn sans(own: &TrustDomain, leaf: &EndEntityCert<'_>) -> Result<Peer, Rejected> {
    let uris: Vec<_> = leaf.valid_uri_names().collect();
    let dns: Vec<_> = leaf.valid_dns_names().collect();
    Ok(Peer::from_sans(own, &uris, &dns)?)
}

/// Judges servers. The server's name is no part of it: SPIFFE authenticates ids, and SNI only selects a server.
#[derive(Debug)]
pub(crate) struct VerifyServer {
    pub(crate) roots: Arc<Roots>,
    pub(crate) expected: Identity,
}

impl ServerCertVerifier for VerifyServer {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let peer = self.roots.verify(leaf, intermediates, KeyUsage::server_auth(), now)?;
        if !peer.is(&self.expected) {
            let presented = peer.names().iter().map(Identity::as_str).collect::<Vec<_>>().join(", ");
            return Err(Rejected::WrongIdentity { expected: self.expected.clone(), presented }.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signed, &self.roots.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.roots.algorithms.supported_schemes()
    }
}

/// Judges clients that present a certificate; whether they must is the caller's to say.
#[derive(Debug)]
pub(crate) struct VerifyClient {
    pub(crate) roots: Arc<Roots>,
}

impl ClientCertVerifier for VerifyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A workload has one SVID: a list of our roots would only make the handshake longer.
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.roots.verify(leaf, intermediates, KeyUsage::client_auth(), now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signed, &self.roots.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.roots.algorithms.supported_schemes()
    }
}

fn tls12() -> rustls::Error {
    PeerIncompatible::Tls12NotOfferedOrEnabled.into()
}
