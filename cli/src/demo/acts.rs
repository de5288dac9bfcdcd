//! The acts: what each expects, and what it sees.

mod endings;
mod policies;
mod traffic;

use super::layout::{LEGACY_APP, LEGACY_APP_CLUSTER, VM, Workload};
use super::load::Tally;
use super::report::Outcome;
use super::world::World;
use anyhow::Result;
use std::fmt::Display;
use std::time::Instant;

/// The guide's two Services.
const LEGACY_APP_URL: &str = "http://legacy-app.mixed-env.svc.cluster.local:80/who-am-i";
const LEGACY_APP_CLUSTER_URL: &str = "http://legacy-app-cluster.mixed-env.svc.cluster.local:80/who-am-i";

/// Who stands behind legacy-app.
const SERVERS: [&Workload; 3] = [&VM, &LEGACY_APP, &LEGACY_APP_CLUSTER];

/// The number of the last act.
pub(crate) const LAST: i64 = ALL.len() as i64;

/// One act. Each brings the world into the state that it needs, so that it can be played alone.
pub(crate) struct Act {
    pub(crate) number: u8,
    pub(crate) name: &'static str,
    rows: &'static [&'static str],
    expected: &'static str,
    play: fn(&mut World<'_>) -> Result<Seen>,
}

/// What came of an act.
struct Seen {
    ok: bool,
    text: String,
}

impl Seen {
    fn new(ok: bool, text: impl Display) -> Self {
        Self { ok, text: text.to_string() }
    }
}

impl Act {
    /// Plays it. An error is an act that did not hold.
    pub(crate) fn perform(&self, world: &mut World<'_>) -> Outcome {
        let started = Instant::now();
        let seen = world.restore().and_then(|()| (self.play)(world));
        let seen = seen.unwrap_or_else(|e| Seen::new(false, format!("{e:#}")));
        Outcome {
            act: self.number,
            name: self.name,
            rows: self.rows,
            expected: self.expected,
            seen: seen.text,
            ok: seen.ok,
            seconds: started.elapsed().as_secs_f64(),
        }
    }
}

/// In the order of the guide.
pub(crate) const ALL: [Act; 9] = [
    Act {
        number: 1,
        name: "the client reaches the VM and the pods",
        rows: &["L-018", "L-012"],
        expected: "every request to legacy-app is answered, by the VM and by each pod",
        play: traffic::client_reaches_vm_and_pods,
    },
    Act {
        number: 2,
        name: "the VM reaches the cluster",
        rows: &["L-019"],
        expected: "every request to legacy-app-cluster is answered, by pods only",
        play: traffic::vm_reaches_the_cluster,
    },
    Act {
        number: 3,
        name: "the wire carries TLS 1.3",
        rows: &["L-020"],
        expected: "every connection on the bridge begins as TLS 1.3; the answers' text is nowhere in the capture",
        play: traffic::wire_is_encrypted,
    },
    Act {
        number: 4,
        name: "the server knows the client",
        rows: &["L-020"],
        expected: "l5d-client-id is the client pod's SPIFFE id, and the VM's",
        play: traffic::server_knows_the_client,
    },
    Act {
        number: 5,
        name: "a Server denies by default",
        rows: &["L-021", "L-024"],
        expected: "200 while the guide's Server selects no port (http-port is not http); 403 for all once it selects one",
        play: policies::server_denies_by_default,
    },
    Act {
        number: 6,
        name: "a policy admits the VM alone",
        rows: &["L-022"],
        expected: "200 for the VM's SPIFFE id, 403 for the client pod",
        play: policies::policy_admits_the_vm,
    },
    Act {
        number: 7,
        name: "a pod ends under load",
        rows: &["T-53"],
        expected: "marked terminating, SIGTERM, drained, replaced: no POST fails",
        play: endings::pod_ends_gracefully,
    },
    Act {
        number: 8,
        name: "a pod is killed under load",
        rows: &["T-53"],
        expected: "SIGKILL to application and proxy: at most the 8 POSTs in flight fail, which nobody may send again",
        play: endings::pod_is_killed,
    },
    Act {
        number: 9,
        name: "SVIDs rotate under load",
        rows: &["T-05"],
        expected: "every proxy gets a newer certificate; no POST fails",
        play: endings::svids_rotate,
    },
];

/// A tally in a line.
fn summary(tally: &Tally) -> String {
    fn counts<K: Display>(of: &std::collections::BTreeMap<K, u64>) -> Vec<String> {
        of.iter().map(|(what, count)| format!("{what} ×{count}")).collect()
    }
    let parts =
        [counts(&tally.statuses), counts(&tally.failures), counts(&tally.payloads), counts(&tally.proxy_errors)];
    parts.concat().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_are_numbered_from_one() {
        assert!(ALL.iter().zip(1..).all(|(act, number)| act.number == number));
    }
}
