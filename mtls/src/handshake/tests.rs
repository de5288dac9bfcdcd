//! Handshakes over loopback sockets: who is let in, who is refused, and what did not arrive.

use std::time::Duration;

use rcgen::KeyPair;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::version::TLS13;
use rustls::{ClientConfig, NamedGroup, ProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;
use crate::Svid;
use crate::peers::{self, *};
use crate::workload_api::issuer::Ca;

const VM: &str = "spiffe://root.linkerd.cluster.local/external-workload";
const POD: &str = "spiffe://root.linkerd.cluster.local/ns/mixed-env/sa/client";
const POD_DNS: &str = "client.mixed-env.serviceaccount.identity.linkerd.cluster.local";

type Handshake = (Result<Connected<TcpStream>, TlsError>, Result<Accepted<TcpStream>, TlsError>);

async fn handshake(client: &Credentials, server: &Credentials, expected: &str) -> Handshake {
    let (out, into) = tcp().await;
    let (name, expected) = (dns("vm.mixed-env"), identity(expected));
    tokio::join!(connect(client, out, &name, &expected, Alpn::None), accept(server, into, Alpn::None))
}

/// What a server of ours makes of a client that presents `svid` and sends a request at once. Returns the refusal after
/// proving that nothing was served: the client sees its connection end without one byte.
async fn present(server: &Credentials, svid: &Svid) -> Refusal {
    let (out, into) = tcp().await;
    let client = async {
        let name = ServerName::try_from("vm.mixed-env").unwrap();
        // TLS 1.3: the client's handshake is complete before the server has judged it.
        let mut stream = TlsConnector::from(Arc::new(raw_client(Some(svid)))).connect(name, out).await.unwrap();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await;
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty(), "a refused client was answered");
        assert!(ended.is_err(), "the refusal is an alert, not a close");
    };
    // A client that was let in is dropped at once, so that this fails instead of waiting.
    let server = async { accept(server, into, Alpn::None).await.map(drop).map_err(|error| error.refusal) };
    let (accepted, ()) = tokio::join!(server, client);
    accepted.expect_err("the client must be refused")
}

/// What a client of ours makes of a server that presents `svid`. Returns the refusal after proving that the server got
/// no application byte.
async fn meet(client: &Credentials, svid: &Svid, expected: &str) -> Result<(), Refusal> {
    let (out, into) = tcp().await;
    let server = async {
        match TlsAcceptor::from(Arc::new(raw_server(svid))).accept(into).await {
            Err(_) => Vec::new(),
            Ok(mut stream) => {
                let mut got = Vec::new();
                let _ = stream.read_to_end(&mut got).await;
                got
            }
        }
    };
    let client = async {
        let mut connected =
            connect(client, out, &dns("vm.mixed-env"), &identity(expected), Alpn::None).await.map_err(|e| e.refusal)?;
        connected.stream.write_all(b"hello").await.unwrap();
        connected.stream.shutdown().await.unwrap();
        Ok(())
    };
    let (met, got) = tokio::join!(client, server);
    assert_eq!(got, if met.is_ok() { b"hello".as_slice() } else { b"" });
    met
}

#[tokio::test]
async fn each_end_learns_the_others_identity() {
    let ca = ca(OWN);
    let (vm, pod) = (credentials(&ca, VM, &[]), credentials(&ca, POD, &[POD_DNS]));
    let (connected, accepted) = handshake(&pod, &vm, VM).await;
    let (mut connected, mut accepted) = (connected.unwrap(), accepted.unwrap());
    let peer = accepted.peer.unwrap();
    assert_eq!(peer.identity().as_str(), POD);
    assert!(peer.is(&identity(POD_DNS)));
    assert!(!connected.transport_header && !accepted.transport_header);

    connected.stream.write_all(b"ping").await.unwrap();
    let mut got = [0; 4];
    accepted.stream.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"ping");

    // The other way round the server is expected by its DNS SAN.
    let (connected, accepted) = handshake(&vm, &pod, POD_DNS).await;
    connected.unwrap();
    assert_eq!(accepted.unwrap().peer.unwrap().identity().as_str(), VM);
}

