//! A small mesh: real proxies between a client and a server, everything around them in the test's hands.
//!
//! ```text
//!  client ── proxy ═══ mutual TLS ═══ proxy ── app      Workload, App
//!               │                       │
//!            Destination             Policy             scripted, under mutual TLS, on the control plane's machine
//!               └──── Agent (Workload API) ────┘
//!  stranger: openssl on a machine without a proxy       Stranger
//! ```

mod agent;
mod app;
mod destination;
mod http;
mod http2;
mod member;
mod mesh;
mod messages;
mod policy;
mod script;
mod served;
mod stranger;
mod workload;

pub(crate) use app::{App, Connection, echo, http};
pub(crate) use destination::Service;
pub(crate) use http::{Http, Reply, ends};
pub(crate) use http2::{Body, BoxError, Http2App, asynchronous, collect, http2, run, streamed, whole};
pub(crate) use member::{CLIENT, CONTROL, OTHER, SERVER, TRUST_DOMAIN};
pub(crate) use mesh::{Mesh, Plan};
pub(crate) use messages::*;
pub(crate) use script::Answer;
pub(crate) use stranger::{leaf, transport_header};
pub(crate) use workload::{Workload, connect_from};

/// How long anything that is sure to come may take on a busy machine.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(15);
