//! Destinations by name: `SERVICE.NAMESPACE.svc.DOMAIN[:PORT]`.

use super::{Destination, Subject};
use outrigger_cluster::Key;
use thiserror::Error;

/// Where a name has no port (C.3).
const DEFAULT_PORT: u16 = 80;

/// Why a name is no destination.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum InvalidAuthority {
    #[error("authority {0:?} is neither HOST nor HOST:PORT with a port of 1 to 65535")]
    Malformed(String),
    #[error("authority {authority:?} names no Service; those are SERVICE.NAMESPACE.svc.{domain}")]
    NoService { authority: String, domain: String },
}

/// Reads an authority; `domain` is the cluster's.
pub(crate) fn parse(authority: &str, domain: &str) -> Result<Destination, InvalidAuthority> {
    let shown = || authority.chars().take(256).collect();
    let (host, port) = match authority.rsplit_once(':') {
        // The last colon of an IPv6 address stands within its brackets.
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok().filter(|port| *port != 0)),
        _ => (authority, Some(DEFAULT_PORT)),
    };
    let port = port.filter(|_| !host.is_empty()).ok_or_else(|| InvalidAuthority::Malformed(shown()))?;
    match service(&host.to_ascii_lowercase(), domain) {
        Some(key) => Ok(Destination { subject: Subject::Service(key), port }),
        None => Err(InvalidAuthority::NoService { authority: shown(), domain: domain.to_owned() }),
    }
}

fn service(host: &str, domain: &str) -> Option<Key> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let (name, namespace) = host.strip_suffix(domain)?.strip_suffix(".svc.")?.split_once('.')?;
    let labels = !name.is_empty() && !namespace.is_empty() && !namespace.contains('.');
    labels.then(|| Key::new(namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_3_names_of_services_and_nothing_else() {
        let parse = |authority| parse(authority, "cluster.local");
        let web = |port| Ok(Destination { subject: Subject::Service(Key::new("ns", "web")), port });
        assert_eq!(parse("web.ns.svc.cluster.local"), web(80));
        assert_eq!(parse("web.ns.svc.cluster.local:8080"), web(8080));
        assert_eq!(parse("Web.NS.svc.Cluster.Local.:8080"), web(8080));
        for other in [
            "example.com:443",
            "web",
            "web.ns.svc:80",
            "vm-0.web.ns.svc.cluster.local:80",
            ".ns.svc.cluster.local",
            "web..svc.cluster.local",
            "web.ns.svccluster.local",
            "10.0.0.1:80",
            "[fd00::1]:80",
            "[fd00::1]",
        ] {
            assert!(matches!(parse(other), Err(InvalidAuthority::NoService { .. })), "{other}");
        }
        for bad in ["", ":80", "web.ns.svc.cluster.local:", "web.ns.svc.cluster.local:0", "a:65536", "a:http"] {
            assert!(matches!(parse(bad), Err(InvalidAuthority::Malformed(_))), "{bad}");
        }
    }
}
