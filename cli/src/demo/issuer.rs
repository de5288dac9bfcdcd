//! Where the demo's SVIDs come from: our own issuer, or a SPIRE agent that is there already.

use super::Play;
use super::binaries::Binaries;
use super::layout::{self, TRUST_DOMAIN};
use anyhow::{Context as _, Result, bail};
use outrigger_testkit::{Host, Process, Program};
use serde_json::json;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Short, so that every SVID rotates while the demo runs.
const TTL: &str = "20s";

/// A Workload API and what to trust it by.
pub(crate) struct Issuer {
    pub(crate) socket: PathBuf,
    pub(crate) anchors: PathBuf,
    /// Our own; held so that it runs as long as the demo.
    _process: Option<Process>,
}

impl Issuer {
    /// Starts our own issuer on the machine, or takes the agent that the user names.
    pub(crate) fn start(play: &Play, binaries: &Binaries, host: &Host, folder: &Path) -> Result<Self> {
        if let (Some(socket), Some(anchors)) = (&play.spire_socket, &play.trust_anchors) {
            if !socket.exists() {
                bail!("--spire-socket {} does not exist: is the agent running?", socket.display());
            }
            return Ok(Self {
                socket: std::path::absolute(socket)?,
                anchors: publish(anchors, folder)?,
                _process: None,
            });
        }
        let (socket, state) = (folder.join("spire/api.sock"), folder.join("issuer"));
        let entries = folder.join("entries.yaml");
        fs::write(&entries, registrations()).with_context(|| format!("cannot write {}", entries.display()))?;
        let program = Program::new(&binaries.outrigger)
            .args(["identity", "serve", "--trust-domain", TRUST_DOMAIN, "--ttl", TTL])
            .args(["--group", &layout::GROUP.to_string()])
            .args([Path::new("--socket"), &socket, Path::new("--entries"), &entries])
            .args([Path::new("--state-dir"), &state]);
        let mut process = host.spawn(&play.lasting(program))?;
        process.wait_for("the issuer's socket", Duration::from_secs(10), |_| socket.exists())?;
        Ok(Self { socket, anchors: publish(&state.join("ca.crt"), folder)?, _process: Some(process) })
    }
}

/// Copies the trust anchors to where the controllers' user can read them.
fn publish(anchors: &Path, folder: &Path) -> Result<PathBuf> {
    let published = folder.join("trust-anchors.pem");
    let copied =
        fs::copy(anchors, &published).and_then(|_| fs::set_permissions(&published, Permissions::from_mode(0o644)));
    copied.with_context(|| format!("cannot copy the trust anchors {}", anchors.display()))?;
    Ok(published)
}

/// The entries file. JSON is YAML.
fn registrations() -> String {
    let entry = |e: layout::Entry| {
        let names: Vec<_> = e.dns_name.into_iter().collect();
        json!({ "uid": e.uid, "spiffeId": e.id, "dnsNames": names })
    };
    json!({ "entries": layout::entries().into_iter().map(entry).collect::<Vec<_>>() }).to_string()
}

/// The commands that give a SPIRE server the same entries, as short-lived as ours.
pub(crate) fn spire_commands() -> String {
    let command = |e: layout::Entry| {
        let dns = e.dns_name.map(|name| format!(" -dns {name}")).unwrap_or_default();
        format!(
            "spire-server entry create -parentID spiffe://{TRUST_DOMAIN}/agent -spiffeID {}{dns} -selector unix:uid:{} -x509SVIDTTL 20",
            e.id, e.uid
        )
    };
    layout::entries().into_iter().map(command).collect::<Vec<_>>().join("\n")
}
