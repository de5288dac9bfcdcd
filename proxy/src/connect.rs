//! Connecting: to an endpoint of the mesh under mutual TLS, or in plaintext where none was promised.

use crate::config::Side;
use crate::link::Link;
use crate::listen::set_options;
use crate::refused::Refused;
use crate::resolution::Reach;
use outrigger_model::{DnsName, Endpoint, Identity, ProtocolHint, Refusal, TlsIdentity};
use outrigger_mtls::{Alpn, CredentialsWatch};
use outrigger_proxy_core::header::{Session, TransportHeader};
use std::net::SocketAddr;
use std::num::NonZeroU16;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How one endpoint is connected to (A.1.7), decided before anything is sent.
#[derive(Debug, PartialEq)]
enum Plan<'a> {
    Plain(SocketAddr),
    Mutual { addr: SocketAddr, server_name: &'a DnsName, expected: &'a Identity, header: Option<TransportHeader> },
}

/// Connects to an endpoint of a service. `local`: the address is this workload's own, so the bytes stay on the host.
pub(crate) async fn endpoint(
    reach: &Reach,
    session: Option<Session>,
    local: bool,
    side: &Side,
    credentials: &CredentialsWatch,
) -> Result<Link, Refused> {
    let endpoint = match reach {
        Reach::Endpoint(endpoint) => endpoint,
        Reach::Unusable(addr, why) => {
            return Err(Refused::new(Refusal::EndpointIdentityUnusable, format_args!("{addr}: {why}")));
        }
    };
    let connect = async {
        match plan(endpoint, session, local)? {
            Plan::Plain(addr) => Ok(Link::plain(tcp(addr, side).await?)),
            Plan::Mutual { addr, server_name, expected, header } => {
                let stream = tcp(addr, side).await?;
                let mut link = mutual(stream, server_name, expected, header.is_some(), credentials).await?;
                if let (Some(header), true) = (header, link.1) {
                    let sent = link.0.send(&header.encode(), &[]).await;
                    sent.map_err(|error| Refused::new(Refusal::ConnectFailed, format_args!("{addr}: {error}")))?;
                }
                Ok(link.0)
            }
        }
    };
    let late = |_| Refused::new(Refusal::ConnectTimeout, endpoint.addr);
    timeout(side.connect_timeout, Box::pin(connect)).await.map_err(late)?
}

fn plan(endpoint: &Endpoint, session: Option<Session>, local: bool) -> Result<Plan<'_>, Refused> {
    let unusable =
        |why: &str| Refused::new(Refusal::EndpointIdentityUnusable, format_args!("{}: {why}", endpoint.addr));
    if endpoint.addr.ip().to_canonical().is_loopback() {
        return Err(Refused::new(Refusal::LoopbackTarget, endpoint.addr));
    }
    let Some(TlsIdentity { id, server_name }) = endpoint.tls.as_ref().filter(|_| !local) else {
        return Ok(Plan::Plain(endpoint.addr));
    };
    let server_name = match (server_name, id) {
        (Some(name), _) | (None, Identity::Dns(name)) => name,
        (None, Identity::Spiffe(_)) => return Err(unusable("its SPIFFE identity comes without a server name")),
    };
    let (name, port) = match endpoint.authority_override.as_deref() {
        None => (None, endpoint.addr.port()),
        Some(authority) => {
            gateway_target(authority).ok_or_else(|| unusable("its authority override is no name:port"))?
        }
    };
    let wants_header = endpoint.inbound_port.is_some() || endpoint.authority_override.is_some();
    let session = session.filter(|_| endpoint.hint != ProtocolHint::Opaque);
    let header = NonZeroU16::new(port).filter(|_| wants_header).map(|port| TransportHeader { port, name, session });
    let addr = SocketAddr::new(endpoint.addr.ip(), endpoint.inbound_port.unwrap_or_else(|| endpoint.addr.port()));
    Ok(Plan::Mutual { addr, server_name, expected: id, header })
}

fn gateway_target(authority: &str) -> Option<(Option<DnsName>, u16)> {
    let (name, port) = authority.rsplit_once(':')?;
    Some((Some(name.parse().ok()?), port.parse().ok()?))
}

/// Connects in plaintext, to the application itself.
pub(crate) async fn application(addr: SocketAddr, side: &Side) -> Result<Link, Refused> {
    let late = |_| Refused::new(Refusal::ConnectTimeout, addr);
    Ok(Link::plain(timeout(side.connect_timeout, tcp(addr, side)).await.map_err(late)??))
}

