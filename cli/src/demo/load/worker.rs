//! One connection's requests, one after the other.

use super::{Bounds, Tally};
use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Method, Request, Uri, header::HOST};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// How long one request, with connecting, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between a failure and the next attempt, so that a dead server is not hammered.
const AFTER_FAILURE: Duration = Duration::from_millis(20);

pub(super) struct Worker {
    method: Method,
    url: Uri,
    bounds: Arc<Bounds>,
    pause: Option<Duration>,
    sender: Option<SendRequest<Empty<Bytes>>>,
    tally: Tally,
}

impl Worker {
    pub(super) fn new(method: Method, url: Uri, bounds: Arc<Bounds>, pause: Option<Duration>) -> Self {
        Self { method, url, bounds, pause, sender: None, tally: Tally::default() }
    }

    pub(super) async fn run(mut self) -> Tally {
        let mut ticks = self.pause.map(interval);
        if let Some(ticks) = &mut ticks {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        while self.bounds.next() {
            if let Some(ticks) = &mut ticks {
                ticks.tick().await;
            }
            let sent = timeout(PATIENCE, self.request()).await.context("no answer in 10 s");
            if let Err(e) = sent.and_then(|sent| sent) {
                self.sender = None;
                self.tally.failed_with(format!("{e:#}"));
                sleep(AFTER_FAILURE).await;
            }
        }
        self.tally
    }

    async fn request(&mut self) -> Result<()> {
        let mut sender = self.connection().await?;
        let host = self.url.authority().map_or("", |a| a.as_str());
        let path = self.url.path_and_query().map_or("/", |p| p.as_str());
        let request = Request::builder().method(self.method.clone()).uri(path).header(HOST, host).body(Empty::new())?;
        let response = sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        let error = head.headers.get("l5d-proxy-error").map(|e| String::from_utf8_lossy(e.as_bytes()));
        self.tally.answered(head.status.as_u16(), error.as_deref(), &body);
        if head.status == 200 {
            self.bounds.succeeded();
        }
        self.sender = Some(sender);
        Ok(())
    }

    /// The open connection, or a new one where the server has closed it between two requests.
    async fn connection(&mut self) -> Result<SendRequest<Empty<Bytes>>> {
        if let Some(mut sender) = self.sender.take()
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let address = (self.url.host().unwrap_or_default(), self.url.port_u16().unwrap_or(80));
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {}", address.0))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}
