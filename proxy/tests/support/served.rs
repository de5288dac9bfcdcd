//! A controller's server, which can go away and come back.

use outrigger_mtls::{CredentialsWatch, grpc};
use outrigger_testkit::Host;
use parking_lot::Mutex;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tonic::service::Routes;
use tonic::transport::Server;

/// A gRPC server under mutual TLS on a machine of the network.
pub(crate) struct Served {
    host: Host,
    port: u16,
    credentials: CredentialsWatch,
    routes: Routes,
    /// A runtime of its own: without it every connection breaks at once, as when the process is killed.
    running: Mutex<Option<Runtime>>,
}

impl Served {
    pub(super) fn start(host: &Host, port: u16, credentials: CredentialsWatch, routes: Routes) -> Self {
        let served = Self { host: host.clone(), port, credentials, routes, running: Mutex::default() };
        served.come_back();
        served
    }

    /// Breaks every connection and takes no more.
    pub(crate) fn go_away(&self) {
        if let Some(runtime) = self.running.lock().take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }

    pub(crate) fn come_back(&self) {
        let addr = SocketAddr::from((Ipv6Addr::UNSPECIFIED, self.port));
        let listener = self.host.enter(|| TcpListener::bind(addr)).unwrap().unwrap();
        listener.set_nonblocking(true).unwrap();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (credentials, routes) = (self.credentials.clone(), self.routes.clone());
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            Server::builder().add_routes(routes).serve_with_incoming(grpc::incoming(listener, credentials)).await
        });
        *self.running.lock() = Some(runtime);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(runtime) = self.running.lock().take() {
            runtime.shutdown_background();
        }
    }
}
