//! The controller seen from outside: worlds in YAML and the policies that follow, and the service over sockets.

mod authorizations;
mod defaults;
mod guide;
mod monotone;
#[cfg(test)] // where clippy lets a helper unwrap
mod program;
mod routes;
mod servers;
#[cfg(test)]
mod service;
#[cfg(test)]
mod support;
