//! The transparent proxy: what a workload sends and receives passes through it, under mutual TLS.
//!
//! `listen` accepts, `outbound` and `inbound` each tell a connection's journey in one function, and everything that is
//! decided on the way is decided in `outrigger-proxy-core`.

mod admin;
mod admission;
mod app;
mod buffer;
mod chosen;
mod config;
mod connect;
mod control;
mod destination;
mod detect;
mod direct;
mod directory;
mod drain;
mod endpoint;
mod env;
mod gate;
mod http;
mod http2;
mod http2_client;
mod inbound;
mod link;
mod listen;
mod log;
mod metrics;
mod outbound;
mod port;
mod refused;
mod relay;
mod resolution;
mod service;
mod worker;

pub use app::run;
pub use config::Config;
pub use env::{InvalidEnvironment, page as environment_page};
pub use log::Log;
