//! Server: a port of some workloads, with its protocol and who may come in.

use crate::Selector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A port of the selected workloads. From its existence on, only what a policy allows comes in.
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[expect(clippy::duplicated_attributes, reason = "every printed column names its type")]
#[kube(
    group = "policy.linkerd.io",
    version = "v1beta3",
    kind = "Server",
    shortname = "srv",
    namespaced,
    derive = "PartialEq",
    doc = "A port of some workloads: its protocol, and who may come in.",
    printcolumn(
        name = "Port",
        type_ = "string",
        json_path = ".spec.port",
        description = "The port, by number or name"
    ),
    printcolumn(
        name = "Protocol",
        type_ = "string",
        json_path = ".spec.proxyProtocol",
        description = "What the port speaks"
    ),
    printcolumn(
        name = "Access Policy",
        type_ = "string",
        json_path = ".spec.accessPolicy",
        description = "Who may come in where no policy matches"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["podSelector"]}, {"required": ["externalWorkloadSelector"]}]))]
pub struct ServerSpec {
    /// Selects pods of the same namespace; empty selects all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<Selector>,
    /// Selects ExternalWorkloads of the same namespace; empty selects all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_workload_selector: Option<Selector>,
    /// The port's number, or its name in the workload's own list of ports.
    pub port: IntOrString,
    /// What the port speaks. Replaces the annotation config.linkerd.io/opaque-ports for it.
    #[serde(default)]
    pub proxy_protocol: ProxyProtocol,
    /// Who may come in where no policy matches.
    #[serde(default)]
    pub access_policy: AccessPolicy,
}

/// What a port speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ProxyProtocol {
    #[default]
    #[serde(rename = "unknown")]
    Unknown,
    #[serde(rename = "HTTP/1")]
    Http1,
    #[serde(rename = "HTTP/2")]
    Http2,
    #[serde(rename = "gRPC")]
    Grpc,
    #[serde(rename = "opaque")]
    Opaque,
    #[serde(rename = "TLS")]
    Tls,
}

/// Who may come in where no policy matches: the values of config.linkerd.io/default-inbound-policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AccessPolicy {
    #[default]
    Deny,
    AllUnauthenticated,
    AllAuthenticated,
    ClusterUnauthenticated,
    ClusterAuthenticated,
    Audit,
}
