//! Who may come in: AuthorizationPolicy and its authentications, and the older ServerAuthorization.

use crate::{AuthenticationRef, IdentityRef, Network, Selector, TargetRef};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `*`, a DNS name that may begin with `*.`, or a SPIFFE id that may end in `/*` (SPIFFE-ID §2.1, §2.2).
const IDENTITY: &str = concat!(
    r"^(\*|(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
    r"|spiffe://[a-z0-9._-]+(/(\.{0,2}[A-Za-z0-9_-][A-Za-z0-9._-]*|\.{3}[A-Za-z0-9._-]*))*(/\*)?)$"
);
const LABEL: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// The target admits who meets every required authentication; with none required, it admits everybody.
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "policy.linkerd.io",
    version = "v1alpha1",
    kind = "AuthorizationPolicy",
    shortname = "authzpolicy",
    namespaced,
    derive = "PartialEq",
    doc = "Admits clients that meet every required authentication to a Server, a route or a Namespace."
)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationPolicySpec {
    /// What the clients are admitted to.
    pub target_ref: TargetRef,
    /// All of these must be met.
    pub required_authentication_refs: Vec<AuthenticationRef>,
}

/// Clients by their identities.
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "policy.linkerd.io",
    version = "v1alpha1",
    kind = "MeshTLSAuthentication",
    root = "MeshTlsAuthentication",
    shortname = "meshtlsauthn",
    namespaced,
    derive = "PartialEq",
    doc = "Clients by the identities that their certificates prove."
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["identities"]}, {"required": ["identityRefs"]}]))]
pub struct MeshTlsAuthenticationSpec {
    /// SPIFFE ids or DNS names. `*` is any identity, `*.suffix` any DNS name below it, `spiffe://domain/path/*` any id
    /// below that path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), inner(length(min = 1, max = 2048), regex(pattern = IDENTITY)))]
    pub identities: Option<Vec<String>>,
    /// ServiceAccounts, or Namespaces with all of theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub identity_refs: Option<Vec<IdentityRef>>,
}

/// Clients by their addresses.
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "policy.linkerd.io",
    version = "v1alpha1",
    kind = "NetworkAuthentication",
    shortname = "netauthn",
    shortname = "networkauthn",
    namespaced,
    derive = "PartialEq",
    doc = "Clients by the networks that they come from."
)]
pub struct NetworkAuthenticationSpec {
    /// The client's address must be in one of these.
    #[schemars(length(min = 1))]
    pub networks: Vec<Network>,
}

/// Admits clients to Servers; AuthorizationPolicy is its successor.
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "policy.linkerd.io",
    version = "v1beta1",
    kind = "ServerAuthorization",
    shortname = "saz",
    shortname = "serverauthz",
    shortname = "srvauthz",
    namespaced,
    derive = "PartialEq",
    doc = "Admits clients to Servers. AuthorizationPolicy can do more.",
    printcolumn(
        name = "Server",
        type_ = "string",
        json_path = ".spec.server.name",
        description = "The Server that clients are admitted to"
    )
)]
pub struct ServerAuthorizationSpec {
    pub server: ServerRef,
    pub client: Client,
}

/// Servers of the same namespace.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[schemars(extend("oneOf" = [{"required": ["name"]}, {"required": ["selector"]}]))]
pub struct ServerRef {
    /// The one Server of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = LABEL))]
    pub name: Option<String>,
    /// Every Server with these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
}

/// The clients that are admitted: from one of the networks, and either unauthenticated or by mesh TLS.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct Client {
    /// The cluster's networks if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks: Option<Vec<Network>>,
    /// Admits clients without TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unauthenticated: Option<bool>,
    /// Admits clients by mesh TLS.
    #[serde(rename = "meshTLS", default, skip_serializing_if = "Option::is_none")]
    pub mesh_tls: Option<MeshTls>,
}

/// Clients that speak mesh TLS.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeshTls {
    /// Admits clients that prove no identity.
    #[serde(rename = "unauthenticatedTLS", default, skip_serializing_if = "Option::is_none")]
    pub unauthenticated_tls: Option<bool>,
    /// As a MeshTLSAuthentication's identities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(inner(length(min = 1, max = 2048), regex(pattern = IDENTITY)))]
    pub identities: Option<Vec<String>>,
    /// ServiceAccounts of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_accounts: Option<Vec<ServiceAccountRef>>,
}

/// A ServiceAccount.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct ServiceAccountRef {
    #[schemars(regex(pattern = LABEL))]
    pub name: String,
    /// The authorization's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = LABEL))]
    pub namespace: Option<String>,
}
