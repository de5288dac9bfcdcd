//! The embedded certificate authority: one self-signed P-256 root per trust domain, and the SVIDs that it signs.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use outrigger_model::{DnsName, SpiffeId, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::credentials::{Bundles, Svid};

/// What the authority's files and certificates can fail with.
#[derive(Debug, Error)]
pub enum IssuerError {
    #[error("{path}: {cause}")]
    Io { path: PathBuf, cause: io::Error },
    #[error("{present} exists but {missing} does not: put it back, or remove both to make a new authority")]
    Half { present: PathBuf, missing: PathBuf },
    #[error("{path}: {why}")]
    Unusable { path: PathBuf, why: String },
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("cannot make an authority: {0}")]
    Authority(String),
}

/// What one leaf certificate shall say.
#[derive(Debug, Clone)]
pub struct Leaf {
    pub uris: Vec<String>,
    pub dns_names: Vec<String>,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

impl Leaf {
    /// An SVID's leaf for `ttl` from now, valid a little earlier, for peers whose clocks are behind.
    pub fn svid(id: &SpiffeId, dns_names: &[DnsName], ttl: Duration) -> Self {
        let now = SystemTime::now();
        Self {
            uris: vec![id.to_string()],
            dns_names: dns_names.iter().map(ToString::to_string).collect(),
            not_before: now - CLOCK_SKEW,
            not_after: now + ttl,
        }
    }
}

/// A certificate authority of one trust domain.
pub struct Ca {
    trust_domain: TrustDomain,
    issuer: Issuer<'static, KeyPair>,
    /// DER; the signing certificate first.
    authorities: Vec<Vec<u8>>,
    pem: String,
    not_after: SystemTime,
}

const CLOCK_SKEW: Duration = Duration::from_secs(30);
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl Ca {
    /// Makes an authority in memory, for ten years.
    pub fn new(trust_domain: &TrustDomain) -> Result<Self, IssuerError> {
        let (certificate, key) = make(trust_domain)?;
        Self::from_pem(trust_domain, &certificate, &key).map_err(IssuerError::Authority)
    }

    /// Loads `ca.crt` and `ca.key` from `dir`, or makes both when neither is there (key 0600, certificate 0644).
    ///
    /// `ca.crt` may hold several authorities, for a rotation: all are in the bundle, the one whose key is `ca.key` signs.
    pub fn load_or_create(dir: &Path, trust_domain: &TrustDomain) -> Result<Self, IssuerError> {
        let (certificate, key) = (dir.join(CERTIFICATE), dir.join(KEY));
        match (certificate.exists(), key.exists()) {
            (true, true) => Self::load(dir, trust_domain),
            (true, false) => Err(IssuerError::Half { present: certificate, missing: key }),
            (false, true) => Err(IssuerError::Half { present: key, missing: certificate }),
            (false, false) => {
                fs::create_dir_all(dir).map_err(|cause| IssuerError::Io { path: dir.into(), cause })?;
                let (certificate_pem, key_pem) = make(trust_domain)?;
                write(&key, &key_pem, 0o600)?;
                write(&certificate, &certificate_pem, 0o644)?;
                tracing::info!(event = "ca.created", %trust_domain, certificate = %certificate.display(),
                    "a new certificate authority was made");
                Self::load(dir, trust_domain)
            }
        }
    }

    /// Loads `ca.crt` and `ca.key` from `dir`.
    pub fn load(dir: &Path, trust_domain: &TrustDomain) -> Result<Self, IssuerError> {
        let (certificate, key) = (dir.join(CERTIFICATE), dir.join(KEY));
        let readable_by_others =
            |path: &Path| Ok::<_, io::Error>(fs::metadata(path)?.permissions().mode() & 0o077 != 0);
        if readable_by_others(&key).map_err(|cause| IssuerError::Io { path: key.clone(), cause })? {
            tracing::warn!(event = "ca.key_exposed", path = %key.display(),
                "others than its owner may read the authority's key: chmod 600 it");
        }
        Self::from_pem(trust_domain, &read(&certificate)?, &read(&key)?)
            .map_err(|why| IssuerError::Unusable { path: certificate, why })
    }

    fn from_pem(trust_domain: &TrustDomain, certificates: &str, key: &str) -> Result<Self, String> {
        let key = KeyPair::from_pem(key).map_err(|error| format!("the key beside it cannot be used: {error}"))?;
        let mut authorities: Vec<_> = CertificateDer::pem_slice_iter(certificates.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| format!("it is not PEM: {error}"))?;
        let ours = authorities.iter().position(|der| is_of(der, &key));
        let Some(ours) = ours else { return Err("none of its certificates is of the key beside it".into()) };
        authorities.swap(0, ours);
        let not_after = usable(&authorities[0])?;
        let issuer = Issuer::from_ca_cert_der(&authorities[0], key).map_err(|error| error.to_string())?;
        let authorities = authorities.iter().map(|der| der.to_vec()).collect();
        Ok(Self { trust_domain: trust_domain.clone(), issuer, authorities, pem: certificates.into(), not_after })
    }

    /// The trust domain whose ids it signs.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The authorities of the trust domain, DER.
    pub fn authorities(&self) -> &[Vec<u8>] {
        &self.authorities
    }

    /// The authorities of the trust domain, PEM: a value for `LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS`.
    pub fn bundle_pem(&self) -> &str {
        &self.pem
    }

    /// The authorities under their trust domain's name, as [`crate::Credentials::new`] takes them.
    pub fn bundles(&self) -> Bundles {
        [(self.trust_domain.clone(), self.authorities.clone())].into()
    }

    /// Signs a leaf with a new P-256 key. It never outlives the authority. What names it holds is the caller's to answer
    /// for.
    pub fn issue(&self, leaf: &Leaf) -> Result<Svid, IssuerError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name();
        for uri in &leaf.uris {
            params.subject_alt_names.push(SanType::URI(uri.as_str().try_into()?));
        }
        for dns in &leaf.dns_names {
            params.subject_alt_names.push(SanType::DnsName(dns.as_str().try_into()?));
        }
        params.not_before = leaf.not_before.into();
        params.not_after = leaf.not_after.min(self.not_after).into();
        // X.509-SVID §4: a leaf says that it is no authority and that its key signs handshakes, nothing else.
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Svid { chain: vec![certificate.der().to_vec()], key: key.serialize_der() })
    }
}

