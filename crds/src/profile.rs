//! ServiceProfile: how one Service is called, by everybody or by the clients of one namespace.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// How a Service is called. The object's name is the Service's full name, `svc.ns.svc.cluster.local`; in the Service's
/// namespace it is for everybody, in another one for the clients there.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "linkerd.io",
    version = "v1alpha2",
    kind = "ServiceProfile",
    shortname = "sp",
    namespaced,
    derive = "PartialEq",
    doc = "How a Service is called: routes, retries, timeouts, and where its traffic goes instead."
)]
#[serde(rename_all = "camelCase")]
pub struct ServiceProfileSpec {
    /// Kinds of requests; the first that matches counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<ProfileRoute>>,
    /// How much may be sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_budget: Option<RetryBudget>,
    /// Where requests go instead, by weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dst_overrides: Option<Vec<WeightedDst>>,
    /// Ports without protocol detection, by number or range, beside those of the Service's annotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opaque_ports: Option<Vec<String>>,
}

/// A kind of request.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProfileRoute {
    /// The label `route` in metrics.
    pub name: String,
    /// Which requests.
    pub condition: RequestCondition,
    /// How responses are judged; the first that matches counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_classes: Option<Vec<ResponseClass>>,
    /// Whether failed requests are sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_retryable: Option<bool>,
    /// For the whole request with all of its tries, such as 300ms or 1m30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
}

/// Which requests. All of what is written must match.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestCondition {
    /// A regular expression for the whole path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_regex: Option<String>,
    /// The method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Conditions that must all match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "conditions")]
    pub all: Option<Vec<Self>>,
    /// Conditions of which one must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "conditions")]
    pub any: Option<Vec<Self>>,
    /// A condition that must not match; of a list, none may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_form")]
    pub not: Option<OneOrMany<Self>>,
}

/// A condition, or a list of them: Linkerd's schema has a list where its controller reads one.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    Many(Vec<T>),
    One(Box<T>),
}

/// Responses that are failures, or are not.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResponseClass {
    /// Which responses.
    pub condition: ResponseCondition,
    /// Whether they are failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_failure: Option<bool>,
}

/// Which responses. All of what is written must match.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResponseCondition {
    /// Statuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusRange>,
    /// Conditions that must all match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "conditions")]
    pub all: Option<Vec<Self>>,
    /// Conditions of which one must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "conditions")]
    pub any: Option<Vec<Self>>,
    /// A condition that must not match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_form")]
    pub not: Option<OneOrMany<Self>>,
}

/// HTTP statuses, both ends included. One end alone is that status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatusRange {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 599))]
    pub min: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 599))]
    pub max: Option<u16>,
}

/// How much may be sent again.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetryBudget {
    /// Retries as a share of requests: 0.2 is one for five.
    pub retry_ratio: f32,
    /// So many are allowed in any case.
    pub min_retries_per_second: u32,
    /// For so long a request counts, such as 10s.
    pub ttl: String,
}

/// Where a share of the requests goes.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct WeightedDst {
    /// A Service's full name, and perhaps a port; without one the port that was asked for.
    pub authority: String,
    /// The share against the others, as a quantity: 1, 0.5 or 500m.
    pub weight: IntOrString,
}

/// Conditions hold conditions, which a structural schema cannot say.
fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}})
}

fn any_form(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}
