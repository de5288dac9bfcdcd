//! The controller seen from outside: worlds in YAML and the policies that follow, and the service over sockets.

mod authorizations;
#[cfg(test)] // where clippy lets a helper unwrap
mod controller;
mod defaults;
#[cfg(test)]
mod followers;
mod guide;
#[cfg(test)]
mod health;
mod monotone;
#[cfg(test)]
mod outbound;
#[cfg(test)]
mod outbound_service;
#[cfg(test)]
mod program;
mod routes;
mod servers;
#[cfg(test)]
mod service;
#[cfg(test)]
mod support;
