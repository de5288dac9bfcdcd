//! The gRPC server: where it listens, and what bounds it.

use crate::health::{Health, reflection};
use futures::Stream;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;

/// Requests that may be under way before more are refused; a stream counts until it has begun.
const REQUESTS: usize = 1024;
/// A proxy's host that is gone sends no FIN.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Why there is no listener.
#[derive(Debug, Error)]
pub enum ListenError {
    #[error("cannot listen on {flag} {addr}: {cause}; is another controller running?")]
    Bind { flag: &'static str, addr: SocketAddr, cause: io::Error },
    #[error("--grpc-addr {0} needs --spire-socket: without an SVID only loopback is served, in plaintext")]
    Plaintext(SocketAddr),
}

/// Listens on the address that a flag gave.
pub async fn listen(flag: &'static str, addr: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(addr).await.map_err(|cause| ListenError::Bind { flag, addr, cause })
}

/// Where proxies are answered. Without an SVID the wildcard address shrinks to loopback, and any other is refused.
pub fn grpc_addr(addr: SocketAddr, has_svid: bool) -> Result<SocketAddr, ListenError> {
    if has_svid || addr.ip().to_canonical().is_loopback() {
        return Ok(addr);
    }
    if !addr.ip().is_unspecified() {
        return Err(ListenError::Plaintext(addr));
    }
    let loopback: IpAddr = if addr.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    let addr = SocketAddr::new(loopback, addr.port());
    tracing::warn!(event = "grpc.plaintext", %addr, "no --spire-socket is given: plaintext, on loopback only");
    Ok(addr)
}

/// What a server serves, beside health and reflection.
pub struct Services {
    pub routes: Routes,
    /// The full name of each.
    pub names: &'static [&'static str],
    /// What the names mean: an encoded `FileDescriptorSet`.
    pub descriptors: &'static [u8],
}

/// Answers proxies until `drained` resolves, then as long as their connections take to end. Whoever may connect may ask
/// for health and reflection.
pub async fn serve<IO>(
    incoming: impl Stream<Item = io::Result<IO>>,
    services: Services,
    streams_per_connection: u32,
    drained: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error>
where
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let (health, server) = Health::of(services.names).await;
    let mut routes = services.routes.add_service(server);
    match reflection(services.names, services.descriptors) {
        Ok(server) => routes = routes.add_service(server),
        Err(error) => tracing::error!(event = "grpc.no_reflection", %error, "the descriptors make no sense"),
    }
    let drained = async {
        drained.await;
        health.end().await;
    };
    let limits = ServiceBuilder::new().layer(LoadShedLayer::new()).layer(GlobalConcurrencyLimitLayer::new(REQUESTS));
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .max_concurrent_streams(streams_per_connection)
        .layer(limits)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, drained)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_svid_nothing_but_loopback_is_listened_on() {
        let addr = |text: &str, has_svid| grpc_addr(text.parse().unwrap(), has_svid).map(|addr| addr.to_string());
        assert_eq!(addr("0.0.0.0:8086", true).unwrap(), "0.0.0.0:8086");
        assert_eq!(addr("0.0.0.0:8086", false).unwrap(), "127.0.0.1:8086");
        assert_eq!(addr("[::]:8086", false).unwrap(), "[::1]:8086");
        assert_eq!(addr("[::ffff:127.0.0.2]:1", false).unwrap(), "[::ffff:127.0.0.2]:1");
        assert!(addr("192.0.2.1:8086", false).unwrap_err().to_string().contains("--spire-socket"));
    }
}
