use super::*;

fn own() -> TrustDomain {
    "root.linkerd.cluster.local".parse().unwrap()
}

#[test]
fn t_01_spiffe_ids_parse_by_the_specification() {
    let long = format!("spiffe://td/{}", "a".repeat(2048 - 12));
    for good in [
        "spiffe://root.linkerd.cluster.local/external-workload",
        "spiffe://td/ns/prod/sa/web",
        "spiffe://td/a.b_c-D9",
        "spiffe://1.2.3.4/x",
        "spiffe://td",
        "spiffe://td/...",
        &long,
    ] {
        let id: SpiffeId = good.parse().unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(id.as_str(), good);
    }
    assert_eq!("SPIFFE://td/x".parse::<SpiffeId>().unwrap().as_str(), "spiffe://td/x", "a scheme has no case");
    let too_long = format!("{long}a");
    for bad in [
        "",
        "spiffe:/td/x",
        "spiffe://",
        "spiffe:///x",
        "https://td/x",
        "spiffe://TD/x",
        "spiffe://td/",
        "spiffe://td/x/",
        "spiffe://td//x",
        "spiffe://td/./x",
        "spiffe://td/../x",
        "spiffe://td/x%2fy",
        "spiffe://td/x?y",
        "spiffe://td/x#y",
        "spiffe://td?x",
        "spiffe://user@td/x",
        "spiffe://td:80/x",
        "spiffe://td/x y",
        "spiffe://td/é",
        "spiffe://t%64/x",
        "spiffé://td/x",
        &too_long,
    ] {
        assert!(bad.parse::<SpiffeId>().is_err(), "{bad:?} must not parse");
    }
    let id: SpiffeId = "spiffe://td/ns/prod".parse().unwrap();
    assert_eq!((id.trust_domain().as_str(), id.path()), ("td", "/ns/prod"));
}

#[test]
fn t_02_a_peer_with_several_uris_is_nobody() {
    let (a, b) = ("spiffe://root.linkerd.cluster.local/a", "spiffe://root.linkerd.cluster.local/b");
    assert_eq!(Peer::from_sans(&own(), &[a, b], &[]), Err(InvalidPeer::SeveralUris(2)));
    assert_eq!(Peer::from_sans(&own(), &[a, a], &["a.b"]), Err(InvalidPeer::SeveralUris(2)));
    assert_eq!(Peer::from_sans(&own(), &[], &[]), Err(InvalidPeer::NoName));
    assert_eq!(Peer::from_sans(&own(), &[], &["a.b", "c.d"]), Err(InvalidPeer::SeveralDnsNames(2)));
    assert!(matches!(Peer::from_sans(&own(), &["https://a"], &["a.b"]), Err(InvalidPeer::Invalid(_))));
}

#[test]
fn a_peers_identity_is_its_uri_and_any_san_matches() {
    let peer = Peer::from_sans(&own(), &["spiffe://root.linkerd.cluster.local/ns/n/sa/s"], &["S.n.example."]).unwrap();
    assert_eq!(peer.identity().as_str(), "spiffe://root.linkerd.cluster.local/ns/n/sa/s");
    assert!(peer.is(&"s.n.example".parse().unwrap()), "names have no case and no trailing dot");
    let dns = Peer::from_sans(&own(), &[], &["s.n.example"]).unwrap();
    assert_eq!(dns.identity().as_str(), "s.n.example");
}

#[test]
fn t_03_a_foreign_domain_proves_no_dns_name() {
    let peer = Peer::from_sans(&own(), &["spiffe://other.example/x"], &["linkerd-destination.linkerd"]).unwrap();
    assert_eq!(peer.names().len(), 1);
    assert!(!peer.is(&"linkerd-destination.linkerd".parse().unwrap()));
}

#[test]
fn dns_names_parse() {
    for good in ["a", "a.b.", "A-1.b_c", "xn--bcher-kva.example"] {
        assert!(good.parse::<DnsName>().is_ok(), "{good}");
    }
    for bad in ["", ".", "a..b", "-a", "a-", "a b", "*.a", "é.a"] {
        assert!(bad.parse::<DnsName>().is_err(), "{bad}");
    }
}
