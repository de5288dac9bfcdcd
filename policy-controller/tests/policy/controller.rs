//! A controller that serves, and clients of it.

use crate::support::*;
use outrigger_model::SpiffeId;
use outrigger_mtls::grpc::{ControlAddr, channel};
use outrigger_mtls::workload_api::issuer::{Ca, Leaf};
use outrigger_mtls::{Credentials, CredentialsWatch};
use outrigger_policy::Index;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

pub(crate) const CONTROLLER: &str = "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local";

pub(crate) const VM: &str = "---
apiVersion: workload.linkerd.io/v1beta1
kind: ExternalWorkload
metadata: {name: vm, namespace: ns}
spec: {meshTLS: {identity: 'spiffe://root.linkerd.cluster.local/vm', serverName: vm.cluster.local}}
";

pub(crate) struct Controller {
    pub(crate) index: Arc<Index>,
    pub(crate) port: u16,
    pub(crate) drain: watch::Sender<bool>,
    pub(crate) served: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Controller {
    pub(crate) async fn start(yaml: &[&str], credentials: CredentialsWatch) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let index = Arc::new(index(yaml));
        let (drain, draining) = watch::channel(false);
        let served = tokio::spawn(outrigger_policy::serve(listener, credentials, Arc::clone(&index), draining));
        Self { index, port, drain, served }
    }

    pub(crate) async fn plaintext(yaml: &[&str]) -> Self {
        Self::start(yaml, watch::channel(None).1).await
    }

    /// A client in plaintext, from the controller's own host.
    pub(crate) fn neighbour(&self) -> Channel {
        channel(ControlAddr { host: "127.0.0.1".into(), port: self.port, name: None }, watch::channel(None).1)
    }

    /// A client that proves an identity.
    pub(crate) fn peer(&self, credentials: CredentialsWatch) -> Channel {
        let name = Some(CONTROLLER.parse().unwrap());
        channel(ControlAddr { host: "127.0.0.1".into(), port: self.port, name }, credentials)
    }

    pub(crate) fn apply(&self, yaml: &str) {
        self.index.apply(&changes(yaml));
    }
}

pub(crate) fn credentials(ca: &Ca, id: &str, dns: &[&str]) -> CredentialsWatch {
    let id: SpiffeId = id.parse().unwrap();
    let dns: Vec<_> = dns.iter().map(|name| name.parse().unwrap()).collect();
    let svid = ca.issue(&Leaf::svid(&id, &dns, Duration::from_secs(60))).unwrap();
    watch::channel(Some(Arc::new(Credentials::new(svid, &ca.bundles(), 1).unwrap()))).1
}