#[tokio::test]
async fn the_handshake_is_tls13_with_ml_kem() {
    let ca = ca(OWN);
    let (vm, pod) = (credentials(&ca, VM, &[]), credentials(&ca, POD, &[]));
    let (connected, accepted) = handshake(&pod, &vm, VM).await;
    let (connected, accepted) = (connected.unwrap(), accepted.unwrap());
    for stream in [&connected.stream, &accepted.stream] {
        let session = session(stream);
        assert_eq!(session.negotiated_key_exchange_group().unwrap().name(), NamedGroup::X25519MLKEM768);
        assert_eq!(session.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        let suite = session.negotiated_cipher_suite().unwrap().suite();
        assert_eq!(suite, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    }
}

fn session(stream: &TlsStream<TcpStream>) -> &rustls::CommonState {
    stream.get_ref().1
}

/// What a server of ours makes of a client with this configuration.
async fn serve(server: &Credentials, client: ClientConfig) -> Result<Accepted<TcpStream>, TlsError> {
    let (out, into) = tcp().await;
    let name = ServerName::try_from("vm.mixed-env").unwrap();
    tokio::join!(TlsConnector::from(Arc::new(client)).connect(name, out), accept(server, into, Alpn::None)).1
}

#[tokio::test]
async fn a_client_without_ml_kem_is_served() {
    let server = credentials(&ca(OWN), VM, &[]);
    for group in [kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1] {
        let provider = CryptoProvider { kx_groups: vec![group], ..default_provider() };
        let accepted = serve(&server, raw_client_of(provider, &[&TLS13], None)).await.unwrap();
        let used = session(&accepted.stream).negotiated_key_exchange_group().unwrap().name();
        assert_eq!(used, group.name());
    }
}

#[tokio::test]
async fn a_client_of_tls12_is_refused() {
    let server = credentials(&ca(OWN), VM, &[]);
    // rustls here is built without TLS 1.2, so the hello is written by hand: legacy version 0x0303, no supported_versions.
    let (mut out, into) = tcp().await;
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2b, 1, 0, 0, 8, 0, 13, 0, 4, 0, 2, 4, 3]);
    let mut record = vec![22, 3, 1, 0, hello.len() as u8 + 4, 1, 0, 0, hello.len() as u8];
    record.extend(hello);
    out.write_all(&record).await.unwrap();
    let refused = accept(&server, into, Alpn::None).await.unwrap_err();
    assert_eq!(refused.refusal, Refusal::HandshakeFailed);
    assert!(refused.to_string().contains("SupportedVersionsExtensionRequired"), "{refused}");
}

#[tokio::test]
async fn a_peers_key_may_be_p256_p384_ed25519_or_rsa() {
    let keys = [
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        KeyPair::generate_for(&rcgen::PKCS_ED25519),
        KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048),
    ];
    for key in keys {
        let (svid, bundles) = svid_under_intermediate(VM, key.unwrap());
        let either = Credentials::new(svid, &bundles, 1).unwrap();
        let (connected, accepted) = handshake(&either, &either, VM).await;
        connected.unwrap();
        assert_eq!(accepted.unwrap().peer.unwrap().identity(), &identity(VM));
    }
}

