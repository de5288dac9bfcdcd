//! `Destination.Get` and `Destination.GetProfile`: endpoints, their changes and profiles (B.2, B.4).
//!
//! Reading never lowers a promise. An endpoint whose `tls_identity` is present but unreadable is [`Refused`]: it exists,
//! and it must not be reached, least of all in plaintext. A SPIFFE identity without a server name is readable and
//! stays an endpoint with `server_name: None`; whoever connects refuses it (A.1.7).

mod http2;
mod profile;

use crate::InvalidMessage;
use crate::meta::{meta_from_proto, meta_to_proto};
use http2::{http2_from_proto, http2_to_proto};
use linkerd2_proxy_api::{destination as pb, net};
use outrigger_model::{DnsName, Endpoint, EndpointChange, Identity, Labels, ProtocolHint, TlsIdentity};
use pb::{protocol_hint::Protocol, tls_identity::Strategy, update::Update as Kind};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

pub use profile::{profile_from_proto, profile_to_proto};

/// One `Update` of `Get`, read.
#[derive(Debug, Clone, PartialEq)]
pub enum DestinationUpdate {
    /// New endpoints, and new values for known addresses. A refused address loses what was known of it before.
    Add {
        endpoints: Vec<Endpoint>,
        refused: Vec<Refused>,
    },
    Remove(Vec<SocketAddr>),
    /// The set is empty; `exists: false`: there is no such service.
    NoEndpoints {
        exists: bool,
    },
}

/// An endpoint that exists and cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// `None` where the address itself is unreadable.
    pub addr: Option<SocketAddr>,
    pub why: InvalidMessage,
}

/// A gRPC client takes messages of at most 4 MiB; so many endpoints, at half a kilobyte each, fill a fourth of that.
const ENDPOINTS_PER_UPDATE: usize = 2_000;

/// An endpoint as `Get` and `GetProfile` send it (B.2, table).
pub fn endpoint_to_proto(endpoint: &Endpoint) -> pb::WeightedAddr {
    pb::WeightedAddr {
        addr: Some(endpoint.addr.into()),
        weight: endpoint.weight,
        metric_labels: labels_to_proto(&endpoint.labels),
        tls_identity: endpoint.tls.as_ref().map(identity_to_proto),
        protocol_hint: hint_to_proto(endpoint.hint, endpoint.inbound_port),
        authority_override: endpoint
            .authority_override
            .as_deref()
            .map(|authority| pb::AuthorityOverride { authority_override: authority.to_owned() }),
        http2: endpoint.http2.as_deref().map(http2_to_proto),
        resource_ref: endpoint.resource.as_ref().map(meta_to_proto),
    }
}

/// Reads an endpoint; `set_labels` are those of the set around it, and give way to the endpoint's own.
pub fn endpoint_from_proto(
    message: pb::WeightedAddr,
    set_labels: &HashMap<String, String>,
) -> Result<Endpoint, InvalidMessage> {
    let addr = address_from_proto(message.addr.as_ref())?;
    let tls = message.tls_identity.map(identity_from_proto).transpose().map_err(|e| e.within("tls_identity"))?;
    let (hint, inbound_port) = hint_from_proto(message.protocol_hint).map_err(|e| e.within("protocol_hint"))?;
    let authority_override = message.authority_override.map(|o| o.authority_override).filter(|name| !name.is_empty());
    if let Some(name) = &authority_override {
        let parsed = name.parse::<http::uri::Authority>();
        parsed.map_err(|e| InvalidMessage::new("authority_override", format!("{name:?}: {e}")))?;
    }
    Ok(Endpoint {
        addr,
        weight: message.weight,
        tls,
        hint,
        inbound_port,
        authority_override: authority_override.map(Arc::from),
        http2: message.http2.map(http2_from_proto).map(Arc::new),
        labels: Arc::new(labels_from_proto(set_labels.iter().chain(&message.metric_labels))),
        resource: message.resource_ref.and_then(|meta| meta_from_proto(Some(meta)).ok()),
    })
}

/// The messages that tell a change: what is new before what is gone, so that a balancer is never empty in between.
/// An empty change is no message.
pub fn change_to_updates(change: &EndpointChange, set_labels: &Labels) -> Vec<pb::Update> {
    let add = |endpoints: &[Endpoint]| {
        let addrs = endpoints.iter().map(endpoint_to_proto).collect();
        update(Kind::Add(pb::WeightedAddrSet { addrs, metric_labels: labels_to_proto(set_labels) }))
    };
    let mut updates: Vec<_> = change.upserts.chunks(ENDPOINTS_PER_UPDATE).map(add).collect();
    if !change.removals.is_empty() {
        let addrs = change.removals.iter().copied().map(net::TcpAddress::from).collect();
        updates.push(update(Kind::Remove(pb::AddrSet { addrs })));
    }
    updates
}

/// The message of an empty set; `exists: false`: there is no such service.
pub fn no_endpoints(exists: bool) -> pb::Update {
    update(Kind::NoEndpoints(pb::NoEndpoints { exists }))
}

