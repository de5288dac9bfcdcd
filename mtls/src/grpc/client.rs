//! The asking end: a lazy channel to a control-plane service.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use outrigger_model::{DnsName, Identity, Refusal};
use rand::seq::SliceRandom;
use thiserror::Error;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::CredentialsWatch;
use crate::alpn::Alpn;
use crate::grpc::Duplex;
use crate::handshake::{TlsError, connect};

/// Where a control-plane service listens, and the name that it must prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlAddr {
    /// A DNS name, perhaps with a trailing dot, or an IP address without brackets.
    pub host: String,
    pub port: u16,
    /// The DNS SAN expected of the server, sent as SNI. Without one the connection is plaintext, to loopback only.
    pub name: Option<DnsName>,
}

/// A control-plane address that is not `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} is not host:port with a DNS name, an IPv4 address or a bracketed IPv6 address, and a port of 1 to 65535"
)]
pub struct InvalidControlAddr(String);

impl FromStr for ControlAddr {
    type Err = InvalidControlAddr;

    fn from_str(text: &str) -> Result<Self, InvalidControlAddr> {
        let invalid = || InvalidControlAddr(text.into());
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(invalid)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().map_err(|_| invalid())?.to_string(),
            None => host.parse::<DnsName>().map(|_| host.to_owned()).map_err(|_| invalid())?,
        };
        Ok(Self { host, port, name: None })
    }
}

impl fmt::Display for ControlAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// One address has this long to take the connection, before the next is tried.
const CONNECT: Duration = Duration::from_secs(3);
/// A connected server has this long to finish the handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// A channel that connects when first used, and again whenever it must, with the credentials of that moment.
///
/// Each time it resolves the host anew and tries every address in a random order, so that many proxies spread over a
/// controller's replicas. Errors reach the caller as `Unavailable`; their reason is logged here.
pub fn channel(addr: ControlAddr, creds: CredentialsWatch) -> Channel {
    // The authority is a header here and no more; a host that cannot stand in one fails when it is resolved.
    let endpoint = Endpoint::from_shared(format!("http://{addr}"))
        .unwrap_or_else(|_| Endpoint::from_static("http://control-plane"))
        // As Linkerd does: a controller's host that is gone sends no FIN.
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(3))
        .keep_alive_while_idle(true);
    let connector = tower::service_fn(move |_: Uri| {
        let (addr, creds) = (addr.clone(), creds.clone());
        async move {
            match dial(&addr, &creds).await {
                Ok(io) => Ok(io),
                Err(error) => {
                    tracing::warn!(event = "control.connect_failed", control = %addr, refusal = error.refusal.number(),
                        reason = error.refusal.label(), %error, "the control plane cannot be reached");
                    Err(error)
                }
            }
        }
    });
    endpoint.connect_with_connector_lazy(connector)
}

async fn dial(addr: &ControlAddr, creds: &CredentialsWatch) -> Result<TokioIo<Box<dyn Duplex>>, TlsError> {
    let tcp = reach(addr).await.map_err(|error| TlsError::new(Refusal::ConnectFailed, error))?;
    let Some(name) = &addr.name else { return Ok(TokioIo::new(Box::new(tcp))) };
    let current = creds.borrow().clone();
    let creds = current.ok_or_else(|| TlsError::new(Refusal::NoSvid, "the Workload API has sent none yet"))?;
    let connected = timeout(HANDSHAKE, connect(&creds, tcp, name, &Identity::Dns(name.clone()), Alpn::None)).await;
    let connected = connected.unwrap_or_else(|elapsed| Err(TlsError::new(Refusal::HandshakeFailed, elapsed)))?;
    Ok(TokioIo::new(Box::new(connected.stream)))
}

/// Connects to the first of the host's addresses that takes the connection.
pub(super) async fn reach(addr: &ControlAddr) -> io::Result<TcpStream> {
    let mut addrs = resolve(addr).await?;
    if addr.name.is_none() {
        addrs.retain(|addr| addr.ip().to_canonical().is_loopback());
        if addrs.is_empty() {
            return Err(io::Error::other("without a server name it would be plaintext, and it is not on loopback"));
        }
    }
    addrs.shuffle(&mut rand::rng());
    let mut last = io::Error::other("the host has no address");
    for addr in addrs {
        match timeout(CONNECT, TcpStream::connect(addr)).await {
            Ok(Ok(tcp)) => {
                tcp.set_nodelay(true)?;
                return Ok(tcp);
            }
            Ok(Err(error)) => last = io::Error::new(error.kind(), format!("{addr}: {error}")),
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, format!("{addr}: no answer in {CONNECT:?}")),
        }
    }
    Err(last)
}

async fn resolve(addr: &ControlAddr) -> io::Result<Vec<SocketAddr>> {
    let host = addr.host.as_str();
    let failed = |error: io::Error| io::Error::new(error.kind(), format!("cannot resolve {host}: {error}"));
    match lookup_host((host, addr.port)).await {
        Ok(addrs) => Ok(addrs.collect()),
        // A trailing dot keeps resolv.conf's search list away, but no name of /etc/hosts is found with one.
        Err(error) => match host.strip_suffix('.') {
            Some(bare) => Ok(lookup_host((bare, addr.port)).await.map_err(failed)?.collect()),
            None => Err(failed(error)),
        },
    }
}
