//! What a snapshot is made of, and what is refused.

use super::*;
use crate::peers::{OWN, ca, dns, expired, leaf};
use crate::workload_api::issuer::Leaf;

const VM: &str = "spiffe://root.linkerd.cluster.local/external-workload";
const POD: &str = "spiffe://root.linkerd.cluster.local/ns/mixed-env/sa/client";
const POD_DNS: &str = "client.mixed-env.serviceaccount.identity.linkerd.cluster.local";

#[test]
fn an_svid_that_does_not_verify_is_not_installed() {
    let (ca, stranger) = (ca(OWN), ca(OWN));
    let fails = |svid: Svid, said: &str| {
        let error = Credentials::new(svid, &ca.bundles(), 1).unwrap_err().to_string();
        assert!(error.contains(said), "{error:?} does not say {said:?}");
    };
    fails(stranger.issue(&leaf(&[POD], &[])).unwrap(), "bundle");
    fails(ca.issue(&expired(leaf(&[POD], &[]))).unwrap(), "xpired");
    fails(ca.issue(&leaf(&[POD, VM], &[])).unwrap(), "2 URI SANs");
    fails(ca.issue(&leaf(&[], &[POD_DNS])).unwrap(), "no SPIFFE id");
    let (one, two) = (ca.issue(&leaf(&[POD], &[])).unwrap(), ca.issue(&leaf(&[POD], &[])).unwrap());
    fails(Svid { chain: one.chain, key: two.key.clone() }, "key");
    fails(Svid { chain: vec![], key: two.key }, "no certificate");
}

#[test]
fn x509_parser_reads_the_same_names() {
    use x509_parser::prelude::*;
    let ca = ca(OWN);
    let svid = ca.issue(&Leaf::svid(&POD.parse().unwrap(), &[dns(POD_DNS)], Duration::from_secs(60))).unwrap();
    let creds = Credentials::new(svid.clone(), &ca.bundles(), 7).unwrap();
    let (_, parsed) = X509Certificate::from_der(&svid.chain[0]).unwrap();
    let sans: Vec<_> = parsed.subject_alternative_name().unwrap().unwrap().value.general_names.iter().collect();
    assert_eq!(sans, [&GeneralName::URI(POD), &GeneralName::DNSName(POD_DNS)]);
    let names: Vec<_> = creds.names().names().iter().map(|name| name.as_str()).collect();
    assert_eq!(names, [POD, POD_DNS]);
    assert_eq!((creds.id().as_str(), creds.trust_domain().as_str(), creds.revision()), (POD, OWN, 7));
    let not_after = SystemTime::UNIX_EPOCH + Duration::from_secs(parsed.validity().not_after.timestamp() as u64);
    assert_eq!(creds.not_after(), not_after);
    let usage = parsed.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_cert_sign() && !parsed.is_ca());
}
