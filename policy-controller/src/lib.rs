//! The policy controller: who may call what, told to the proxy of each workload.
//!
//! ```text
//! cluster ──changes──▶ Index ──policy(world, config, workload, port)──▶ watch ──▶ WatchPort
//! ```
//!
//! Everything that decides is a pure function of a [`World`](outrigger_cluster::World) and a [`Config`]; the index
//! keeps the newest answer of each port that somebody watches.

mod affected;
mod args;
mod authorization;
mod config;
mod index;
mod metrics;
mod policy;
mod ports;
mod problem;
mod route;
mod serve;
mod server;
mod service;
mod workload;

pub use args::Args;
pub use authorization::Ignored;
pub use config::Config;
pub use index::Index;
pub use metrics::Metrics;
pub use policy::policy;
pub use ports::{InvalidPort, PortSet};
pub use problem::{Problem, What};
pub use route::NotAccepted;
pub use serve::serve;
pub use server::{SelectedPort, ServerStatus, server_status};
pub use service::Service;
pub use workload::InvalidAnnotation;
