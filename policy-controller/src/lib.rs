//! The policy controller: who may call what, and where calls go, told to the proxy of each workload.
//!
//! ```text
//! cluster ──changes──▶ Index ──policy(world, config, workload, port)──────────▶ watch ──▶ WatchPort
//!                            └─outbound_policy(world, config, …, destination)─▶ watch ──▶ OutboundPolicies.Watch
//! ```
//!
//! Everything that decides is a pure function of a [`World`](outrigger_cluster::World) and a [`Config`]; the index
//! keeps the newest answer of each port and each destination that somebody watches.

mod affected;
mod args;
mod authorization;
mod caller;
mod config;
mod index;
mod metrics;
mod outbound;
mod policy;
mod problem;
mod route;
mod serve;
mod server;
mod service;
mod source;
mod workload;

pub use args::Args;
pub use authorization::Ignored;
pub use config::Config;
pub use index::Index;
pub use metrics::Metrics;
pub use outbound::{Destination, NoPolicy, OutboundService, Subject};
pub use policy::policy;
pub use problem::{Problem, What};
pub use route::NotAccepted;
pub use serve::serve;
pub use server::{SelectedPort, ServerStatus, server_status};
pub use service::Service;
pub use workload::InvalidAnnotation;
