//! The controller seen from outside: worlds in YAML and the policies that follow, and the service over sockets.

mod authorizations;
mod defaults;
mod guide;
mod monotone;
mod routes;
mod servers;
mod service;
#[cfg(test)] // where clippy lets a helper unwrap
mod support;
