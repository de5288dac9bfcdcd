//! The admin server of every long-running program: `/live`, `/ready` and `/metrics` over HTTP/1.1, without TLS.
//!
//! It tells what a monitor may know and changes nothing, so it needs no authentication; its default address is loopback.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Monitors and a curious human; more at once are made to wait.
const CONNECTIONS: usize = 64;
/// From accepting a connection, or from its last answer, to the end of the next request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// A page of the program's own, in JSON as of the moment it is asked for.
pub struct Page {
    /// `/servers.json`
    pub path: &'static str,
    pub json: Box<dyn Fn() -> String + Send + Sync>,
}

/// Serves until it is dropped; its connections end with it. `ready` says why the program is not, in a sentence.
///
/// Answers: `GET /live` 200; `GET /ready` 200, or 503 and the sentence; `GET /metrics` 200 in OpenMetrics text.
pub async fn serve<R>(listener: TcpListener, ready: R, metrics: Arc<Registry>) -> Infallible
where
    R: Fn() -> Result<(), String> + Send + Sync + 'static,
{
    serve_with(listener, ready, metrics, Vec::new()).await
}

/// As [`serve`], with pages of the program's own.
pub async fn serve_with<R>(listener: TcpListener, ready: R, metrics: Arc<Registry>, pages: Vec<Page>) -> Infallible
where
    R: Fn() -> Result<(), String> + Send + Sync + 'static,
{
    let answers = Arc::new(Answers { ready, metrics, pages });
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, Arc::clone(&answers)));
            }
            Err(error) => rest(&error).await,
        }
    }
}

/// Out of file descriptors, say: trying again at once would only spin.
async fn rest(error: &io::Error) {
    tracing::warn!(event = "admin.accept_failed", %error);
    tokio::time::sleep(Duration::from_millis(100)).await;
}

struct Answers<R> {
    ready: R,
    metrics: Arc<Registry>,
    pages: Vec<Page>,
}

async fn connection<R>(stream: TcpStream, answers: Arc<Answers<R>>)
where
    R: Fn() -> Result<(), String>,
{
    let service = service_fn(|request: Request<Incoming>| {
        let response = answers.respond(request.method(), request.uri().path());
        async { Ok::<_, Infallible>(response) }
    });
    let mut server = http1::Builder::new();
    let served = server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    if let Err(error) = served.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(event = "admin.connection_failed", %error);
    }
}

impl<R: Fn() -> Result<(), String>> Answers<R> {
    fn respond(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if method != Method::GET && method != Method::HEAD {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here");
        }
        match path {
            "/live" => plain(StatusCode::OK, "live"),
            "/ready" => match (self.ready)() {
                Ok(()) => plain(StatusCode::OK, "ready"),
                Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, &why),
            },
            "/metrics" => encoded(&self.metrics),
            _ => match self.pages.iter().find(|page| page.path == path) {
                Some(page) => response(StatusCode::OK, "application/json", (page.json)()),
                None => self.not_found(),
            },
        }
    }

    fn not_found(&self) -> Response<Full<Bytes>> {
        let pages: String = self.pages.iter().map(|page| format!(", {}", page.path)).collect();
        plain(StatusCode::NOT_FOUND, &format!("here are /live, /ready, /metrics{pages}"))
    }
}

fn encoded(metrics: &Registry) -> Response<Full<Bytes>> {
    let mut body = String::new();
    match text::encode(&mut body, metrics) {
        Ok(()) => response(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", body),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn plain(status: StatusCode, sentence: &str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", format!("{sentence}\n"))
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn ask(addr: SocketAddr, method: &str, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    #[tokio::test]
    async fn a_monitor_sees_life_readiness_and_metrics() {
        let (counter, is_ready) = (Counter::<u64>::default(), Arc::new(AtomicBool::new(false)));
        let mut registry = Registry::default();
        registry.register("updates", "Updates sent", counter.clone());
        counter.inc();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let flag = Arc::clone(&is_ready);
        let ready = move || flag.load(Ordering::Relaxed).then_some(()).ok_or_else(|| "no SVID yet".to_owned());
        let server = tokio::spawn(serve(listener, ready, Arc::new(registry)));

        assert_eq!(ask(addr, "GET", "/live").await, (200, "live\n".into()));
        assert_eq!(ask(addr, "GET", "/ready").await, (503, "no SVID yet\n".into()));
        is_ready.store(true, Ordering::Relaxed);
        assert_eq!(ask(addr, "GET", "/ready").await, (200, "ready\n".into()));
        let (status, metrics) = ask(addr, "GET", "/metrics").await;
        assert!(status == 200 && metrics.contains("updates_total 1") && metrics.ends_with("# EOF\n"), "{metrics}");
        assert_eq!(ask(addr, "GET", "/shutdown").await.0, 404);
        assert_eq!(ask(addr, "POST", "/live").await.0, 405);

        server.abort();
        assert!(server.await.unwrap_err().is_cancelled());
        assert!(TcpStream::connect(addr).await.is_err(), "the listener is gone with the server");
    }

    #[tokio::test]
    async fn a_program_shows_pages_of_its_own() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let page = Page { path: "/servers.json", json: Box::new(|| "[]".into()) };
        let server = tokio::spawn(serve_with(listener, || Ok(()), Arc::default(), vec![page]));
        assert_eq!(ask(addr, "GET", "/servers.json").await, (200, "[]".into()));
        let (status, hint) = ask(addr, "GET", "/servers").await;
        assert!(status == 404 && hint.contains("/servers.json"), "{hint}");
        server.abort();
    }

    #[tokio::test]
    async fn idle_connections_do_not_lock_others_out_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, || Ok(()), Arc::new(Registry::default())));
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS {
            idle.push(TcpStream::connect(addr).await.unwrap());
        }
        idle.pop();
        assert_eq!(ask(addr, "GET", "/live").await.0, 200);
        server.abort();
    }
}
