//! The accepting end: TLS with a mandatory client certificate, plaintext between loopback addresses only.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use outrigger_model::{Peer, Refusal};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use crate::CredentialsWatch;
use crate::alpn::Alpn;
use crate::grpc::Duplex;
use crate::handshake::{TlsError, accept};

/// Who asks, in the extensions of each `tonic::Request`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A process of the same host, in plaintext.
    Loopback,
    /// A peer that its certificate names.
    Peer(Peer),
}

/// An accepted connection for `tonic`'s `serve_with_incoming`.
pub struct ServerIo {
    io: Box<dyn Duplex>,
    caller: Caller,
}

/// A client has this long to finish its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes under way at once; more clients wait in the listener's backlog.
const PENDING: usize = 1024;
/// The pause after a failed accept: what fails is the process (no file descriptors), and it needs a moment.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until the stream is dropped. It yields no error: a handshake that fails concerns its own client
/// only, is logged with its refusal's number, and holds up nobody else's.
pub fn incoming(listener: TcpListener, creds: CredentialsWatch) -> impl Stream<Item = io::Result<ServerIo>> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        tokio::select! {
            () = sender.closed() => {}
            () = listen(listener, creds, &sender) => {}
        }
    });
    ReceiverStream::new(receiver)
}

async fn listen(listener: TcpListener, creds: CredentialsWatch, ready: &mpsc::Sender<io::Result<ServerIo>>) {
    let pending = Arc::new(Semaphore::new(PENDING));
    loop {
        // The semaphore is never closed.
        let Ok(permit) = pending.clone().acquire_owned().await else { return };
        let (tcp, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(event = "grpc.accept_failed", %error, "cannot accept connections at the moment");
                sleep(PAUSE).await;
                continue;
            }
        };
        let (creds, ready) = (creds.clone(), ready.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let greeted = timeout(HANDSHAKE, greet(tcp, client, &creds)).await;
            let late = || Err(TlsError::new(Refusal::HandshakeFailed, format!("not finished within {HANDSHAKE:?}")));
            match greeted.unwrap_or_else(|_| late()) {
                // A closed channel means that the server is gone, and with it this connection.
                Ok(io) => drop(ready.send(Ok(io)).await),
                Err(error) => tracing::warn!(event = "grpc.refused", refusal = error.refusal.number(),
                    reason = error.refusal.label(), %client, %error, "a client was refused"),
            }
        });
    }
}

/// Finds out who calls.
async fn greet(tcp: TcpStream, client: SocketAddr, creds: &CredentialsWatch) -> Result<ServerIo, TlsError> {
    let failed = |error| TlsError::new(Refusal::HandshakeFailed, error);
    tcp.set_nodelay(true).map_err(failed)?;
    let local = tcp.local_addr().map_err(failed)?;
    if on_loopback(local, client) && !begins_tls(&tcp).await.map_err(failed)? {
        return Ok(ServerIo { io: Box::new(tcp), caller: Caller::Loopback });
    }
    let current = creds.borrow().clone();
    let creds = current.ok_or_else(|| TlsError::new(Refusal::NoSvid, "the Workload API has sent none yet"))?;
    let accepted = accept(&creds, tcp, Alpn::None).await?;
    let peer = accepted.peer.ok_or_else(|| TlsError::new(Refusal::ClientCertificateRequired, "it sent none"))?;
    Ok(ServerIo { io: Box::new(accepted.stream), caller: Caller::Peer(peer) })
}

/// Whether a connection stays on this host, so that it may be plaintext.
pub(super) fn on_loopback(local: SocketAddr, client: SocketAddr) -> bool {
    [local, client].iter().all(|addr| addr.ip().to_canonical().is_loopback())
}

/// Whether the first byte is a TLS handshake record's; it stays in the socket.
async fn begins_tls(tcp: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    Ok(tcp.peek(&mut first).await? == 1 && first[0] == 0x16)
}

impl Connected for ServerIo {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for ServerIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for ServerIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
