//! HTTP/2 towards an endpoint: one connection, which all requests share.

use crate::config::Windows;
use crate::link::{Link, Stream};
use crate::refused::Refused;
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use outrigger_model::Refusal;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Sends requests on a shared connection.
pub(crate) type Sender = SendRequest<Incoming>;

/// Keeps a connection to an upstream that says nothing from hanging for ever.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(3);

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

/// Opens HTTP/2 on a fresh connection, with prior knowledge.
pub(crate) async fn open(link: Link, windows: Windows) -> Result<Sender, Refused> {
    let failed = |error| Refused::new(Refusal::ConnectFailed, error);
    let (sender, connection) = builder(windows).handshake(TokioIo::new(Stream::new(link))).await.map_err(failed)?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(event = "http2.upstream_ended", %error);
        }
    });
    Ok(sender)
}

fn builder(windows: Windows) -> Builder<Local> {
    let mut builder = Builder::new(Local);
    builder.timer(TokioTimer::new()).keep_alive_interval(PING_INTERVAL).keep_alive_timeout(PING_TIMEOUT);
    match windows {
        Windows::Adaptive => builder.adaptive_window(true),
        Windows::Fixed { stream, connection } => {
            builder.initial_stream_window_size(stream).initial_connection_window_size(connection)
        }
    };
    builder
}
