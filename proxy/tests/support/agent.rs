//! The Workload API, in process, with an authority that also makes certificates that no agent would.

use super::member::{CONTROLLERS, CONTROLLERS_ID, GROUP, Kind, MEMBERS, TRUST_DOMAIN};
use outrigger_mtls::workload_api::issuer::{Ca, Leaf};
use outrigger_mtls::workload_api::{Config, serve};
use outrigger_mtls::{Credentials, CredentialsWatch};
use outrigger_testkit::wait_for;
use std::fmt::Write as _;
use std::fs;
use std::future::pending;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// The agent and its authority. Members are attested by their uid.
pub(crate) struct Agent {
    config: Config,
    ca: Ca,
    running: Option<Runtime>,
}

const TTL: Duration = Duration::from_secs(3600);

impl Agent {
    /// Not yet serving.
    pub(super) fn new(folder: &Path) -> Self {
        let (state_dir, entries) = (folder.join("ca"), folder.join("entries.yaml"));
        let trust_domain = TRUST_DOMAIN.parse().unwrap();
        let ca = Ca::load_or_create(&state_dir, &trust_domain).unwrap();
        let mut yaml = "entries:\n".to_owned();
        for member in MEMBERS {
            let dns = if member.kind == Kind::Pod { member.server_name } else { "" };
            writeln!(yaml, "- {{uid: {}, spiffeId: '{}', dnsNames: [{dns}]}}", member.uid, member.id).unwrap();
        }
        fs::write(&entries, yaml).unwrap();
        let socket = folder.join("agent/api.sock");
        let config = Config { socket, entries, trust_domain, state_dir, ttl: TTL, group: Some(GROUP) };
        Self { config, ca, running: None }
    }

    pub(crate) fn start(&mut self) {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let config = self.config.clone();
        runtime.spawn(async move { serve(config, pending()).await.unwrap() });
        self.running = Some(runtime);
        wait_for("the Workload API's socket", super::PATIENCE, || self.config.socket.exists()).unwrap();
    }

    /// Goes away as if killed; its socket file stays.
    pub(crate) fn stop(&mut self) {
        if let Some(runtime) = self.running.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }

    pub(crate) fn ca(&self) -> &Ca {
        &self.ca
    }

    pub(super) fn socket(&self) -> &Path {
        &self.config.socket
    }

    /// The controllers' credentials; theirs do not come through the socket, so that they do not need the agent.
    pub(super) fn controllers(&self) -> CredentialsWatch {
        let (id, dns_names) = (CONTROLLERS_ID.parse().unwrap(), [CONTROLLERS.parse().unwrap()]);
        let svid = self.ca.issue(&Leaf::svid(&id, &dns_names, TTL)).unwrap();
        let credentials = Credentials::new(svid, &self.ca.bundles(), 1).unwrap();
        watch::channel(Some(Arc::new(credentials))).1
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(runtime) = self.running.take() {
            runtime.shutdown_background();
        }
    }
}
