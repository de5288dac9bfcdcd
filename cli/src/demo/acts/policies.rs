//! Acts 5 and 6: a Server denies, a policy admits.

use super::{LEGACY_APP_CLUSTER_URL, Seen, summary};
use crate::demo::admin;
use crate::demo::layout::{CLIENT, VM, Workload};
use crate::demo::load::Tally;
use crate::demo::world::World;
use anyhow::{Context as _, Result};
use serde_json::Value;

/// Requests that must all be answered alike once the change has arrived.
const REQUESTS: u64 = 20;

pub(super) fn server_denies_by_default(world: &mut World<'_>) -> Result<Seen> {
    world.manifests.with_the_guides_port_name()?;
    world.manifests.with_server()?;
    let status = server_status(world)?;
    let as_the_guide = answers(world, &VM, 200)?;
    world.restore()?;
    let denied = [answers(world, &VM, 403)?, answers(world, &CLIENT, 403)?];
    let ok = as_the_guide.0 && denied.iter().all(|d| d.0);
    let text = format!(
        "guide's port name: {}, Server {status}; matching: VM {}; client {}",
        as_the_guide.1, denied[0].1, denied[1].1
    );
    Ok(Seen::new(ok, text))
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

/// What the policy controller says of the Server.
fn server_status(world: &World<'_>) -> Result<String> {
    let servers: Value = serde_json::from_str(&admin::fetch(world.control_plane(), admin::POLICY, "/servers.json")?)
        .context("/servers.json is not JSON")?;
    Ok(servers.to_string())
}