async fn tcp(addr: SocketAddr, side: &Side) -> Result<TcpStream, Refused> {
    let failed = |error| Refused::new(Refusal::ConnectFailed, format_args!("{addr}: {error}"));
    let stream = TcpStream::connect(addr).await.map_err(failed)?;
    set_options(&stream, side.connected);
    Ok(stream)
}

/// The link, and whether the peer awaits a transport header.
async fn mutual(
    stream: TcpStream,
    server_name: &DnsName,
    expected: &Identity,
    offer_header: bool,
    credentials: &CredentialsWatch,
) -> Result<(Link, bool), Refused> {
    let current = credentials.borrow().clone();
    let credentials = current.ok_or(Refusal::NoSvid)?;
    let alpn = if offer_header { Alpn::TransportHeader } else { Alpn::None };
    let connected = outrigger_mtls::connect(&credentials, stream.into(), server_name, expected, alpn).await?;
    if offer_header && !connected.transport_header {
        // Linkerd goes on without a header; on a proxy's own port the bytes would then be read as one.
        return Err(Refused::new(Refusal::TransportHeaderNotNegotiated, server_name));
    }
    Ok((Link::tls(connected.stream), connected.transport_header))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meshed(id: &str, server_name: Option<&str>) -> Endpoint {
        let tls = TlsIdentity { id: id.parse().unwrap(), server_name: server_name.map(|n| n.parse().unwrap()) };
        Endpoint { tls: Some(tls), ..Endpoint::unmeshed("10.0.0.1:80".parse().unwrap()) }
    }

    fn refused(endpoint: &Endpoint) -> Refusal {
        plan(endpoint, None, false).unwrap_err().refusal
    }

    #[test]
    fn a_1_7_port_name_and_header_follow_the_endpoint() {
        let direct = Endpoint { inbound_port: Some(4143), ..meshed("spiffe://td/vm", Some("vm.example")) };
        let Plan::Mutual { addr, server_name, expected, header } = plan(&direct, Some(Session::Http1), false).unwrap()
        else {
            panic!("a meshed endpoint is reached under TLS")
        };
        assert_eq!(addr, "10.0.0.1:4143".parse().unwrap());
        assert_eq!((server_name.as_str(), expected.as_str()), ("vm.example", "spiffe://td/vm"));
        let header = header.unwrap();
        assert_eq!((header.port.get(), header.name, header.session), (80, None, Some(Session::Http1)));

        let opaque = Endpoint { hint: ProtocolHint::Opaque, ..direct.clone() };
        let Ok(Plan::Mutual { header: Some(header), .. }) = plan(&opaque, Some(Session::Http1), false) else {
            panic!()
        };
        assert_eq!(header.session, None, "an opaque endpoint is told no HTTP version");

        let transparent = meshed("a.example", None);
        let Ok(Plan::Mutual { addr, server_name, header, .. }) = plan(&transparent, None, false) else { panic!() };
        assert_eq!((addr.port(), server_name.as_str(), header), (80, "a.example", None));

        let gateway = Endpoint { authority_override: Some("svc.ns:8080".into()), ..transparent };
        let Ok(Plan::Mutual { header: Some(header), .. }) = plan(&gateway, None, false) else { panic!() };
        assert_eq!((header.port.get(), header.name.unwrap().as_str()), (8080, "svc.ns"));
    }

    #[test]
    fn a_1_7_an_unusable_identity_is_never_reached_in_plaintext() {
        assert_eq!(refused(&meshed("spiffe://td/vm", None)), Refusal::EndpointIdentityUnusable);
        let gateway = Endpoint { authority_override: Some("svc".into()), ..meshed("a.example", None) };
        assert_eq!(refused(&gateway), Refusal::EndpointIdentityUnusable);
        assert_eq!(refused(&Endpoint::unmeshed("127.0.0.1:80".parse().unwrap())), Refusal::LoopbackTarget);
        assert_eq!(refused(&Endpoint::unmeshed("[::ffff:127.0.0.1]:80".parse().unwrap())), Refusal::LoopbackTarget);
        let own = meshed("spiffe://td/vm", None);
        assert_eq!(plan(&own, None, true).unwrap(), Plan::Plain(own.addr), "traffic to ourselves stays here");
    }
}
