//! Acts 1 to 4: who answers, what the wire shows, and whom the server sees.

use super::{LEGACY_APP_CLUSTER_URL, LEGACY_APP_URL, SERVERS, Seen, summary};
use crate::demo::layout::{CLIENT, LEGACY_APP, LEGACY_APP_CLUSTER, VM, WORKLOADS, Workload};
use crate::demo::wire::chose_tls_1_3;
use crate::demo::world::World;
use anyhow::{Context as _, Result};
use outrigger_testkit::Flow;

pub(super) fn client_reaches_vm_and_pods(world: &mut World<'_>) -> Result<Seen> {
    world.manifests.without_policy()?;
    let (all, tally) = world.ask_all(&CLIENT, LEGACY_APP_URL, &SERVERS)?;
    Ok(Seen::new(all, summary(&tally)))
}

pub(super) fn vm_reaches_the_cluster(world: &mut World<'_>) -> Result<Seen> {
    world.manifests.without_policy()?;
    let tally = world.ask(&VM, LEGACY_APP_CLUSTER_URL, 40)?;
    let pods = [&LEGACY_APP, &LEGACY_APP_CLUSTER].map(Workload::payload);
    let by_pods = tally.payloads.keys().all(|payload| pods.contains(payload));
    Ok(Seen::new(tally.status(200) == 40 && by_pods, summary(&tally)))
}

/// Judges every frame since before the first proxy started.
pub(super) fn wire_is_encrypted(world: &mut World<'_>) -> Result<Seen> {
    world.manifests.without_policy()?;
    let tally = world.ask(&CLIENT, LEGACY_APP_URL, 12)?;
    let packets = world.capture.take().context("the capture is over")?.packets()?;
    let mut flows = packets.tcp_flows();
    flows.retain(|flow| !flow.sent.bytes().is_empty() || !flow.received.bytes().is_empty());
    let between = flows.iter().filter(|f| WORKLOADS.iter().any(|w| f.server.ip().to_string() == w.address)).count();
    if let Some(flow) = flows.iter().find(|flow| !is_tls_1_3(flow)) {
        return Ok(Seen::new(false, format!("not TLS 1.3: {flow}")));
    }
    if let Some(place) = ["hello-from-", "who-am-i", "HTTP/1.1"].iter().find_map(|text| packets.find(text.as_bytes())) {
        return Ok(Seen::new(false, format!("readable text in {place}")));
    }
    // What is readable on every such wire, the name that the client asks for, shows that the search finds what is there.
    let searched = packets.find(b"external-workload.cluster.local").is_some();
    let (all, frames) = (flows.len(), packets.frames.len());
    let text =
        format!("{all} connections, {between} of them between workloads, all TLS 1.3; no text in {frames} frames");
    Ok(Seen::new(searched && between > 0 && tally.status(200) == 12, text))
}

/// Whether both sides, as far as they said anything, agreed on it.
fn is_tls_1_3(flow: &Flow) -> bool {
    let answered = flow.received.bytes();
    flow.starts_with_client_hello() && (answered.is_empty() || chose_tls_1_3(answered))
}

pub(super) fn server_knows_the_client(world: &mut World<'_>) -> Result<Seen> {
    world.manifests.without_policy()?;
    let mut ok = true;
    let mut seen = Vec::new();
    for from in [&CLIENT, &VM] {
        let tally = world.ask(from, LEGACY_APP_CLUSTER_URL, 8)?;
        let ids: Vec<_> = tally.client_ids.keys().cloned().collect();
        ok &= tally.status(200) == 8 && ids == [from.id()];
        seen.push(format!("{} is {}", from.host, ids.join(" and ")));
    }
    Ok(Seen::new(ok, seen.join("; ")))
}
