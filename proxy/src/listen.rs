//! Accepting: sockets with their options, and where each connection was going before it was redirected.

use crate::config::SocketOptions;
use crate::refused::Refused;
use outrigger_model::Refusal;
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// A connection that the redirect rules brought here.
pub(crate) struct Accepted {
    pub stream: TcpStream,
    /// IPv4-mapped addresses are IPv4 ones.
    pub client: SocketAddr,
    /// Where the client wanted to go.
    pub original_dst: SocketAddr,
}

/// Binds and listens; `backlog` connections may wait to be accepted. `shared`: other workers bind the same address
/// (SO_REUSEPORT).
pub(crate) fn bind(addr: SocketAddr, backlog: u32, shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Waits for a connection. An error of the listener itself (out of descriptors, say) is logged and waited out.
pub(crate) async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                return (stream, SocketAddr::new(client.ip().to_canonical(), client.port()));
            }
            Err(error) => {
                tracing::warn!(event = "accept.failed", %error);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Reads the original destination. The client's address decides the family: an IPv6 socket also carries IPv4 (A.1).
pub(crate) fn original_dst(stream: TcpStream, client: SocketAddr) -> Result<Accepted, Refused> {
    let socket = SockRef::from(&stream);
    let read = if client.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    let addr = read.map_err(|error| Refused::new(Refusal::NoOriginalDestination, error))?;
    let original_dst = addr.as_socket().ok_or(Refusal::NoOriginalDestination)?;
    Ok(Accepted { stream, client, original_dst })
}

/// TCP_NODELAY and what the configuration asks for. A socket that refuses an option is used all the same.
pub(crate) fn set_options(stream: &TcpStream, options: SocketOptions) {
    let socket = SockRef::from(stream);
    let keepalive = |time| socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(time));
    let set = [
        socket.set_tcp_nodelay(true),
        options.keepalive.map_or(Ok(()), keepalive),
        options.user_timeout.map_or(Ok(()), |time| socket.set_tcp_user_timeout(Some(time))),
    ];
    for error in set.into_iter().filter_map(Result::err) {
        tracing::warn!(event = "socket.option_failed", %error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_1_nodelay_keepalive_and_user_timeout_are_set() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let seconds = |n| Some(Duration::from_secs(n));
        set_options(&stream, SocketOptions { keepalive: seconds(7), user_timeout: seconds(30) });
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(7));
        assert_eq!(socket.tcp_user_timeout().unwrap(), seconds(30));
    }
}
