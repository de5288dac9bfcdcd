//! Who this workload is and who says so.

use crate::env::Environment;
use outrigger_model::{DnsName, Identity};
use std::path::PathBuf;

/// This workload's identity and where its SVID comes from.
#[derive(Debug, Clone)]
pub struct IdentityConfig {
    pub id: Identity,
    /// The SNI by which peers ask for this workload.
    pub server_name: DnsName,
    /// Perhaps with `unix:` before it.
    pub socket: PathBuf,
    pub trust_anchors: String,
}

impl IdentityConfig {
    pub(super) fn read(env: &mut Environment<'_>) -> Option<Self> {
        if env.optional::<String>("IDENTITY_DISABLED").is_some() {
            env.mistake("IDENTITY_DISABLED", "a proxy without an identity is no member of the mesh; unset it");
        }
        let trust_anchors: Option<String> = env.required("IDENTITY_TRUST_ANCHORS");
        if let Some(Err(error)) = trust_anchors.as_deref().map(outrigger_mtls::parse_anchors) {
            env.mistake("IDENTITY_TRUST_ANCHORS", error);
        }
        let both: Option<DnsName> = env.optional("IDENTITY_LOCAL_NAME");
        let id = env.optional("IDENTITY_SERVER_ID").or_else(|| both.clone().map(Identity::Dns));
        let server_name = env.optional("IDENTITY_SERVER_NAME").or(both);
        for (name, missing) in [("IDENTITY_SERVER_ID", id.is_none()), ("IDENTITY_SERVER_NAME", server_name.is_none())] {
            if missing && !env.has(name) {
                env.mistake(name, "is not set; set it, or IDENTITY_LOCAL_NAME for both");
            }
        }
        let older: Option<PathBuf> = env.optional("IDENTITY_SPIRE_SOCKET");
        let socket = env.optional("IDENTITY_SPIRE_WORKLOAD_API_ADDRESS").or(older);
        if socket.is_none() {
            env.mistake(
                "IDENTITY_SPIRE_SOCKET",
                "is not set; set it to the Workload API's socket, unix:///path/to/api.sock",
            );
        }
        Some(Self { id: id?, server_name: server_name?, socket: socket?, trust_anchors: trust_anchors? })
    }
}
