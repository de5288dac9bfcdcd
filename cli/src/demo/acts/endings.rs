//! Acts 7 to 9: pods that end and certificates that rotate, all under load.

use super::{LEGACY_APP_URL, SERVERS, Seen, summary};
use crate::demo::layout::{CLIENT, LEGACY_APP, WORKLOADS};
use crate::demo::load::Tally;
use crate::demo::traffic::Load;
use crate::demo::world::World;
use anyhow::{Result, bail};
use outrigger_testkit::wait_for;
use std::time::{Duration, Instant};

/// Connections of the load, each with one request in flight.
const CONNECTIONS: u32 = 8;
/// How long a cluster takes to notice that a node's pod is gone: the load runs into the dead pod meanwhile.
const UNNOTICED: Duration = Duration::from_secs(1);
/// How long a policy may take to be gone.
const OPENING: Duration = Duration::from_secs(10);
/// More than the life of one SVID.
const ROTATION: Duration = Duration::from_secs(25);

pub(super) fn pod_ends_gracefully(world: &mut World<'_>) -> Result<Seen> {
    let load = load_on_legacy_app(world)?;
    world.manifests.mark_terminating(&LEGACY_APP)?;
    world.running(&LEGACY_APP)?.end_gracefully()?;
    world.manifests.delete_pod(&LEGACY_APP)?;
    world.restore()?;
    all_answer(world)?;
    let tally = load.stop()?;
    Ok(Seen::new(tally.failed() == 0 && reached(&tally), under_load(&tally)))
}

pub(super) fn pod_is_killed(world: &mut World<'_>) -> Result<Seen> {
    let load = load_on_legacy_app(world)?;
    world.running(&LEGACY_APP)?.kill()?;
    std::thread::sleep(UNNOTICED);
    world.restore()?;
    all_answer(world)?;
    let tally = load.stop()?;
    Ok(Seen::new(tally.failed() <= u64::from(CONNECTIONS) && reached(&tally), under_load(&tally)))
}

pub(super) fn svids_rotate(world: &mut World<'_>) -> Result<Seen> {
    let load = load_on_legacy_app(world)?;
    let before = expiries(world)?;
    let newer = |world: &mut World<'_>| expiries(world).is_ok_and(|now| now.iter().zip(&before).all(|(n, b)| n > b));
    wait_for("newer certificates of all proxies", ROTATION, || newer(world))?;
    let after = expiries(world)?;
    let tally = load.stop()?;
    let gained = WORKLOADS.iter().zip(before.iter().zip(&after));
    let gained: Vec<_> = gained.map(|(w, (before, after))| format!("{} +{:.0} s", w.host, after - before)).collect();
    Ok(Seen::new(tally.failed() == 0, format!("certificates: {}; {}", gained.join(", "), under_load(&tally))))
}

/// When each proxy's certificate expires, in the order of the workloads.
fn expiries(world: &mut World<'_>) -> Result<Vec<f64>> {
    WORKLOADS.iter().map(|workload| world.running(workload)?.certificate_expiry()).collect()
}

/// Load from the client on the Service of VM and pods, once all of them answer.
fn load_on_legacy_app(world: &World<'_>) -> Result<Load> {
    world.manifests.without_policy()?;
    all_answer(world)?;
    world.load(&CLIENT, LEGACY_APP_URL, CONNECTIONS)
}

/// Waits until the VM and each pod answer the client; until a policy is gone everywhere some are denied.
fn all_answer(world: &World<'_>) -> Result<()> {
    let deadline = Instant::now() + OPENING;
    loop {
        let (all, tally) = world.ask_all(&CLIENT, LEGACY_APP_URL, &SERVERS)?;
        if all {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("not all of legacy-app answers: {}", summary(&tally));
        }
    }
}

/// Whether the pod that ended had been under load at all.
fn reached(tally: &Tally) -> bool {
    tally.payloads.contains_key(&LEGACY_APP.payload())
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
