//! The demo's server: answers every path with a text of its own and the client's identity, and ends like a pod's.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Request, Response, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// How long requests in flight may take once the server has stopped accepting.
const FINISH: Duration = Duration::from_secs(10);

/// Serve HTTP/1.1; every path answers with the text and the caller's identity.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long, default_value = "0.0.0.0:80")]
    listen: SocketAddr,
    /// The payload of every answer.
    #[arg(long, default_value = "hello")]
    text: String,
    /// How long to go on serving after SIGTERM, as a preStop hook would.
    #[arg(long, default_value = "1s", value_parser = crate::duration::parse)]
    prestop: Duration,
}

pub(crate) async fn run(args: Args) -> Result<()> {
    let listener = TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stopped = async {
        terminate.recv().await;
        tokio::time::sleep(args.prestop).await;
    };
    let connections = GracefulShutdown::new();
    tokio::select! {
        () = stopped => {}
        accepting = accept(&listener, &connections, args.text.into()) => accepting?,
    }
    drop(listener);
    tokio::time::timeout(FINISH, connections.shutdown()).await.context("requests were still in flight after 10 s")
}

async fn accept(listener: &TcpListener, connections: &GracefulShutdown, text: std::sync::Arc<str>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("cannot accept")?;
        stream.set_nodelay(true)?;
        let text = text.clone();
        let service = service_fn(move |request| {
            let response = answer(&request, &text);
            async { Ok::<_, Infallible>(response) }
        });
        let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connections.watch(connection));
    }
}

/// An answer in the form of the guide's `bb terminus`, and who the proxy in front says the caller is.
fn answer(request: &Request<Incoming>, text: &str) -> Response<Full<Bytes>> {
    static ANSWERED: AtomicU64 = AtomicU64::new(1);
    let serial = ANSWERED.fetch_add(1, Ordering::Relaxed);
    let client = request.headers().get("l5d-client-id").map(|id| String::from_utf8_lossy(id.as_bytes()));
    let body = serde_json::json!({
        "requestUID": format!("in:http-sid:outrigger-app:{}:{serial}", request.uri().path()),
        "payload": text,
        "clientId": client,
    });
    let mut response = Response::new(Full::from(body.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}
