//! What `GetProfile` says of an original destination (B.4).

use crate::Endpoint;
use std::sync::Arc;

/// An original destination, resolved: a service by name, a single endpoint, or neither.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// The service's name, `svc.ns.svc.cluster.local`; its endpoints come from `Get`. `None`: not a service.
    pub service: Option<Arc<str>>,
    /// No protocol detection: bytes only.
    pub opaque: bool,
    /// The one endpoint of an address that is not a service's.
    pub endpoint: Option<Endpoint>,
}
