//! ExternalWorkload: a machine outside the cluster, as a member of the mesh.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A workload outside the cluster.
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "workload.linkerd.io",
    version = "v1beta1",
    kind = "ExternalWorkload",
    category = "external",
    namespaced,
    status = "ExternalWorkloadStatus",
    derive = "PartialEq",
    doc = "A workload outside the cluster that is a member of the mesh.",
    printcolumn(name = "Identity", type_ = "string", json_path = ".spec.meshTLS.identity"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct ExternalWorkloadSpec {
    /// How the workload proves who it is.
    // v1alpha1 writes it `meshTls`; which spelling belongs to which version is checked against the version's schema.
    #[serde(rename = "meshTLS", alias = "meshTls")]
    pub mesh_tls: WorkloadTls,
    /// The ports that the workload serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<Port>>,
    /// The workload's addresses: one of each family at most.
    #[serde(rename = "workloadIPs", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2))]
    pub workload_ips: Option<Vec<WorkloadIp>>,
}

/// How a workload proves who it is.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadTls {
    /// The identity in the workload's certificate: a SPIFFE id or a DNS name.
    #[schemars(length(min = 1, max = 2048))]
    pub identity: String,
    /// The DNS name by which clients ask for the workload (SNI).
    #[schemars(length(min = 1, max = 253))]
    pub server_name: String,
}

/// A port that the workload serves.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct Port {
    /// The name by which Services and Servers refer to the port; unique in the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    #[serde(default)]
    pub protocol: Transport,
}

/// A port's transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Transport {
    #[default]
    Tcp,
    Udp,
}

/// An address of the workload.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct WorkloadIp {
    /// An IPv4 or IPv6 address.
    pub ip: String,
}

/// The workload's state.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct ExternalWorkloadStatus {
    /// Conditions; traffic is sent to a workload whose condition Ready is True.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Vec<WorkloadCondition>>,
}

/// A condition of a workload.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadCondition {
    /// The condition's name, such as Ready.
    #[serde(rename = "type")]
    #[schemars(length(max = 316))]
    pub type_: String,
    #[schemars(extend("enum" = ["True", "False", "Unknown"]))]
    pub status: String,
    /// A word for why the condition changed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub reason: Option<String>,
    /// A sentence about the last change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768))]
    pub message: Option<String>,
    /// When the workload was last probed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_probe_time: Option<Time>,
    /// When the condition last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
}
