//! Who may come in: a client against a list of authorizations (A.3.3).

use outrigger_model::{Authentication, Authorization, Identity, IdentityMatch, Peer};
use std::net::IpAddr;

/// A connection's other end, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    pub addr: IpAddr,
    pub tls: ClientTls<'a>,
}

/// How the client secured the connection.
#[derive(Debug, Clone, Copy)]
pub enum ClientTls<'a> {
    /// Plaintext, or TLS that the application ends.
    None,
    /// TLS that this proxy ended, without a client certificate.
    Anonymous,
    /// Mutual TLS.
    Authenticated(&'a Peer),
}

/// The first authorization that admits the client. `None`: refuse.
pub fn authorize<'a>(authorizations: &'a [Authorization], client: Client<'_>) -> Option<&'a Authorization> {
    authorizations.iter().find(|authorization| admits(authorization, client))
}

fn admits(authorization: &Authorization, client: Client<'_>) -> bool {
    authorization.networks.iter().any(|network| network.contains(client.addr))
        && match (&authorization.authentication, client.tls) {
            (Authentication::Unauthenticated, _) => true,
            (Authentication::TlsUnauthenticated, tls) => !matches!(tls, ClientTls::None),
            (Authentication::TlsAuthenticated(allowed), ClientTls::Authenticated(peer)) => {
                allowed.iter().any(|rule| peer.names().iter().any(|name| matches(rule, name)))
            }
            (Authentication::TlsAuthenticated(_), ClientTls::None | ClientTls::Anonymous) => false,
        }
}

fn matches(rule: &IdentityMatch, name: &Identity) -> bool {
    match (rule, name) {
        (IdentityMatch::Any, _) => true,
        (IdentityMatch::Exact(exact), name) => **exact == *name.as_str(),
        (IdentityMatch::DnsSuffix(suffix), Identity::Dns(name)) => below(name.as_str(), suffix),
        (IdentityMatch::SpiffePrefix(prefix), Identity::Spiffe(id)) => {
            id.as_str().strip_prefix(&**prefix).is_some_and(|rest| rest.starts_with('/'))
        }
        (IdentityMatch::DnsSuffix(_), Identity::Spiffe(_)) | (IdentityMatch::SpiffePrefix(_), Identity::Dns(_)) => {
            false
        }
    }
}

/// Whether the name has at least one label more than the suffix.
fn below(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrigger_model::{Meta, NetworkMatch};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn peer(uri: &str, dns: &[&str]) -> Peer {
        let uris = if uri.is_empty() { vec![] } else { vec![uri] };
        Peer::from_sans(&"td".parse().unwrap(), &uris, dns).unwrap()
    }

    fn allow(net: &str, authentication: Authentication) -> Authorization {
        let networks = [NetworkMatch::all_of(net.parse().unwrap())].into();
        Authorization { meta: Meta::default_named("test"), networks, authentication }
    }

    fn allow_ids(rules: &[IdentityMatch]) -> [Authorization; 1] {
        [allow("0.0.0.0/0", Authentication::TlsAuthenticated(rules.into()))]
    }

    fn admitted(authorizations: &[Authorization], tls: ClientTls<'_>) -> bool {
        authorize(authorizations, Client { addr: [10, 0, 0, 1].into(), tls }).is_some()
    }

    #[test]
    fn a_3_3_each_authentication_asks_for_its_own_proof() {
        let vm = peer("spiffe://td/vm", &[]);
        let (none, anonymous, mutual) = (ClientTls::None, ClientTls::Anonymous, ClientTls::Authenticated(&vm));
        let anyone = [allow("10.0.0.0/8", Authentication::Unauthenticated)];
        let tls = [allow("10.0.0.0/8", Authentication::TlsUnauthenticated)];
        let meshed = allow_ids(&[IdentityMatch::Any]);
        for (rules, expected) in [(&anyone, [true; 3]), (&tls, [false, true, true]), (&meshed, [false, false, true])] {
            assert_eq!([none, anonymous, mutual].map(|client| admitted(rules, client)), expected);
        }
        assert!(!admitted(&[], mutual), "no authorization admits nobody");
        assert!(!admitted(&[allow("11.0.0.0/8", Authentication::Unauthenticated)], mutual), "networks and proof");
        let nowhere = Authorization { networks: Arc::default(), ..anyone[0].clone() };
        assert!(!admitted(&[nowhere], mutual));
    }

    #[test]
    fn a_3_3_identities_match_in_every_form() {
        let vm = peer("spiffe://td/ns/prod/sa/web", &["web.prod.serviceaccount.identity.linkerd.cluster.local"]);
        let is = |rule: IdentityMatch| admitted(&allow_ids(&[rule]), ClientTls::Authenticated(&vm));
        let exact = |s: &str| IdentityMatch::Exact(s.into());
        let suffix = |s: &str| IdentityMatch::DnsSuffix(s.into());
        let prefix = |s: &str| IdentityMatch::SpiffePrefix(s.into());
        assert!(is(IdentityMatch::Any));
        assert!(is(exact("spiffe://td/ns/prod/sa/web")));
        assert!(is(exact("web.prod.serviceaccount.identity.linkerd.cluster.local")), "any name of the leaf");
        assert!(is(suffix("prod.serviceaccount.identity.linkerd.cluster.local")));
        assert!(is(prefix("spiffe://td/ns/prod")) && is(prefix("spiffe://td")));
        assert!(!is(exact("spiffe://td/ns/prod/sa/we")));
        assert!(!is(prefix("spiffe://td/ns/pro")), "only whole segments");
        assert!(!is(prefix("spiffe://td/ns/prod/sa/web")), "below, not itself");
        assert!(!is(suffix("rod.serviceaccount.identity.linkerd.cluster.local")), "only whole labels");
        assert!(!is(suffix("web.prod.serviceaccount.identity.linkerd.cluster.local")), "below, not itself");
    }

    proptest! {
        #[test]
        fn a_withdrawn_authorization_never_admits_more(
            kinds in proptest::collection::vec(0usize..4, 0..6), drop in any::<prop::sample::Index>(), meshed: bool,
        ) {
            let vm = peer("spiffe://td/vm", &[]);
            let tls = if meshed { ClientTls::Authenticated(&vm) } else { ClientTls::None };
            let make = |kind: &usize| match kind {
                0 => allow("10.0.0.0/8", Authentication::Unauthenticated),
                1 => allow("11.0.0.0/8", Authentication::Unauthenticated),
                2 => allow_ids(&[IdentityMatch::Any])[0].clone(),
                _ => allow_ids(&[IdentityMatch::Exact("spiffe://td/other".into())])[0].clone(),
            };
            let mut rules: Vec<_> = kinds.iter().map(make).collect();
            let before = admitted(&rules, tls);
            if !rules.is_empty() {
                rules.remove(drop.index(rules.len()));
            }
            prop_assert!(before || !admitted(&rules, tls));
        }
    }
}
