//! linkerd.io: how a Service is called.

use super::Meta;
use crate::PortSet;
use outrigger_model::{ProfileRoute, RetryBudget};
use std::sync::Arc;

/// ServiceProfile. Its name is the Service's full name; in the Service's namespace it is for every client, in another one
/// for the clients there (B.4).
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceProfile {
    pub meta: Meta,
    pub routes: Arc<[ProfileRoute]>,
    pub retry_budget: Option<RetryBudget>,
    /// Never with a weight of zero.
    pub overrides: Vec<Override>,
    /// By number.
    pub opaque_ports: PortSet,
}

/// Where a share of a Service's requests goes instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// A Service's full name.
    pub name: Arc<str>,
    /// `None`: the port that was asked for.
    pub port: Option<u16>,
    /// Of 10000 for "one".
    pub weight: u32,
}
