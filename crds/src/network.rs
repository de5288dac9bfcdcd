//! Networks of clients.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A network of clients, without its exceptions.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct Network {
    /// The network, or a single address.
    pub cidr: String,
    /// Networks or addresses inside `cidr` that do not belong to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub except: Option<Vec<String>>,
}
