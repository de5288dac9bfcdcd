//! Acts 7 to 9: pods that end and certificates that rotate, all under load.

use super::{LEGACY_APP_URL, Seen, summary};
use crate::demo::layout::{CLIENT, LEGACY_APP, LEGACY_APP_CLUSTER, VM, Workload};
use crate::demo::load::Tally;
use crate::demo::traffic::Load;
use crate::demo::world::World;
use anyhow::Result;
use outrigger_testkit::wait_for;
use std::time::Duration;

/// Connections of the load, each with one request in flight.
const CONNECTIONS: u32 = 8;
/// How long a cluster takes to notice that a node's pod is gone: the load runs into the dead pod meanwhile.
const UNNOTICED: Duration = Duration::from_secs(1);
/// More than the life of one SVID.
const ROTATION: Duration = Duration::from_secs(25);

pub(super) fn pod_ends_gracefully(world: &mut World<'_>) -> Result<Seen> {
    let load = load_on_legacy_app(world)?;
    world.manifests.mark_terminating(&LEGACY_APP)?;
    world.running(&LEGACY_APP)?.end_gracefully()?;
    world.manifests.delete_pod(&LEGACY_APP)?;
    world.restore()?;
    let tally = load.stop()?;
    Ok(Seen::new(tally.failed() == 0, under_load(&tally)))
}

pub(super) fn pod_is_killed(world: &mut World<'_>) -> Result<Seen> {
    let load = load_on_legacy_app(world)?;
    world.running(&LEGACY_APP)?.kill()?;
    std::thread::sleep(UNNOTICED);
    world.restore()?;
    let tally = load.stop()?;
    Ok(Seen::new(tally.failed() <= u64::from(CONNECTIONS), under_load(&tally)))
}

pub(super) fn svids_rotate(world: &mut World<'_>) -> Result<Seen> {
    let involved = [&CLIENT, &VM, &LEGACY_APP, &LEGACY_APP_CLUSTER];
    let load = load_on_legacy_app(world)?;
    let mut rotated = Vec::new();
    for workload in involved {
        let running = world.running(workload)?;
        let before = running.certificate_expiry()?;
        let newer = || running.certificate_expiry().is_ok_and(|expiry| expiry > before);
        wait_for(&format!("a newer certificate of {}", workload.host), ROTATION, newer)?;
        rotated.push(format!("{} +{:.0} s", workload.host, running.certificate_expiry()? - before));
    }
    let tally = load.stop()?;
    Ok(Seen::new(tally.failed() == 0, format!("{}; {}", rotated.join(", "), under_load(&tally))))
}

/// Load from the client on the Service of VM and pods, once all of them answer.
fn load_on_legacy_app(world: &World<'_>) -> Result<Load> {
    world.manifests.without_policy()?;
    let servers = [&VM, &LEGACY_APP, &LEGACY_APP_CLUSTER].map(Workload::payload);
    let all = |tally: &Tally| tally.failed() == 0 && servers.iter().all(|server| tally.payloads.contains_key(server));
    world.ask_until(&CLIENT, LEGACY_APP_URL, all)?;
    world.load(&CLIENT, LEGACY_APP_URL, CONNECTIONS)
}

fn under_load(tally: &Tally) -> String {
    format!(
        "{} requests in {:.1} s, longest gap {} ms: {}",
        tally.requests,
        tally.seconds,
        tally.longest_gap_ms,
        summary(tally)
    )
}
