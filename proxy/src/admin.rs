//! The admin server (A.5): for this host as it is, for others under the policy of its port.
//!
//! Its connections do not come by the redirect rules and must be served before there is an SVID, so they make no inbound
//! journey; from elsewhere, though, they pass the same stages: TLS for our name, and the port's policy for each request.

use crate::admission::{Admission, Arrival};
use crate::config::Config;
use crate::detect;
use crate::directory::Directory;
use crate::http2::{RequestHead, orig_proto, reply, settings};
use crate::inbound::secure;
use crate::link::{Link, Stream};
use crate::listen;
use crate::log::Log;
use crate::metrics::Direction;
use crate::refused::Refused;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use outrigger_admin::{Action, Admin, Answer, Asked, Asker};
use outrigger_model::Refusal;
use outrigger_proxy_core::detect::Http;
use outrigger_proxy_core::reply::Audience;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};

/// How long TLS, and a protocol after it, are waited for (A.5).
const DETECT: Duration = Duration::from_secs(1);
/// From accepting a connection, or from its last answer, to the end of the next request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Connections at one time, from this host and from others; what comes beyond is closed.
const CONNECTIONS: usize = 64;

/// See the module; of one thread.
pub(crate) struct AdminServer {
    admin: Admin,
    directory: Rc<Directory>,
    local: Arc<Semaphore>,
    remote: Arc<Semaphore>,
}

impl AdminServer {
    pub(crate) fn new(admin: Admin, directory: Rc<Directory>) -> Rc<Self> {
        let room = || Arc::new(Semaphore::new(CONNECTIONS));
        Rc::new(Self { admin, directory, local: room(), remote: room() })
    }

    /// Serves for ever; needs a `LocalSet`.
    pub(crate) async fn serve(self: Rc<Self>, listener: TcpListener) {
        loop {
            let (stream, client) = listen::accept(&listener).await;
            let server = Rc::clone(&self);
            tokio::task::spawn_local(async move {
                let target = stream.local_addr().unwrap_or(server.directory.worker.config.process.admin);
                let target = SocketAddr::new(target.ip().to_canonical(), target.port());
                if let Err(refused) = server.connection(stream, client, target).await {
                    server.directory.worker.refused(Direction::inbound, client, target, &refused);
                }
            });
        }
    }

    async fn connection(
        self: &Rc<Self>,
        stream: TcpStream,
        client: SocketAddr,
        target: SocketAddr,
    ) -> Result<(), Refused> {
        let asker = Asker::at(client);
        let room = if asker == Asker::Local { &self.local } else { &self.remote };
        let _place = room.try_acquire().map_err(|_| Refusal::Overloaded)?;
        let link = Link::plain(stream);
        if asker == Asker::Local {
            self.serve_as(Http::Http1, link, None, asker).await;
            return Ok(());
        }
        let (mut link, admission) = self.guard(link, client, target).await?;
        match detect::protocol(&mut link, DETECT).await {
            Http::Unknown | Http::NeedMore => return Err(Refusal::ProtocolNotServed.into()),
            version => self.serve_as(version, link, admission, asker).await,
        }
        Ok(())
    }

    /// Ends TLS, and finds who decides about the requests: nobody, if they come from our own address. Only this host can
    /// send from that: our inbound side, which has applied the port's policy, or a program that could use loopback.
    async fn guard(
        &self,
        link: Link,
        client: SocketAddr,
        target: SocketAddr,
    ) -> Result<(Link, Option<Admission>), Refused> {
        if client.ip() == target.ip() {
            return Ok((link, None));
        }
        let worker = &self.directory.worker;
        let mut port = self.directory.port(target.port());
        if port.current().is_err() {
            port.resolved(DETECT).await?;
        }
        let (link, tls) = Box::pin(secure(worker, link, DETECT)).await?;
        let arrival = Arrival { from: client, tls, to: target, port };
        Ok((link, Some(Admission::new(Rc::clone(worker), arrival))))
    }

    async fn serve_as(self: &Rc<Self>, version: Http, link: Link, admission: Option<Admission>, asker: Asker) {
        let (server, admission) = (Rc::clone(self), Rc::new(admission));
        let service = service_fn(move |request| {
            let (server, admission) = (Rc::clone(&server), Rc::clone(&admission));
            async move { Ok::<_, Infallible>(server.answer(request, admission.as_ref().as_ref(), asker).await) }
        });
        let io = TokioIo::new(Stream::new(link));
        let served = if version == Http::Http2 {
            settings::server(&self.directory.worker.config.inbound.side.http2).serve_connection(io, service).await
        } else {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).serve_connection(io, service).await
        };
        if let Err(error) = served {
            tracing::debug!(event = "admin.connection_failed", %error);
        }
    }

    async fn answer(
        &self,
        mut request: Request<Incoming>,
        admission: Option<&Admission>,
        asker: Asker,
    ) -> Response<Full<Bytes>> {
        // A peer's proxy may have put the request into HTTP/2 (A.1.8).
        let original = orig_proto::take(request.headers_mut());
        let (parts, body) = request.into_parts();
        let admitted = match admission {
            Some(admission) => admission.admit(&RequestHead(&parts)),
            None => Ok(None),
        };
        let mut response = match admitted {
            Ok(_) => self.admin.answer(Request::from_parts(parts, body), asker).await,
            Err(refused) => {
                self.directory.worker.metrics.refused(Direction::inbound, refused.refusal);
                tracing::info!(event = "admin.refused", path = parts.uri.path(), refusal = %refused.refusal);
                reply::refuse(&refused.reply(), false, Audience::Stranger).map(|()| Full::default())
            }
        };
        if let Some(original) = original {
            orig_proto::mark(response.headers_mut(), original.version);
        }
        response
    }
}

/// What this host may ask for; `shutdown` is told to begin a drain.
pub(crate) fn actions(config: &Config, log: Log, shutdown: Arc<Notify>) -> Vec<Action> {
    type Run = Box<dyn Fn(Asked<'_>) -> Answer + Send + Sync>;
    let (log, environment) = (Arc::new(log), config.process.environment.clone());
    let shown = Arc::clone(&log);
    let show: Run = Box::new(move |_| Answer::text(StatusCode::OK, &shown.filter()));
    let change: Run = Box::new(move |asked| match log.set_filter(asked.body.trim()) {
        Ok(()) => Answer::text(StatusCode::OK, &log.filter()),
        Err(why) => Answer::text(StatusCode::BAD_REQUEST, &why),
    });
    let variables: Run = Box::new(move |asked| Answer::json(chosen(&environment, asked.query)));
    let mut actions = vec![
        Action { method: Method::GET, path: "/proxy-log-level", run: show },
        Action { method: Method::PUT, path: "/proxy-log-level", run: change },
        Action { method: Method::GET, path: "/env.json", run: variables },
    ];
    if config.process.shutdown_endpoint {
        let run: Run = Box::new(move |_| {
            shutdown.notify_one();
            Answer::text(StatusCode::OK, "shutdown")
        });
        actions.push(Action { method: Method::POST, path: "/shutdown", run });
    }
    actions
}

/// The variables that `?NAME&NAME` asks for, or all of them.
fn chosen(environment: &BTreeMap<String, String>, query: &str) -> String {
    let names: Vec<_> = query.split('&').filter(|name| !name.is_empty()).collect();
    let chosen = environment.iter().filter(|(name, _)| names.is_empty() || names.contains(&name.as_str()));
    serde_json::Value::from_iter(chosen.map(|(name, value)| (name.as_str(), value.as_str()))).to_string()
}

#[cfg(test)]
mod tests;
