//! Service addresses where no Kubernetes gives them.

use crate::{Key, Service};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// An address out of `range` for each Service that needs one and has none: a function of the Services alone, so that
/// everybody who reads them agrees. An address moves only if a Service that hashes to it comes or goes. Where the range
/// is full the rest get none.
pub fn cluster_ips<'a>(services: impl IntoIterator<Item = &'a Service>, range: IpNet) -> BTreeMap<Key, IpAddr> {
    let (mut taken, mut needy) = (BTreeSet::new(), BTreeSet::new());
    for service in services {
        taken.extend(service.cluster_ips.iter().copied());
        if service.cluster_ips.is_empty() && !service.headless && service.external_name.is_none() {
            needy.insert(&service.meta.key);
        }
    }
    let mut allocated = BTreeMap::new();
    for key in needy {
        if let Some(ip) = probe(key, range, &taken) {
            taken.insert(ip);
            allocated.insert(key.clone(), ip);
        }
    }
    allocated
}

/// The first free address from the key's hash on. The first and the last of the range are nobody's.
fn probe(key: &Key, range: IpNet, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let host_bits = u32::from(range.max_prefix_len() - range.prefix_len()).min(32);
    let usable = (1u64 << host_bits).checked_sub(2).filter(|usable| *usable > 0)?;
    let start = hash(key) % usable;
    // At most every taken address is in the way.
    let tries = usable.min(taken.len() as u64 + 1);
    let candidates = (0..tries).map(|i| offset(range, 1 + (start + i) % usable));
    candidates.into_iter().find(|ip| !taken.contains(ip))
}

fn offset(range: IpNet, by: u64) -> IpAddr {
    match range.network() {
        IpAddr::V4(base) => IpAddr::from((u32::from(base).wrapping_add(by as u32)).to_be_bytes()),
        IpAddr::V6(base) => IpAddr::from((u128::from(base) + u128::from(by)).to_be_bytes()),
    }
}

/// FNV-1a, 64 bits: the same on every machine and in every build.
fn hash(key: &Key) -> u64 {
    let bytes = key.namespace.bytes().chain([b'/']).chain(key.name.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Meta;

    fn service(name: &str, ip: Option<&str>) -> Service {
        Service {
            meta: Meta::named(Key::new("ns", name)),
            cluster_ips: ip.map(|ip| ip.parse().unwrap()).into_iter().collect(),
            headless: false,
            external_name: None,
            selector: None,
            ports: Vec::new(),
            publish_not_ready: false,
            internal_traffic_local: false,
        }
    }

    #[test]
    fn a_service_without_an_address_gets_the_same_one_every_time() {
        let range: IpNet = "10.96.0.0/12".parse().unwrap();
        let app = service("legacy-app", None);
        let alone = cluster_ips([&app], range)[&app.meta.key];
        // A fixed value: the demo, both controllers and the next release must all agree on it.
        assert_eq!(alone, "10.105.233.167".parse::<IpAddr>().unwrap());
        let others: Vec<_> = (0..500).map(|i| service(&format!("other-{i}"), None)).collect();
        let among = cluster_ips(others.iter().chain([&app]), range);
        assert_eq!(among[&app.meta.key], alone);
        let distinct: BTreeSet<_> = among.values().collect();
        assert_eq!(distinct.len(), 501);
        assert!(among.values().all(|ip| range.contains(ip)));
    }

    #[test]
    fn addresses_that_are_given_are_kept_free() {
        let range: IpNet = "10.0.0.0/29".parse().unwrap();
        let given: Vec<_> = (1..6).map(|i| service(&format!("given-{i}"), Some(&format!("10.0.0.{i}")))).collect();
        let needy = [service("a", None), service("b", None)];
        let allocated = cluster_ips(given.iter().chain(&needy), range);
        // One address is left for two; the last of the range is not handed out.
        assert_eq!(allocated.into_values().collect::<Vec<_>>(), ["10.0.0.6".parse::<IpAddr>().unwrap()]);
        assert!(cluster_ips(&needy, "10.0.0.1/32".parse().unwrap()).is_empty());
        assert!(cluster_ips(&needy, "10.0.0.0/31".parse().unwrap()).is_empty());
    }

    #[test]
    fn headless_and_external_name_services_get_none() {
        let headless = Service { headless: true, ..service("h", None) };
        let external = Service { external_name: Some("example.com".into()), ..service("e", None) };
        assert!(cluster_ips([&headless, &external], "fd00::/64".parse().unwrap()).is_empty());
        let six = cluster_ips([&service("six", None)], "fd00::/64".parse().unwrap());
        assert!(six.values().all(|ip| ip.is_ipv6()));
    }
}
