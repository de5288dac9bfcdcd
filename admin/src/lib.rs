//! The admin server of every long-running program: `/live`, `/ready`, `/metrics` and pages of the program's own, over
//! HTTP/1.1, without TLS.
//!
//! What it tells everybody is what a monitor may know; what changes the program, or tells more, only its own host may
//! ask for. A program that listens to more than loopback decides itself who else may ask: see [`Admin::answer`].

mod process;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub use process::Process;

/// Monitors and a curious human; more at once are made to wait.
const CONNECTIONS: usize = 64;
/// From accepting a connection, or from its last answer, to the end of the next request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of a request's body.
const LONGEST_BODY: usize = 16 * 1024;

/// A page of the program's own, in JSON as of the moment it is asked for.
pub struct Page {
    /// `/servers.json`
    pub path: &'static str,
    pub json: Box<dyn Fn() -> String + Send + Sync>,
}

/// Something that only the program's own host may ask for.
pub struct Action {
    pub method: Method,
    pub path: &'static str,
    pub run: Box<dyn Fn(Asked<'_>) -> Answer + Send + Sync>,
}

/// What an action is given.
pub struct Asked<'a> {
    /// Without question mark.
    pub query: &'a str,
    pub body: &'a str,
}

/// What an action answers.
pub struct Answer {
    pub status: StatusCode,
    pub content_type: &'static str,
    pub body: String,
}

impl Answer {
    /// A sentence.
    pub fn text(status: StatusCode, sentence: &str) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: format!("{sentence}\n") }
    }

    pub fn json(json: String) -> Self {
        Self { status: StatusCode::OK, content_type: "application/json", body: json }
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// A program on this host, over loopback.
    Local,
    Remote,
}

impl Asker {
    /// By the client's address.
    pub fn at(client: SocketAddr) -> Self {
        if client.ip().to_canonical().is_loopback() { Self::Local } else { Self::Remote }
    }
}

/// What the server answers.
pub struct Admin {
    ready: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
    metrics: Arc<Registry>,
    pages: Vec<Page>,
    actions: Vec<Action>,
}

impl Admin {
    /// `ready` says why the program is not, in a sentence.
    ///
    /// Answers: `/live` 200; `/ready` 200, or 503 and the sentence; `GET /metrics` 200 in OpenMetrics text.
    pub fn new(ready: impl Fn() -> Result<(), String> + Send + Sync + 'static, metrics: Arc<Registry>) -> Self {
        Self { ready: Box::new(ready), metrics, pages: Vec::new(), actions: Vec::new() }
    }

    #[must_use]
    pub fn with_pages(self, pages: Vec<Page>) -> Self {
        Self { pages, ..self }
    }

    #[must_use]
    pub fn with_actions(self, actions: Vec<Action>) -> Self {
        Self { actions, ..self }
    }

    /// Answers one request.
    pub async fn answer<B>(&self, request: Request<B>, asker: Asker) -> Response<Full<Bytes>>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let (method, path) = (&parts.method, parts.uri.path());
        if !self.actions.iter().any(|action| action.path == path) {
            return self.show(method, path);
        }
        if asker != Asker::Local {
            return plain(StatusCode::FORBIDDEN, "only this host may ask for that");
        }
        let action = self.actions.iter().find(|action| action.path == path && action.method == *method);
        let Some(action) = action else {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "this is asked for in another way");
        };
        let Ok(body) = Limited::new(body, LONGEST_BODY).collect().await else {
            return plain(StatusCode::BAD_REQUEST, "the body does not end, or is too long");
        };
        let body = body.to_bytes();
        let Ok(body) = std::str::from_utf8(&body) else {
            return plain(StatusCode::BAD_REQUEST, "the body is not UTF-8");
        };
        let Answer { status, content_type, body } =
            (action.run)(Asked { query: parts.uri.query().unwrap_or_default(), body });
        response(status, content_type, body)
    }

    /// What everybody may see.
    fn show(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let page = self.pages.iter().find(|page| page.path == path);
        let reads = method == Method::GET || method == Method::HEAD;
        match (path, page) {
            ("/live", _) => plain(StatusCode::OK, "live"),
            ("/ready", _) => match (self.ready)() {
                Ok(()) => plain(StatusCode::OK, "ready"),
                Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, &why),
            },
            ("/metrics", _) if reads => encoded(&self.metrics),
            (_, Some(page)) if reads => response(StatusCode::OK, "application/json", (page.json)()),
            ("/metrics", _) | (_, Some(_)) => plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here"),
            (_, None) => self.not_found(),
        }
    }

    fn not_found(&self) -> Response<Full<Bytes>> {
        let mut others: Vec<_> = self.pages.iter().map(|page| page.path).collect();
        others.extend(self.actions.iter().map(|action| action.path));
        others.dedup();
        let others: String = others.iter().map(|path| format!(", {path}")).collect();
        plain(StatusCode::NOT_FOUND, &format!("here are /live, /ready, /metrics{others}"))
    }
}

/// Serves until it is dropped; its connections end with it. `ready` says why the program is not, in a sentence.
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
    serve_admin(listener, Admin::new(ready, metrics).with_pages(pages)).await
}

async fn serve_admin(listener: TcpListener, admin: Admin) -> Infallible {
    let admin = Arc::new(admin);
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, client)) => {
                connections.spawn(connection(stream, Asker::at(client), Arc::clone(&admin)));
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

async fn connection(stream: TcpStream, asker: Asker, admin: Arc<Admin>) {
    let service = service_fn(|request: Request<Incoming>| {
        let admin = Arc::clone(&admin);
        async move { Ok::<_, Infallible>(admin.answer(request, asker).await) }
    });
    let mut server = http1::Builder::new();
    let served = server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    if let Err(error) = served.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(event = "admin.connection_failed", %error);
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
    let Answer { status, content_type, body } = Answer::text(status, sentence);
    response(status, content_type, body)
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
        assert_eq!(ask(addr, "POST", "/live").await.0, 200, "whatever the method (A.5)");
        assert_eq!(ask(addr, "POST", "/metrics").await.0, 405);

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

    #[tokio::test]
    async fn a_5_only_this_host_may_act() {
        let ran = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let noting = Arc::clone(&ran);
        let run = move |asked: Asked<'_>| {
            noting.lock().push(format!("{}|{}", asked.query, asked.body));
            Answer::text(StatusCode::OK, "done")
        };
        let action = Action { method: Method::PUT, path: "/act", run: Box::new(run) };
        let admin = Admin::new(|| Ok(()), Arc::default()).with_actions(vec![action]);
        let asked = async |method: Method, body: &str, asker| {
            let body = Full::new(Bytes::from(body.to_owned()));
            let request = Request::builder().method(method).uri("/act?how").body(body).unwrap();
            admin.answer(request, asker).await.status()
        };
        assert_eq!(asked(Method::PUT, "what", Asker::Remote).await, StatusCode::FORBIDDEN);
        assert_eq!(asked(Method::GET, "", Asker::Local).await, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(asked(Method::PUT, &"x".repeat(LONGEST_BODY + 1), Asker::Local).await, StatusCode::BAD_REQUEST);
        assert!(ran.lock().is_empty());
        assert_eq!(asked(Method::PUT, "what", Asker::Local).await, StatusCode::OK);
        assert_eq!(*ran.lock(), ["how|what"]);
        assert_eq!(Asker::at("[::ffff:127.0.0.1]:1".parse().unwrap()), Asker::Local);
        assert_eq!(Asker::at("10.0.0.1:1".parse().unwrap()), Asker::Remote);
    }
}
