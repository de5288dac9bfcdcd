//! Who is admitted: `Authz`, networks, identities, and the names of the objects that wrote them.

use crate::meta::{meta_from_proto, meta_to_proto};
use crate::{InvalidMessage, all};
use ipnet::IpNet;
use linkerd2_proxy_api::inbound::authn::permit_mesh_tls::{Clients, PermitClientIdentities};
use linkerd2_proxy_api::inbound::authn::{Permit, PermitMeshTls, PermitUnauthenticated};
use linkerd2_proxy_api::inbound::{Authn, Authz, Identity, IdentitySuffix, Network};
use linkerd2_proxy_api::net::IpNetwork;
use outrigger_model::{self as model, Authentication, Authorization, IdentityMatch, Meta, NetworkMatch, SpiffeId};
use std::collections::HashMap;
use std::sync::Arc;

/// What follows a SPIFFE prefix that travels as an identity (our extension; no valid SPIFFE id ends so).
const BELOW: &str = "/*";

pub(super) fn authorizations_to_proto(list: &[Authorization]) -> Vec<Authz> {
    let authz = |authorization: &Authorization| Authz {
        networks: authorization.networks.iter().map(network_to_proto).collect(),
        authentication: Some(Authn { permit: Some(permit_to_proto(&authorization.authentication)) }),
        labels: labels(&authorization.meta),
        metadata: Some(meta_to_proto(&authorization.meta)),
    };
    list.iter().filter(|authorization| !authorization.networks.is_empty()).map(authz).collect()
}

pub(super) fn authorization_from_proto(authz: Authz) -> Result<Authorization, InvalidMessage> {
    if authz.networks.is_empty() {
        return Err(InvalidMessage::new("networks", "it is empty; an authorization for everywhere names 0.0.0.0/0"));
    }
    let permit = authz.authentication.and_then(|authn| authn.permit);
    let permit = permit.ok_or_else(|| {
        InvalidMessage::new("authentication.permit", "it is missing or of an unknown kind, and admits nobody")
    })?;
    Ok(Authorization {
        meta: match authz.metadata {
            Some(metadata) => meta_from_proto(Some(metadata))?,
            None => meta_from_labels(authz.labels, "serverauthorization")?,
        },
        networks: all("networks", authz.networks, network_from_proto)?,
        authentication: permit_from_proto(permit).map_err(|e| e.within("authentication"))?,
    })
}

fn network_to_proto(network: &NetworkMatch) -> Network {
    Network { net: Some(network.net.into()), except: network.except.iter().map(|&net| net.into()).collect() }
}

fn network_from_proto(network: Network) -> Result<NetworkMatch, InvalidMessage> {
    let net = network.net.ok_or_else(|| InvalidMessage::new("net", "it is missing"))?;
    let net = net_from_proto(net).map_err(|e| e.within("net"))?;
    Ok(NetworkMatch { net, except: all("except", network.except, net_from_proto)? })
}

fn net_from_proto(net: IpNetwork) -> Result<IpNet, InvalidMessage> {
    IpNet::try_from(net).map_err(|why| InvalidMessage::new("ip", why))
}

fn permit_to_proto(authentication: &Authentication) -> Permit {
    let clients = match authentication {
        Authentication::Unauthenticated => return Permit::Unauthenticated(PermitUnauthenticated {}),
        Authentication::TlsUnauthenticated => Clients::Unauthenticated(PermitUnauthenticated {}),
        Authentication::TlsAuthenticated(matches) => Clients::Identities(identities_to_proto(matches)),
    };
    Permit::MeshTls(PermitMeshTls { clients: Some(clients) })
}

fn permit_from_proto(permit: Permit) -> Result<Authentication, InvalidMessage> {
    let Permit::MeshTls(PermitMeshTls { clients }) = permit else {
        return Ok(Authentication::Unauthenticated);
    };
    match clients {
        None => Err(InvalidMessage::new("mesh_tls.clients", "it is missing or of an unknown kind, and admits nobody")),
        Some(Clients::Unauthenticated(_)) => Ok(Authentication::TlsUnauthenticated),
        Some(Clients::Identities(PermitClientIdentities { identities, suffixes })) => {
            let mut matches: Vec<_> = all("identities", identities, identity_from_proto)?;
            matches.extend::<Vec<_>>(all("suffixes", suffixes, suffix_from_proto)?);
            Ok(Authentication::TlsAuthenticated(matches.into()))
        }
    }
}

fn identities_to_proto(matches: &[IdentityMatch]) -> PermitClientIdentities {
    let mut permit = PermitClientIdentities::default();
    for rule in matches {
        match rule {
            IdentityMatch::Any => permit.suffixes.push(IdentitySuffix { parts: Vec::new() }),
            IdentityMatch::Exact(name) => permit.identities.push(Identity { name: name.to_string() }),
            IdentityMatch::DnsSuffix(suffix) => {
                permit.suffixes.push(IdentitySuffix { parts: suffix.split('.').map(str::to_owned).collect() });
            }
            IdentityMatch::SpiffePrefix(prefix) => {
                permit.identities.push(Identity { name: format!("{prefix}{BELOW}") });
            }
        }
    }
    permit
}

fn identity_from_proto(Identity { name }: Identity) -> Result<IdentityMatch, InvalidMessage> {
    if let Some(prefix) = name.strip_suffix(BELOW) {
        let prefix: SpiffeId = prefix.parse().map_err(|why| InvalidMessage::new("name", why))?;
        return Ok(IdentityMatch::SpiffePrefix(prefix.as_str().into()));
    }
    Ok(IdentityMatch::Exact(identity_name(name)))
}

/// A name in another spelling than certificates' parsed names must still match them; one that is no name at all matches
/// nobody and harms nobody.
pub(super) fn identity_name(name: String) -> Arc<str> {
    name.parse::<model::Identity>().map_or(name, |identity| identity.as_str().to_owned()).into()
}

fn suffix_from_proto(IdentitySuffix { parts }: IdentitySuffix) -> Result<IdentityMatch, InvalidMessage> {
    if parts.is_empty() {
        return Ok(IdentityMatch::Any);
    }
    let suffix: model::DnsName = parts.join(".").parse().map_err(|why| InvalidMessage::new("parts", why))?;
    Ok(IdentityMatch::DnsSuffix(suffix.as_str().into()))
}

/// The labels by which proxies' metrics name a Server or an authorization.
pub(super) fn labels(meta: &Meta) -> HashMap<String, String> {
    [("group", &meta.group), ("kind", &meta.kind), ("name", &meta.name)]
        .map(|(label, value)| (label.to_owned(), value.to_string()))
        .into()
}

/// Older controllers leave out the group, and the `kind` that the place in the message implies.
pub(super) fn meta_from_labels(mut labels: HashMap<String, String>, kind: &str) -> Result<Meta, InvalidMessage> {
    let name = labels.remove("name").ok_or_else(|| InvalidMessage::new("labels.name", "it is missing"))?;
    let group = labels.remove("group").unwrap_or_else(|| "policy.linkerd.io".to_owned());
    let kind = labels.remove("kind").unwrap_or_else(|| kind.to_owned());
    Ok(if kind == "default" { Meta::default_named(&name) } else { Meta::object(&group, &kind, "", &name) })
}

/// Converts a route's own authorizations.
pub(super) fn route_authorizations(list: Vec<Authz>) -> Result<Arc<[Authorization]>, InvalidMessage> {
    all("authorizations", list, authorization_from_proto)
}
