//! HTTP/2 towards an endpoint: one connection, which all requests share.

use crate::config::Windows;
use crate::link::{Link, Stream};
use crate::refused::Refused;
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use outrigger_model::{Http2KeepAlive, Http2Params, Refusal};
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Sends requests on a shared connection.
pub(crate) type Sender = SendRequest<Incoming>;

/// Keeps a connection to an upstream that says nothing from hanging for ever.
const PINGS: Http2KeepAlive =
    Http2KeepAlive { interval: Duration::from_secs(10), timeout: Duration::from_secs(3), while_idle: false };

/// RFC 9113 §6.9.1 and §6.5.2.
const LARGEST_WINDOW: u32 = (1 << 31) - 1;
const FRAME_SIZES: std::ops::RangeInclusive<u32> = 16_384..=16_777_215;

/// Spawns on the worker's own thread.
#[derive(Clone, Copy)]
pub(crate) struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// An endpoint's HTTP/2 connection, if there is one. Everybody shares it.
#[derive(Default)]
pub(crate) struct Http2Pool {
    shared: RefCell<Option<Sender>>,
    /// Held by whoever opens the connection: a burst of first requests makes one, not as many.
    opening: Arc<Mutex<()>>,
}

impl Http2Pool {
    /// The shared connection, if it is open.
    pub(crate) fn shared(&self) -> Option<Sender> {
        let mut held = self.shared.borrow_mut();
        if held.as_ref().is_some_and(Sender::is_closed) {
            *held = None;
        }
        held.clone()
    }

    /// Waits until nobody else opens a connection; look for a shared one again then.
    pub(crate) async fn to_open(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.opening).lock_owned().await
    }

    /// Lets everybody use the connection.
    pub(crate) fn share(&self, sender: Sender) {
        self.shared.replace(Some(sender));
    }

    pub(crate) fn clear(&self) {
        self.shared.take();
    }
}

/// Opens HTTP/2 on a fresh connection, with prior knowledge. What the controller says of the endpoint goes before what
/// the environment says of all of them (A.1.7).
pub(crate) async fn open(link: Link, windows: Windows, params: Option<&Http2Params>) -> Result<Sender, Refused> {
    let failed = |error| Refused::new(Refusal::ConnectFailed, error);
    let unsaid = Http2Params::default();
    let (sender, connection) =
        builder(windows, params.unwrap_or(&unsaid)).handshake(TokioIo::new(Stream::new(link))).await.map_err(failed)?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(event = "http2.upstream_ended", %error);
        }
    });
    Ok(sender)
}

fn builder(windows: Windows, params: &Http2Params) -> Builder<Local> {
    let mut builder = Builder::new(Local);
    let pings = params.keep_alive.unwrap_or(PINGS);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(pings.interval)
        .keep_alive_timeout(pings.timeout)
        .keep_alive_while_idle(pings.while_idle);
    match windows {
        Windows::Fixed { stream, connection } if !params.adaptive_window => {
            let (stream, connection) =
                (params.stream_window.unwrap_or(stream), params.connection_window.unwrap_or(connection));
            builder
                .initial_stream_window_size(stream.min(LARGEST_WINDOW))
                .initial_connection_window_size(connection.min(LARGEST_WINDOW))
        }
        Windows::Adaptive | Windows::Fixed { .. } => builder.adaptive_window(true),
    };
    // A size that HTTP/2 does not know is not used: the library would end the process over it.
    if let Some(size) = params.max_frame_size.filter(|size| FRAME_SIZES.contains(size)) {
        builder.max_frame_size(size);
    }
    if let Some(bytes) = params.max_send_buffer {
        builder.max_send_buf_size(bytes as usize);
    }
    if let Some(streams) = params.max_concurrent_reset_streams {
        builder.max_concurrent_reset_streams(streams as usize);
    }
    builder
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    const INITIAL_WINDOW: u16 = 4;
    const MAX_FRAME: u16 = 5;
    const WINDOWS: Windows = Windows::Fixed { stream: 65_535, connection: 1 << 20 };

    /// The SETTINGS that the other side is sent (RFC 9113 §6.5), by identifier.
    async fn announced(params: Option<&Http2Params>) -> BTreeMap<u16, u32> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut other, _) = listener.accept().await.unwrap();
        let _sender = open(Link::plain(stream), WINDOWS, params).await.unwrap();
        let mut start = [0; 24 + 9];
        other.read_exact(&mut start).await.unwrap();
        let mut settings = vec![0; usize::from(u16::from_be_bytes([start[25], start[26]]))];
        other.read_exact(&mut settings).await.unwrap();
        let pair = |p: &[u8]| (u16::from_be_bytes([p[0], p[1]]), u32::from_be_bytes([p[2], p[3], p[4], p[5]]));
        settings.chunks(6).map(pair).collect()
    }

    #[tokio::test]
    async fn a_1_7_the_endpoints_http2_parameters_override_the_environments() {
        let local = tokio::task::LocalSet::new();
        let compare = async {
            assert_eq!(announced(None).await.get(&INITIAL_WINDOW).copied().unwrap_or(65_535), 65_535);
            let params =
                Http2Params { stream_window: Some(100_000), max_frame_size: Some(20_000), ..Http2Params::default() };
            let settings = announced(Some(&params)).await;
            assert_eq!((settings[&INITIAL_WINDOW], settings[&MAX_FRAME]), (100_000, 20_000));
            let wild = Http2Params { stream_window: Some(u32::MAX), max_frame_size: Some(1), ..Http2Params::default() };
            let settings = announced(Some(&wild)).await;
            assert_eq!(settings[&INITIAL_WINDOW], LARGEST_WINDOW);
            assert_ne!(settings.get(&MAX_FRAME), Some(&1));
        };
        local.run_until(compare).await;
    }
}
