//! One snapshot of who we are and whom we trust, with the TLS configurations made from it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use outrigger_model::{Peer, SpiffeId, TrustDomain};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, TrustAnchor, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};
use thiserror::Error;
use webpki::{KeyUsage, anchor_from_trusted_cert};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::alpn::Alpn;
use crate::verify::{Rejected, Roots, VerifyClient, VerifyServer};

/// An X.509-SVID as the Workload API sends it: DER certificates, the leaf first, and the leaf's key in PKCS#8 DER.
#[derive(Clone)]
pub struct Svid {
    pub chain: Vec<Vec<u8>>,
    pub key: Vec<u8>,
}

impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Svid").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

/// The DER certificates of each trust domain's authorities.
pub type Bundles = BTreeMap<TrustDomain, Vec<Vec<u8>>>;

/// Why an SVID cannot be used.
#[derive(Debug, Error)]
#[error("the SVID cannot be used: {0}")]
pub struct InvalidSvid(#[from] Unusable);

#[derive(Debug, Error)]
enum Unusable {
    #[error("it holds no certificate")]
    Empty,
    #[error("its key: {0}")]
    Key(rustls::Error),
    #[error("its certificate does not verify against its trust domain's bundle: {0}")]
    Rejected(#[from] Rejected),
    #[error("its leaf certificate cannot be read")]
    Leaf,
    #[error("its certificate has no SPIFFE id")]
    NoSpiffeId,
    #[error("{0}")]
    Tls(rustls::Error),
}

/// An immutable snapshot: SVID, key, and one root set per trust domain, with the TLS configurations built once.
pub struct Credentials {
    id: SpiffeId,
    names: Peer,
    trust_domain: TrustDomain,
    not_before: SystemTime,
    not_after: SystemTime,
    revision: u64,
    roots: Arc<Roots>,
    client: ClientConfig,
    server: Arc<ServerConfig>,
    server_with_header: Arc<ServerConfig>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("id", &self.id).field("revision", &self.revision).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Builds a snapshot, and proves it first: the chain must verify, now, against the bundle of its own trust domain,
    /// and the key must be the leaf's. The clock is the system's.
    pub fn new(svid: Svid, bundles: &Bundles, revision: u64) -> Result<Self, InvalidSvid> {
        Ok(Self::build(svid, bundles, revision)?)
    }

    fn build(svid: Svid, bundles: &Bundles, revision: u64) -> Result<Self, Unusable> {
        let provider = PROVIDER.clone();
        let chain: Vec<_> = svid.chain.into_iter().map(CertificateDer::from).collect();
        let (leaf, intermediates) = chain.split_first().ok_or(Unusable::Empty)?;
        let id = spiffe_id(leaf)?;
        let trust_domain = id.trust_domain();
        let roots = Roots::new(trust_domain.clone(), anchors(bundles), provider.signature_verification_algorithms);
        // Each SVID serves both ways, so it must be good for both.
        let names = roots.verify(leaf, intermediates, KeyUsage::server_auth(), UnixTime::now())?;
        roots.verify(leaf, intermediates, KeyUsage::client_auth(), UnixTime::now())?;
        let (not_before, not_after) = validity(leaf)?;
        let roots = Arc::new(roots);
        let key = PrivateKeyDer::Pkcs8(svid.key.into());
        let key = Arc::new(CertifiedKey::from_der(chain, key, &provider).map_err(Unusable::Key)?);
        Ok(Self {
            client: client_config(&provider, &roots, &key, &id).map_err(Unusable::Tls)?,
            server: Arc::new(server_config(&provider, &roots, &key, Alpn::None).map_err(Unusable::Tls)?),
            server_with_header: Arc::new(
                server_config(&provider, &roots, &key, Alpn::TransportHeader).map_err(Unusable::Tls)?,
            ),
            id,
            names,
            trust_domain,
            not_before,
            not_after,
            revision,
            roots,
        })
    }

    /// The SVID's SPIFFE id.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// Every name that the SVID proves: its SPIFFE id and its DNS SANs.
    pub fn names(&self) -> &Peer {
        &self.names
    }

    /// Our own trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// When the SVID's life begins.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// When the SVID ends.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Whether the SVID has ended: such credentials make no new handshake.
    pub fn expired(&self, now: SystemTime) -> bool {
        now > self.not_after
    }

    /// Grows with each snapshot that a source installs; what is cached under one revision is worth nothing in the next.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn roots(&self) -> &Arc<Roots> {
        &self.roots
    }

    pub(crate) fn client(&self) -> &ClientConfig {
        &self.client
    }

    pub(crate) fn server(&self, alpn: Alpn) -> &Arc<ServerConfig> {
        match alpn {
            Alpn::None => &self.server,
            Alpn::TransportHeader => &self.server_with_header,
        }
    }
}

/// Linkerd's parameters (reference A.4), in its order. An explicit provider: the process default is anybody's to set.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..aws_lc_rs::default_provider()
    })
});

// No session is ever resumed, in either direction: a resumed handshake does not look at the peer's certificate again,
// so tickets must first learn to die with the SVID and with the bundle's revision.

fn client_config(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<Roots>,
    key: &Arc<CertifiedKey>,
    own: &SpiffeId,
) -> Result<ClientConfig, rustls::Error> {
    // A template: each connection puts its own expectation here. Until then it expects ourselves, which no one else is.
    let verifier = VerifyServer { roots: roots.clone(), expected: outrigger_model::Identity::Spiffe(own.clone()) };
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key.clone())));
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<Roots>,
    key: &Arc<CertifiedKey>,
    alpn: Alpn,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(VerifyClient { roots: roots.clone() }))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key.clone())));
    config.alpn_protocols = alpn.protocols();
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// An authority that webpki cannot read vouches for nobody; the others of its set still do.
fn anchors(bundles: &Bundles) -> BTreeMap<TrustDomain, Vec<TrustAnchor<'static>>> {
    let anchor = |domain: &TrustDomain, der: &[u8]| match anchor_from_trusted_cert(&CertificateDer::from(der)) {
        Ok(anchor) => Some(anchor.to_owned()),
        Err(error) => {
            tracing::warn!(event = "bundle.authority_skipped", trust_domain = %domain, %error,
                "an authority of the trust bundle cannot be read and vouches for nobody");
            None
        }
    };
    bundles
        .iter()
        .map(|(domain, ders)| (domain.clone(), ders.iter().filter_map(|der| anchor(domain, der)).collect()))
        .collect()
}

fn spiffe_id(leaf: &CertificateDer<'_>) -> Result<SpiffeId, Unusable> {
    let leaf = webpki::EndEntityCert::try_from(leaf).map_err(Rejected::Malformed)?;
    let uri = leaf.valid_uri_names().next().ok_or(Unusable::NoSpiffeId)?;
    uri.parse().map_err(|error| Rejected::Names(outrigger_model::InvalidPeer::Invalid(error)).into())
}

fn validity(leaf: &CertificateDer<'_>) -> Result<(SystemTime, SystemTime), Unusable> {
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| Unusable::Leaf)?;
    Ok((time(leaf.validity().not_before)?, time(leaf.validity().not_after)?))
}

fn time(at: x509_parser::time::ASN1Time) -> Result<SystemTime, Unusable> {
    let seconds = u64::try_from(at.timestamp()).map_err(|_| Unusable::Leaf)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or(Unusable::Leaf)
}

#[cfg(test)]
mod tests;
