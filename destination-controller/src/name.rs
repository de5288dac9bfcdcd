//! What a caller asks about: `host:port`, where the host is an address or a Service's name (B.2.1).

use outrigger_cluster::Key;
use std::net::IpAddr;
use std::sync::Arc;
use thiserror::Error;

/// A destination, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    pub host: Host,
    pub port: u16,
}

/// An address, or a Service of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    Ip(IpAddr),
    /// `svc.ns.svc.<domain>`, or `instance.svc.ns.svc.<domain>` for one endpoint of a headless Service.
    Service {
        service: Key,
        instance: Option<Arc<str>>,
    },
}

/// A destination that is neither an address nor a Service's name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{path:?} is no destination: {why}; write SERVICE.NAMESPACE.svc.{domain}:PORT or ADDRESS:PORT")]
pub struct InvalidAuthority {
    path: String,
    domain: String,
    why: &'static str,
}

/// Linkerd's default for a destination without port.
const DEFAULT_PORT: u16 = 80;

impl Authority {
    /// Parses `host` or `host:port`; IPv6 addresses with a port stand in brackets. `domain` is the cluster's.
    pub fn parse(path: &str, domain: &str) -> Result<Self, InvalidAuthority> {
        let invalid = |why| InvalidAuthority { path: path.chars().take(256).collect(), domain: domain.to_owned(), why };
        let (host, port) = split(path).ok_or_else(|| invalid("its brackets are not closed"))?;
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => port.parse().ok().filter(|p| *p != 0).ok_or_else(|| invalid("its port is not 1 to 65535"))?,
        };
        let host = match host.parse() {
            Ok(ip) => Host::Ip(ip),
            Err(_) => service(&host.to_ascii_lowercase(), domain).map_err(invalid)?,
        };
        Ok(Self { host, port })
    }
}

/// The Service that a ServiceProfile of this name is about; `None`: no Service has such a name.
pub(crate) fn service_of(name: &str, domain: &str) -> Option<Key> {
    match service(name, domain) {
        Ok(Host::Service { service, instance: None }) => Some(service),
        _ => None,
    }
}

fn split(path: &str) -> Option<(&str, Option<&str>)> {
    if let Some(bracketed) = path.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']')?;
        return match rest.strip_prefix(':') {
            None if !rest.is_empty() => None,
            port => Some((host, port)),
        };
    }
    match path.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => Some((host, Some(port))),
        _ => Some((path, None)),
    }
}

fn service(host: &str, domain: &str) -> Result<Host, &'static str> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let name = host.strip_suffix(domain).and_then(|rest| rest.strip_suffix(".svc."));
    let name = name.ok_or("it is neither an address nor a name below svc and the cluster's domain")?;
    let labels: Vec<&str> = name.split('.').collect();
    if labels.iter().any(|label| label.is_empty()) {
        return Err("it has an empty label");
    }
    match labels[..] {
        [name, namespace] => Ok(Host::Service { service: Key::new(namespace, name), instance: None }),
        [instance, name, namespace] => {
            Ok(Host::Service { service: Key::new(namespace, name), instance: Some(instance.into()) })
        }
        _ => Err("it must name a Service and its namespace, or an instance before them"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str) -> Result<Authority, InvalidAuthority> {
        Authority::parse(path, "cluster.local")
    }

    fn named(instance: Option<&str>, port: u16) -> Authority {
        let (service, instance) = (Key::new("mixed-env", "legacy-app"), instance.map(Arc::from));
        Authority { host: Host::Service { service, instance }, port }
    }

    #[test]
    fn b_2_services_instances_and_addresses_are_destinations() {
        assert_eq!(parse("legacy-app.mixed-env.svc.cluster.local:8080").unwrap(), named(None, 8080));
        assert_eq!(parse("Legacy-App.mixed-env.SVC.cluster.local").unwrap(), named(None, 80));
        assert_eq!(parse("legacy-app.mixed-env.svc.cluster.local.:8080").unwrap(), named(None, 8080));
        assert_eq!(parse("vm.legacy-app.mixed-env.svc.cluster.local:1").unwrap(), named(Some("vm"), 1));
        for (path, ip, port) in [
            ("10.0.0.1:8080", "10.0.0.1", 8080),
            ("10.0.0.1", "10.0.0.1", 80),
            ("[fd00::1]:8080", "fd00::1", 8080),
            ("[fd00::1]", "fd00::1", 80),
            ("fd00::1", "fd00::1", 80),
        ] {
            assert_eq!(parse(path).unwrap(), Authority { host: Host::Ip(ip.parse().unwrap()), port });
        }
    }

    #[test]
    fn b_2_anything_else_is_refused_with_the_form_to_write() {
        for path in [
            "",
            ":80",
            "legacy-app",
            "legacy-app.mixed-env:80",
            "legacy-app.svc.cluster.local:80",
            "a.b.c.d.svc.cluster.local:80",
            ".mixed-env.svc.cluster.local",
            "legacy-app.mixed-env.svc.other.local:80",
            "legacy-app.mixed-env.svccluster.local",
            "legacy-app.mixed-env.svc.cluster.local:0",
            "legacy-app.mixed-env.svc.cluster.local:65536",
            "legacy-app.mixed-env.svc.cluster.local:http",
            "example.com:443",
            "[fd00::1",
            "[fd00::1]80",
        ] {
            let error = parse(path).unwrap_err().to_string();
            assert!(error.contains("SERVICE.NAMESPACE.svc.cluster.local:PORT"), "{error}");
        }
    }
}
