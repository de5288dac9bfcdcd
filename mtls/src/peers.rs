//! Authorities, credentials and misbehaving peers for the tests.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outrigger_model::{DnsName, Identity, TrustDomain};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P384_SHA384, SanType};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme, SupportedProtocolVersion};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::workload_api::issuer::{Ca, Leaf};
use crate::{Bundles, Credentials, CredentialsWatch, Svid};

pub(crate) const OWN: &str = "root.linkerd.cluster.local";

pub(crate) fn domain(name: &str) -> TrustDomain {
    name.parse().unwrap()
}

pub(crate) fn identity(name: &str) -> Identity {
    name.parse().unwrap()
}

pub(crate) fn dns(name: &str) -> DnsName {
    name.parse().unwrap()
}

pub(crate) fn ca(name: &str) -> Ca {
    Ca::new(&domain(name)).unwrap()
}

/// A leaf that is valid for an hour.
pub(crate) fn leaf(uris: &[&str], dns_names: &[&str]) -> Leaf {
    Leaf {
        uris: uris.iter().map(ToString::to_string).collect(),
        dns_names: dns_names.iter().map(ToString::to_string).collect(),
        not_before: SystemTime::now() - Duration::from_secs(60),
        not_after: SystemTime::now() + Duration::from_secs(3600),
    }
}

pub(crate) fn expired(mut leaf: Leaf) -> Leaf {
    leaf.not_after = SystemTime::now() - Duration::from_secs(30);
    leaf
}

/// Good credentials that trust the authority's domain only.
pub(crate) fn credentials(ca: &Ca, id: &str, dns_names: &[&str]) -> Credentials {
    trusting(ca, id, dns_names, ca.bundles())
}

pub(crate) fn trusting(ca: &Ca, id: &str, dns_names: &[&str], bundles: Bundles) -> Credentials {
    Credentials::new(ca.issue(&leaf(&[id], dns_names)).unwrap(), &bundles, 1).unwrap()
}

/// An SVID of our own domain as a real agent may send it: a leaf of any key under an intermediate under a P-384 root.
pub(crate) fn svid_under_intermediate(id: &str, key: KeyPair) -> (Svid, Bundles) {
    let authority = || {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params, KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap())
    };
    let ((root, root_key), (mut middle, middle_key)) = (authority(), authority());
    middle.distinguished_name.push(rcgen::DnType::CommonName, "intermediate");
    let root_cert = root.self_signed(&root_key).unwrap();
    let middle_cert = middle.signed_by(&middle_key, &Issuer::new(root, root_key)).unwrap();
    let mut leaf = CertificateParams::default();
    leaf.subject_alt_names.push(SanType::URI(id.try_into().unwrap()));
    let leaf_cert = leaf.signed_by(&key, &Issuer::new(middle, middle_key)).unwrap();
    let chain = vec![leaf_cert.der().to_vec(), middle_cert.der().to_vec()];
    let bundles = [(domain(OWN), vec![root_cert.der().to_vec()])].into();
    (Svid { chain, key: key.serialize_der() }, bundles)
}

pub(crate) async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (client, server) = tokio::join!(client, listener.accept());
    (client.unwrap(), server.unwrap().0)
}

/// Waits for credentials of which `condition` holds.
pub(crate) async fn wait(watch: &mut CredentialsWatch, condition: impl Fn(&Credentials) -> bool) -> Arc<Credentials> {
    let found =
        timeout(Duration::from_secs(15), watch.wait_for(|creds| creds.as_deref().is_some_and(&condition))).await;
    found.expect("such credentials come in time").unwrap().clone().unwrap()
}

/// A client that presents `svid`, or nothing, and believes any server.
pub(crate) fn raw_client(svid: Option<&Svid>) -> ClientConfig {
    raw_client_of(default_provider(), &[&TLS13], svid)
}

pub(crate) fn raw_client_of(
    provider: CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
    svid: Option<&Svid>,
) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone));
    match svid {
        Some(svid) => {
            let (chain, key) = der(svid);
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    }
}

/// A server that presents `svid` and asks for no certificate.
pub(crate) fn raw_server(svid: &Svid) -> ServerConfig {
    let (chain, key) = der(svid);
    // A plain resolver: rustls' own single certificate would check what a misbehaving server does not.
    let key = CertifiedKey::new(chain, default_provider().key_provider.load_private_key(key).unwrap());
    ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)))
}

fn der(svid: &Svid) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = svid.chain.iter().cloned().map(CertificateDer::from).collect();
    (chain, PrivateKeyDer::Pkcs8(svid.key.clone().into()))
}

#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}