#[tokio::test]
async fn no_session_is_resumed() {
    let ca = ca(OWN);
    let server = credentials(&ca, VM, &[]);
    let svid = ca.issue(&leaf(&[POD], &[])).unwrap();
    let config = Arc::new(raw_client(Some(&svid)));
    for _ in 0..2 {
        let (out, into) = tcp().await;
        let name = ServerName::try_from("vm.mixed-env").unwrap();
        let (connected, accepted) =
            tokio::join!(TlsConnector::from(config.clone()).connect(name, out), accept(&server, into, Alpn::None));
        let (mut connected, mut accepted) = (connected.unwrap(), accepted.unwrap());
        accepted.stream.write_all(b"x").await.unwrap();
        connected.read_exact(&mut [0]).await.unwrap();
        assert_eq!(connected.get_ref().1.tls13_tickets_received(), 0);
        assert_eq!(connected.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
}

#[tokio::test]
async fn a_client_without_certificate_has_no_identity() {
    let server = credentials(&ca(OWN), VM, &[]);
    assert_eq!(serve(&server, raw_client(None)).await.unwrap().peer, None);
}

#[tokio::test]
async fn the_transport_header_is_announced_when_both_ends_want_it() {
    let ca = ca(OWN);
    let (vm, pod) = (credentials(&ca, VM, &[]), credentials(&ca, POD, &[]));
    for (offered, served) in [
        (Alpn::TransportHeader, Alpn::TransportHeader),
        (Alpn::TransportHeader, Alpn::None),
        (Alpn::None, Alpn::TransportHeader),
    ] {
        let (out, into) = tcp().await;
        let (name, expected) = (dns("vm.mixed-env"), identity(VM));
        let (connected, accepted) =
            tokio::join!(connect(&pod, out, &name, &expected, offered), accept(&vm, into, served));
        let both = offered == served;
        assert_eq!(connected.unwrap().transport_header, both);
        assert_eq!(accepted.unwrap().transport_header, both);
    }
}

#[tokio::test]
async fn t_02_a_client_with_two_uris_is_refused() {
    let ca = ca(OWN);
    let server = credentials(&ca, VM, &[]);
    let svid = ca.issue(&leaf(&[POD, VM], &[])).unwrap();
    assert_eq!(present(&server, &svid).await, Refusal::ClientNamesInvalid);
    let nameless = ca.issue(&leaf(&[], &[])).unwrap();
    assert_eq!(present(&server, &nameless).await, Refusal::ClientNamesInvalid);
    let foreign_scheme = ca.issue(&leaf(&["https://root.linkerd.cluster.local/x"], &[])).unwrap();
    assert_eq!(present(&server, &foreign_scheme).await, Refusal::ClientNamesInvalid);
}

#[tokio::test]
async fn t_02_an_expired_client_is_refused() {
    let ca = ca(OWN);
    let server = credentials(&ca, VM, &[]);
    let svid = ca.issue(&expired(leaf(&[POD], &[]))).unwrap();
    assert_eq!(present(&server, &svid).await, Refusal::ClientCertificateExpired);
    let mut early = leaf(&[POD], &[]);
    early.not_before = SystemTime::now() + Duration::from_secs(600);
    assert_eq!(present(&server, &ca.issue(&early).unwrap()).await, Refusal::ClientCertificateExpired);
}

#[tokio::test]
async fn t_03_a_client_of_an_unknown_domain_is_refused() {
    let server = credentials(&ca(OWN), VM, &[]);
    let svid = ca("other.example").issue(&leaf(&["spiffe://other.example/x"], &[])).unwrap();
    assert_eq!(present(&server, &svid).await, Refusal::ClientTrustDomainUnknown);
}

#[tokio::test]
async fn t_03_a_client_signed_by_a_stranger_is_refused() {
    let server = credentials(&ca(OWN), VM, &[]);
    let stranger = ca(OWN);
    assert_eq!(
        present(&server, &stranger.issue(&leaf(&[POD], &[])).unwrap()).await,
        Refusal::ClientCertificateUntrusted
    );
    let dns_only = stranger.issue(&leaf(&[], &[POD_DNS])).unwrap();
    assert_eq!(present(&server, &dns_only).await, Refusal::ClientCertificateUntrusted);
}

#[tokio::test]
async fn t_02_a_server_that_is_not_the_expected_one_is_refused() {
    let ca = ca(OWN);
    let client = credentials(&ca, POD, &[]);
    let svid = |uris: &[&str], dns_names: &[&str]| ca.issue(&leaf(uris, dns_names)).unwrap();
    assert_eq!(meet(&client, &svid(&[VM], &[]), VM).await, Ok(()));
    let other = "spiffe://root.linkerd.cluster.local/external-workload-2";
    assert_eq!(meet(&client, &svid(&[other], &[]), VM).await, Err(Refusal::ServerIdentityMismatch));
    // The SNI that the client sends is no identity.
    assert_eq!(meet(&client, &svid(&[other], &["vm.mixed-env"]), VM).await, Err(Refusal::ServerIdentityMismatch));
    assert_eq!(meet(&client, &svid(&[VM, other], &[]), VM).await, Err(Refusal::ServerIdentityMismatch));
    assert_eq!(meet(&client, &svid(&[], &[POD_DNS]), VM).await, Err(Refusal::ServerIdentityMismatch));
    assert_eq!(meet(&client, &svid(&[], &[POD_DNS]), POD_DNS).await, Ok(()));
}

#[tokio::test]
async fn t_03_a_server_that_cannot_be_believed_is_refused() {
    let ca = ca(OWN);
    let client = credentials(&ca, POD, &[]);
    let old = ca.issue(&expired(leaf(&[VM], &[]))).unwrap();
    assert_eq!(meet(&client, &old, VM).await, Err(Refusal::ServerCertificateExpired));
    let forged = peers::ca(OWN).issue(&leaf(&[VM], &[])).unwrap();
    assert_eq!(meet(&client, &forged, VM).await, Err(Refusal::ServerCertificateUntrusted));
    let foreign = peers::ca("other.example").issue(&leaf(&["spiffe://other.example/x"], &[])).unwrap();
    assert_eq!(meet(&client, &foreign, "spiffe://other.example/x").await, Err(Refusal::ServerCertificateUntrusted));
}

#[tokio::test]
async fn t_04_a_federated_bundle_vouches_for_ids_of_its_domain_only() {
    let (own, other) = (ca(OWN), ca("other.example"));
    let mut bundles = own.bundles();
    bundles.append(&mut other.bundles());
    let server = trusting(&own, VM, &[], bundles);

    let friend = credentials_of("spiffe://other.example/x", &["sneaky.linkerd"], &other, &own);
    let (connected, accepted) = handshake(&friend, &server, VM).await;
    connected.unwrap();
    let peer = accepted.unwrap().peer.unwrap();
    assert_eq!(peer.names(), [identity("spiffe://other.example/x")], "the DNS SAN beside it is not believed");

    for names in [leaf(&[POD], &[]), leaf(&[], &[POD_DNS]), leaf(&[POD], &[POD_DNS])] {
        let forged = other.issue(&names).unwrap();
        assert_eq!(present(&server, &forged).await, Refusal::ClientCertificateUntrusted, "{names:?}");
    }
    // Nor does our own authority vouch for ids of the other domain.
    let forged = own.issue(&leaf(&["spiffe://other.example/x"], &[])).unwrap();
    assert_eq!(present(&server, &forged).await, Refusal::ClientCertificateUntrusted);
}

fn credentials_of(id: &str, dns_names: &[&str], ca: &Ca, friend: &Ca) -> Credentials {
    let mut bundles = ca.bundles();
    bundles.append(&mut friend.bundles());
    trusting(ca, id, dns_names, bundles)
}

#[tokio::test]
async fn a_linkerd_pod_with_only_a_dns_name_is_known_by_it() {
    let ca = ca(OWN);
    let server = credentials(&ca, VM, &[]);
    let svid = ca.issue(&leaf(&[], &[POD_DNS])).unwrap();
    let accepted = serve(&server, raw_client(Some(&svid))).await.unwrap();
    assert_eq!(accepted.peer.unwrap().identity(), &identity(POD_DNS));
    let two = ca.issue(&leaf(&[], &[POD_DNS, "other.linkerd"])).unwrap();
    assert_eq!(present(&server, &two).await, Refusal::ClientNamesInvalid);
}

#[tokio::test]
async fn an_expired_svid_of_ours_makes_no_handshake() {
    let ca = ca(OWN);
    let mut short = leaf(&[POD], &[]);
    short.not_after = SystemTime::now() + Duration::from_secs(2);
    let creds = Credentials::new(ca.issue(&short).unwrap(), &ca.bundles(), 1).unwrap();
    let until = SystemTime::now() + Duration::from_secs(5);
    while !creds.expired(SystemTime::now()) {
        assert!(SystemTime::now() < until, "it must expire");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (out, mut into) = tcp().await;
    let (name, expected) = (dns("vm.mixed-env"), identity(VM));
    let refused = timeout(Duration::from_secs(5), connect(&creds, out, &name, &expected, Alpn::None)).await;
    let refused = refused.expect("no handshake begins").unwrap_err();
    assert_eq!(refused.refusal, Refusal::NoSvid);
    assert!(refused.to_string().starts_with(Refusal::NoSvid.sentence()));
    let mut sent = Vec::new();
    into.read_to_end(&mut sent).await.unwrap();
    assert_eq!(sent, b"", "not even a ClientHello leaves");
    let (_out, into) = tcp().await;
    assert_eq!(accept(&creds, into, Alpn::None).await.unwrap_err().refusal, Refusal::NoSvid);
}

#[tokio::test]
async fn what_is_not_tls_fails_the_handshake() {
    let server = credentials(&ca(OWN), VM, &[]);
    let (mut out, into) = tcp().await;
    out.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(accept(&server, into, Alpn::None).await.unwrap_err().refusal, Refusal::HandshakeFailed);
}

#[tokio::test]
async fn rotation_changes_new_handshakes_and_leaves_old_connections() {
    let (old, new) = (ca(OWN), ca(OWN));
    let (vm, pod) = (credentials(&old, VM, &[]), credentials(&old, POD, &[]));
    let (connected, accepted) = handshake(&pod, &vm, VM).await;
    let (mut connected, mut accepted) = (connected.unwrap(), accepted.unwrap());

    // The old authority is gone from the server's bundle.
    let rotated = credentials(&new, VM, &[]);
    let (_, refused) = handshake(&pod, &rotated, VM).await;
    assert!(refused.is_err());
    let renewed = trusting(&new, POD, &[], new.bundles());
    assert!(handshake(&renewed, &rotated, VM).await.1.is_ok());

    drop((vm, pod));
    connected.stream.write_all(b"still here").await.unwrap();
    let mut got = [0; 10];
    accepted.stream.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"still here");
}