const CERTIFICATE: &str = "ca.crt";
const KEY: &str = "ca.key";

fn name() -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Outrigger");
    name
}

/// A self-signed authority and its key, both PEM.
fn make(trust_domain: &TrustDomain) -> Result<(String, String), IssuerError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = name();
    params.distinguished_name.push(DnType::CommonName, trust_domain.as_str());
    params.subject_alt_names.push(SanType::URI(format!("spiffe://{trust_domain}").as_str().try_into()?));
    params.not_before = (SystemTime::now() - CLOCK_SKEW).into();
    params.not_after = (SystemTime::now() + LIFETIME).into();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn is_of(certificate: &CertificateDer<'_>, key: &KeyPair) -> bool {
    X509Certificate::from_der(certificate)
        .is_ok_and(|(_, certificate)| certificate.public_key().raw == key.subject_public_key_info().as_slice())
}

/// Whether a certificate may sign others, and until when.
fn usable(certificate: &CertificateDer<'_>) -> Result<SystemTime, String> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    if !certificate.is_ca() {
        return Err("it is no authority's certificate (basicConstraints CA is not set)".into());
    }
    let end = certificate.validity().not_after;
    if !certificate.validity().is_valid() {
        return Err(format!("it is expired or not yet valid (until {end})"));
    }
    let seconds = u64::try_from(end.timestamp()).map_err(|error| error.to_string())?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn read(path: &Path) -> Result<String, IssuerError> {
    fs::read_to_string(path).map_err(|cause| IssuerError::Io { path: path.into(), cause })
}

/// Writes a whole file or none of it; an existing one is never overwritten.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), IssuerError> {
    let half = path.with_extension("new");
    let written = (|| {
        let _ = fs::remove_file(&half);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&half)?;
        // The umask has narrowed what open was asked for; controllers read the certificate under other users.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::hard_link(&half, path)?;
        fs::remove_file(&half)
    })();
    written.map_err(|cause| IssuerError::Io { path: path.into(), cause })
}
