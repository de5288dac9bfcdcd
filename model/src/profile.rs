//! What `GetProfile` says of an original destination (B.4).

use crate::{Endpoint, Labels, Meta};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// An original destination, resolved: a service by name, a single endpoint, or neither.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profile {
    /// The service's name, `svc.ns.svc.cluster.local`; its endpoints come from `Get`. `None`: not a service.
    pub service: Option<Arc<str>>,
    /// No protocol detection: bytes only.
    pub opaque: bool,
    /// The one endpoint of an address that is not a service's.
    pub endpoint: Option<Endpoint>,
    /// The first one that matches a request counts.
    pub routes: Arc<[ProfileRoute]>,
    /// `None`: nothing is sent again.
    pub retry_budget: Option<RetryBudget>,
    /// Where requests go instead, by weight; empty: to the service itself.
    pub overrides: Arc<[WeightedAuthority]>,
    /// The Service, and the port that was asked for.
    pub parent: Option<Meta>,
    /// The ServiceProfile that wrote the routes.
    pub source: Option<Meta>,
}

/// A kind of request, and how its responses are judged.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfileRoute {
    pub condition: RequestMatch,
    /// For the metrics of its requests: `route` and its name.
    pub labels: Arc<Labels>,
    /// The first one that matches a response counts; none: success, unless the status is 5xx.
    pub response_classes: Vec<ResponseClass>,
    pub retryable: bool,
    /// From the request's beginning, over all tries.
    pub timeout: Option<Duration>,
}

/// Which requests; `All` of nothing is every one, `Any` of nothing is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestMatch {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    /// A regular expression that matches the whole path.
    Path(Arc<str>),
    /// In upper case.
    Method(Arc<str>),
}

/// Which responses; `All` of nothing is every one, `Any` of nothing is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResponseMatch {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Status(RangeInclusive<u16>),
}

/// Responses that are failures, or are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseClass {
    pub condition: ResponseMatch,
    pub failure: bool,
}

/// How much may be sent again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudget {
    /// Retries as a share of requests, 0 to 1000.
    pub ratio: f32,
    /// So many are allowed in any case.
    pub min_per_second: u32,
    /// For so long a request counts: 1 to 60 seconds.
    pub ttl: Duration,
}

impl RetryBudget {
    /// Linkerd's, where a ServiceProfile says nothing.
    pub const DEFAULT: Self = Self { ratio: 0.2, min_per_second: 10, ttl: Duration::from_secs(10) };

    /// What Linkerd's proxy would refuse of the budget: the field, and why.
    pub fn mistake(&self) -> Option<(&'static str, &'static str)> {
        if !(0.0..=1000.0).contains(&self.ratio) {
            return Some(("retry_ratio", "it is not between 0 and 1000"));
        }
        let ttl = Duration::from_secs(1)..=Duration::from_secs(60);
        (!ttl.contains(&self.ttl)).then_some(("ttl", "it is not between 1 and 60 seconds"))
    }
}

/// A `name:port` to ask `Get` for, and its share of the requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightedAuthority {
    pub authority: Arc<str>,
    /// Against the sum of its neighbours; Linkerd sends 10000 for "one". Not zero.
    pub weight: u32,
}
