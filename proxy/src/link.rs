//! A connection as the data path sees it: a byte stream, plain or TLS, and the buffer of what was read from it.
//!
//! Two things decide what a request costs here. Head and body leave in one write: a second one costs half as much again
//! as the whole hop. And a connection that waits holds no buffer: it goes back to the worker's free list.

use crate::buffer::Buffer;
use crate::metrics::Meter;
use outrigger_mtls::TlsStream;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Read buffers of HTTP connections.
pub(crate) const HTTP_BUFFER: usize = 16 * 1024;

/// Read buffers of relayed connections: 8 kB costs 40 % more per byte (hotpath.md §5).
pub(crate) const OPAQUE_BUFFER: usize = 64 * 1024;

/// How long, and for how many bytes, an ended connection still listens.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;

/// A TCP stream whose first bytes were already read, to tell what it speaks.
pub(crate) struct Prefixed {
    prefix: Vec<u8>,
    at: usize,
    stream: TcpStream,
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<Prefixed>>),
}

/// A connection and what has been read from it and not yet used.
pub(crate) struct Link {
    io: Io,
    /// Bytes read and not yet consumed.
    pub inbox: Buffer,
    capacity: usize,
    /// Counts its bytes.
    meter: Option<Meter>,
}

impl Link {
    /// A plain connection.
    pub(crate) fn plain(stream: TcpStream) -> Self {
        Self { io: Io::Plain(stream), inbox: Buffer::default(), capacity: HTTP_BUFFER, meter: None }
    }

    /// A TLS connection whose handshake is done.
    pub(crate) fn tls(stream: TlsStream<Prefixed>) -> Self {
        Self { io: Io::Tls(Box::new(stream)), inbox: Buffer::default(), capacity: HTTP_BUFFER, meter: None }
    }

    /// Counts its bytes from now on, and those that wait in the inbox.
    pub(crate) fn metered(mut self, meter: Meter) -> Self {
        meter.read(self.inbox.len());
        self.meter = Some(meter);
        self
    }

    fn read(&self, bytes: usize) {
        if let Some(meter) = &self.meter {
            meter.read(bytes);
        }
    }

    /// Reads in larger pieces from now on.
    pub(crate) fn opaque(mut self) -> Self {
        self.capacity = OPAQUE_BUFFER;
        self
    }

    /// The plain stream, with the bytes that were read from it before it. `None` for TLS.
    pub(crate) fn into_prefixed(self) -> Option<Prefixed> {
        match self.io {
            Io::Plain(stream) => Some(Prefixed { prefix: self.inbox.data().to_vec(), at: 0, stream }),
            Io::Tls(_) => None,
        }
    }

    /// Reads once, whatever is there. `Ok(0)`: the other side will send no more.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(self.inbox.room(self.capacity));
        let read = match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_read(cx, &mut room),
            Io::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, &mut room),
        };
        let read = read.map_ok(|()| room.filled().len());
        match read {
            Poll::Ready(Ok(n)) => {
                self.inbox.filled(n);
                self.read(n);
            }
            _ => self.inbox.park(),
        }
        read
    }

    /// Writes `head` and then `body`, in one piece where the kernel takes it. `sent` counts what has gone and must be 0
    /// at the first call; at the end everything is in the kernel's hands.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        head: &[u8],
        body: &[u8],
        sent: &mut usize,
    ) -> Poll<io::Result<()>> {
        while *sent < head.len() + body.len() {
            let (head, body) = match head.get(*sent..) {
                Some(rest) => (rest, body),
                None => (&[][..], &body[*sent - head.len()..]),
            };
            let n = ready!(self.poll_write(cx, head, body))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *sent += n;
        }
        match &mut self.io {
            Io::Plain(_) => Poll::Ready(Ok(())),
            Io::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, head: &[u8], body: &[u8]) -> Poll<io::Result<usize>> {
        let mut stream: Pin<&mut (dyn AsyncWrite + Unpin)> = match &mut self.io {
            Io::Plain(stream) => Pin::new(stream),
            Io::Tls(stream) => Pin::new(&mut **stream),
        };
        let written = match (head.is_empty(), body.is_empty()) {
            (true, _) => stream.as_mut().poll_write(cx, body),
            (false, true) => stream.as_mut().poll_write(cx, head),
            (false, false) => {
                stream.as_mut().poll_write_vectored(cx, &[io::IoSlice::new(head), io::IoSlice::new(body)])
            }
        };
        self.written(written)
    }

    fn written(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let (Poll::Ready(Ok(n)), Some(meter)) = (&written, &self.meter) {
            meter.written(*n);
        }
        written
    }

    /// Says that nothing more will be sent (FIN, and close_notify before it under TLS).
    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }

    /// See [`Link::poll_fill`].
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// See [`Link::poll_send`].
    pub(crate) async fn send(&mut self, head: &[u8], body: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        poll_fn(|cx| self.poll_send(cx, head, body, &mut sent)).await
    }

    /// See [`Link::poll_close`].
    pub(crate) async fn close(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_close(cx)).await
    }

    /// Ends the connection so that what was sent last arrives: closing while the other side still sends would make the
    /// kernel reset the connection and drop our last answer, so its bytes are read and forgotten for a moment.
    pub(crate) async fn end(&mut self) {
        if self.close().await.is_err() {
            return;
        }
        let forget = async {
            let mut forgotten = 0;
            while let Ok(n @ 1..) = self.fill().await {
                self.inbox.consume(self.inbox.len());
                forgotten += n;
                if forgotten > LINGER_BYTES {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(LINGER_TIME, forget).await;
    }

    /// Whether an idle connection can take a request: still open, and silent. Asks the kernel only if it signalled.
    pub(crate) fn idle_and_open(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.inbox.is_empty() && self.poll_fill(&mut cx).is_pending()
    }
}

impl From<TcpStream> for Prefixed {
    fn from(stream: TcpStream) -> Self {
        Self { prefix: Vec::new(), at: 0, stream }
    }
}

impl AsyncRead for Prefixed {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.prefix.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let rest = &this.prefix[this.at..];
        let n = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..n]);
        this.at += n;
        if this.at == this.prefix.len() {
            this.prefix = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// A link as a byte stream for hyper; what is in the inbox comes first.
pub(crate) struct Stream(Link);

impl Stream {
    pub(crate) fn new(link: Link) -> Self {
        Self(link)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let link = &mut self.get_mut().0;
        if link.inbox.is_empty() {
            let before = buf.filled().len();
            let read = match &mut link.io {
                Io::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
                Io::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
            };
            link.read(buf.filled().len() - before);
            return read;
        }
        let n = link.inbox.len().min(buf.remaining());
        buf.put_slice(&link.inbox.data()[..n]);
        link.inbox.consume(n);
        link.inbox.park();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().0.poll_write(cx, &[], buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let link = &mut self.get_mut().0;
        let written = match &mut link.io {
            Io::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Io::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
        };
        link.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0.io {
            Io::Plain(_) => Poll::Ready(Ok(())),
            Io::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().0.poll_close(cx)
    }
}
