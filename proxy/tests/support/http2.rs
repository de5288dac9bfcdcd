//! HTTP/2 by hyper, which is not what the proxy is judged by: clients and applications that say everything themselves.

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use outrigger_testkit::Host;
use std::error::Error;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;
type Frames = mpsc::Sender<Result<Frame<Bytes>, BoxError>>;

/// An application that speaks HTTP/2 with prior knowledge; it ends with this.
pub(crate) struct Http2App(Option<Runtime>);

impl Http2App {
    /// Each request is answered by `answer`; an error resets its stream.
    pub(crate) fn start<R>(
        host: &Host,
        port: u16,
        answer: impl Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    ) -> Self
    where
        R: Future<Output = Result<Response<Body>, BoxError>> + Send + 'static,
    {
        let addr = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let listener = host.enter(|| TcpListener::bind(addr)).unwrap().unwrap();
        listener.set_nonblocking(true).unwrap();
        let runtime = runtime();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                server.auto_date_header(false);
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service_fn(answer.clone())));
            }
        });
        Self(Some(runtime))
    }
}

impl Drop for Http2App {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Runs a test's asynchronous part.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = runtime();
    let outcome = runtime.block_on(async { tokio::time::timeout(3 * super::PATIENCE, test).await });
    runtime.shutdown_background();
    outcome.expect("the test takes too long")
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A blocking connection as an asynchronous one.
pub(crate) fn asynchronous(stream: TcpStream) -> tokio::net::TcpStream {
    stream.set_nonblocking(true).unwrap();
    tokio::net::TcpStream::from_std(stream).unwrap()
}

/// Begins HTTP/2 on a connection.
pub(crate) async fn http2(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> SendRequest<Body> {
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(Into::into).boxed_unsync()
}

/// A body that comes frame by frame; an error breaks it off.
pub(crate) fn streamed() -> (Frames, Body) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, StreamBody::new(ReceiverStream::new(receiver)).boxed_unsync())
}

/// A body's bytes and trailers.
pub(crate) async fn collect(body: Incoming) -> Result<(String, Option<HeaderMap>), hyper::Error> {
    let body = body.collect().await?;
    let trailers = body.trailers().cloned();
    Ok((String::from_utf8_lossy(&body.to_bytes()).into_owned(), trailers))
}
