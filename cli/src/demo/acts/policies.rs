//! Acts 5 and 6: a Server denies, a policy admits.

use super::{LEGACY_APP_CLUSTER_URL, Seen, summary};
use crate::demo::admin;
use crate::demo::layout::{CLIENT, VM, Workload};
use crate::demo::load::Tally;
use crate::demo::world::World;
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use std::time::{Duration, Instant};

/// The guide's Server.
const SERVER: &str = "in-cluster-endpoint";
/// How long a changed manifest may take to reach the policy controller, and how often it is asked.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// One of `/servers.json`.
#[derive(Deserialize)]
struct ServerStatus {
    name: String,
    selected: Vec<serde_json::Value>,
    message: String,
}

/// Requests that must all be answered alike once the change has arrived.
const REQUESTS: u64 = 20;

pub(super) fn server_denies_by_default(world: &mut World<'_>) -> Result<Seen> {
    world.manifests.as_the_guide_has_it()?;
    let status = server_status(world, |ports| ports == 0)?;
    let guide = answers(world, &VM, 200)?;
    world.restore()?;
    world.manifests.with_server()?;
    server_status(world, |ports| ports > 0)?;
    let (vm, client) = (answers(world, &VM, 403)?, answers(world, &CLIENT, 403)?);
    let text = format!("http-port: {}, the Server {status}; http: VM {}; client {}", guide.1, vm.1, client.1);
    Ok(Seen::new(guide.0 && vm.0 && client.0, text))
}

pub(super) fn policy_admits_the_vm(world: &mut World<'_>) -> Result<Seen> {
    world.manifests.with_server()?;
    let before = answers(world, &VM, 403)?;
    world.manifests.with_authorization()?;
    let (vm, client) = (answers(world, &VM, 200)?, answers(world, &CLIENT, 403)?);
    let text = format!("before: VM {}; after: VM {}; client {}", before.1, vm.1, client.1);
    Ok(Seen::new(before.0 && vm.0 && client.0, text))
}

/// Waits until the pods answer with this status, then whether all of so many requests are answered so.
fn answers(world: &World<'_>, from: &Workload, status: u16) -> Result<(bool, String)> {
    let all = |tally: &Tally| tally.status(status) == tally.requests;
    world.ask_until(from, LEGACY_APP_CLUSTER_URL, all)?;
    let tally = world.ask(from, LEGACY_APP_CLUSTER_URL, REQUESTS)?;
    Ok((all(&tally), summary(&tally)))
}

/// Waits until the Server selects so many ports; what the policy controller then says of it.
fn server_status(world: &World<'_>, wanted: impl Fn(usize) -> bool) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let statuses = admin::fetch(world.control_plane(), admin::POLICY, "/servers.json")?;
        let statuses: Vec<ServerStatus> = serde_json::from_str(&statuses).context("/servers.json is not understood")?;
        match statuses.into_iter().find(|server| server.name == SERVER) {
            Some(server) if wanted(server.selected.len()) => return Ok(server.message),
            other if Instant::now() > deadline => {
                bail!("the Server {SERVER} {}", other.map_or_else(|| "is not known".to_owned(), |s| s.message))
            }
            _ => std::thread::sleep(POLL),
        }
    }
}
