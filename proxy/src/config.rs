//! What the proxy was told: the contract's environment (A.6) as values, complete before any port is bound.

mod control;
mod identity;
mod inbound;
mod outbound;
mod process;
mod side;

pub(crate) use control::{Destination, Policy, StreamLimits};
pub(crate) use identity::IdentityConfig;
pub(crate) use inbound::Inbound;
pub(crate) use outbound::Outbound;
pub(crate) use process::Process;
pub(crate) use side::{Http2Server, Queue, Side, SocketOptions, Windows};

use crate::env::{Environment, InvalidEnvironment};
use std::collections::BTreeMap;

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    pub outbound: Outbound,
    pub inbound: Inbound,
    pub identity: IdentityConfig,
    pub destination: Destination,
    pub policy: Policy,
    pub process: Process,
    /// What was set in vain, a sentence each.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads every variable; all mistakes are reported together (exit code 64, A.6).
    pub fn from_env(variables: &BTreeMap<String, String>) -> Result<Self, InvalidEnvironment> {
        let mut env = Environment::new(variables);
        let outbound = Outbound::read(&mut env);
        let inbound = Inbound::read(&mut env);
        let identity = IdentityConfig::read(&mut env);
        let destination = Destination::read(&mut env);
        let policy = Policy::read(&mut env);
        let process = Process::read(&mut env, variables);
        let warnings = env.warnings();
        let complete = || {
            let (identity, destination, policy) = (identity?, destination?, policy?);
            Some(Self { outbound, inbound, identity, destination, policy, process, warnings })
        };
        let whole = complete();
        env.finish(whole)
    }
}

#[cfg(test)]
pub(crate) mod tests;