/// Reads an update. Only a message without content, or a removal of an unreadable address, is an error as a whole;
/// after one the receiver cannot know the set and must subscribe anew.
pub fn update_from_proto(message: pb::Update) -> Result<DestinationUpdate, InvalidMessage> {
    match message.update.ok_or_else(|| InvalidMessage::new("update", "it is empty"))? {
        Kind::Add(set) => Ok(add_from_proto(set)),
        Kind::Remove(set) => {
            let addrs = set.addrs.iter().map(|addr| address_from_proto(Some(addr)));
            addrs.collect::<Result<_, _>>().map(DestinationUpdate::Remove).map_err(|e| e.within("remove"))
        }
        Kind::NoEndpoints(none) => Ok(DestinationUpdate::NoEndpoints { exists: none.exists }),
    }
}

fn add_from_proto(set: pb::WeightedAddrSet) -> DestinationUpdate {
    let (mut endpoints, mut refused) = (Vec::with_capacity(set.addrs.len()), Vec::new());
    for message in set.addrs {
        let addr = address_from_proto(message.addr.as_ref()).ok();
        match endpoint_from_proto(message, &set.metric_labels) {
            Ok(endpoint) => endpoints.push(endpoint),
            Err(why) => refused.push(Refused { addr, why: why.within("add") }),
        }
    }
    DestinationUpdate::Add { endpoints, refused }
}

fn update(kind: Kind) -> pb::Update {
    pb::Update { update: Some(kind) }
}

fn labels_to_proto(labels: &Labels) -> HashMap<String, String> {
    labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn labels_from_proto<'a>(labels: impl Iterator<Item = (&'a String, &'a String)>) -> Labels {
    labels.map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect()
}

/// The generated conversion cuts a port to 16 bits; a wrong port must not become another one.
pub(crate) fn address_from_proto(addr: Option<&net::TcpAddress>) -> Result<SocketAddr, InvalidMessage> {
    let addr = addr.ok_or_else(|| InvalidMessage::new("addr", "it is missing"))?;
    let ip = addr.ip.ok_or_else(|| InvalidMessage::new("addr.ip", "it is missing"))?;
    let ip = IpAddr::try_from(ip).map_err(|e| InvalidMessage::new("addr.ip", e))?;
    Ok(SocketAddr::new(ip, port_from_proto("addr.port", addr.port)?))
}

fn port_from_proto(field: &str, port: u32) -> Result<u16, InvalidMessage> {
    let port = u16::try_from(port).ok().filter(|port| *port != 0);
    port.ok_or_else(|| InvalidMessage::new(field, "it is not between 1 and 65535"))
}

fn dns_to_proto(name: &DnsName) -> pb::tls_identity::DnsLikeIdentity {
    pb::tls_identity::DnsLikeIdentity { name: name.as_str().to_owned() }
}

fn identity_to_proto(tls: &TlsIdentity) -> pb::TlsIdentity {
    let (strategy, own_name) = match &tls.id {
        Identity::Dns(name) => (Strategy::DnsLikeIdentity(dns_to_proto(name)), Some(name)),
        Identity::Spiffe(id) => {
            (Strategy::UriLikeIdentity(pb::tls_identity::UriLikeIdentity { uri: id.as_str().to_owned() }), None)
        }
    };
    let server_name = tls.server_name.as_ref().or(own_name).map(dns_to_proto);
    pb::TlsIdentity { strategy: Some(strategy), server_name }
}

fn identity_from_proto(message: pb::TlsIdentity) -> Result<TlsIdentity, InvalidMessage> {
    let server_name = message.server_name.map(|sent| sent.name.parse::<DnsName>()).transpose();
    let server_name = server_name.map_err(|e| InvalidMessage::new("server_name", e))?;
    let id = match message.strategy {
        None => return Err(InvalidMessage::new("strategy", "it is empty")),
        Some(Strategy::DnsLikeIdentity(sent)) => sent.name.parse().map(Identity::Dns),
        // Linkerd's controller sends the DNS identity of an ExternalWorkload as a URI too.
        Some(Strategy::UriLikeIdentity(sent)) => sent.uri.parse(),
    };
    let id = id.map_err(|e| InvalidMessage::new("strategy", e))?;
    let own_name = match &id {
        Identity::Dns(name) => Some(name.clone()),
        Identity::Spiffe(_) => None,
    };
    Ok(TlsIdentity { id, server_name: server_name.or(own_name) })
}

fn hint_to_proto(hint: ProtocolHint, inbound_port: Option<u16>) -> Option<pb::ProtocolHint> {
    let protocol = match hint {
        ProtocolHint::Unknown => None,
        ProtocolHint::Http2 => Some(Protocol::H2(pb::protocol_hint::H2 {})),
        ProtocolHint::Opaque => Some(Protocol::Opaque(pb::protocol_hint::Opaque {})),
    };
    let opaque_transport = inbound_port.map(|port| pb::protocol_hint::OpaqueTransport { inbound_port: port.into() });
    (protocol.is_some() || opaque_transport.is_some()).then_some(pb::ProtocolHint { protocol, opaque_transport })
}

fn hint_from_proto(message: Option<pb::ProtocolHint>) -> Result<(ProtocolHint, Option<u16>), InvalidMessage> {
    let message = message.unwrap_or_default();
    let hint = match message.protocol {
        None => ProtocolHint::Unknown,
        Some(Protocol::H2(_)) => ProtocolHint::Http2,
        Some(Protocol::Opaque(_)) => ProtocolHint::Opaque,
    };
    let port = message.opaque_transport.map(|t| port_from_proto("opaque_transport.inbound_port", t.inbound_port));
    Ok((hint, port.transpose()?))
}

#[cfg(test)]
mod tests;
