//! The flags that every controller has.

use clap::Args;
use std::path::PathBuf;

/// Where the objects and the identity come from, and what is logged.
#[derive(Debug, Clone, Args)]
pub struct Flags {
    /// Folder of manifests, followed for changes
    #[arg(long, value_name = "DIR")]
    pub manifests: PathBuf,
    /// Socket of the SPIFFE Workload API; without it only loopback is served, in plaintext
    #[arg(long, value_name = "PATH")]
    pub spire_socket: Option<PathBuf>,
    /// PEM file of trust anchors of our own trust domain, beside those that the Workload API sends
    #[arg(long, value_name = "FILE", requires = "spire_socket")]
    pub trust_anchors: Option<PathBuf>,
    /// What to log: a level, or levels by module
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log_level: String,
    /// How to log
    #[arg(long, value_name = "FORMAT", default_value = "plain", value_parser = ["plain", "json"])]
    pub log_format: String,
}
