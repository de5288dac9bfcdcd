//! The newest policy of each destination that somebody watches.

use super::{Destination, NoPolicy, Subject};
use crate::index::publish;
use outrigger_model::OutboundPolicy;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::watch;

/// By destination; all who ask about one share one watch.
#[derive(Debug, Default)]
pub(crate) struct Watches(BTreeMap<Destination, watch::Sender<Arc<OutboundPolicy>>>);

impl Watches {
    /// Follows a destination; `policy` is computed if nobody follows it yet.
    pub(crate) fn follow(
        &mut self,
        destination: &Destination,
        policy: impl FnOnce() -> Result<OutboundPolicy, NoPolicy>,
    ) -> Result<watch::Receiver<Arc<OutboundPolicy>>, NoPolicy> {
        if let Some(sender) = self.0.get(destination) {
            return Ok(sender.subscribe());
        }
        let (sender, receiver) = watch::channel(Arc::new(policy()?));
        // Watches whose last reader left are swept each time the number of watches has doubled.
        if self.0.len().is_power_of_two() {
            self.0.retain(|_, sender| !sender.is_closed());
        }
        self.0.insert(destination.clone(), sender);
        Ok(receiver)
    }

    /// Computes anew what is touched. A watch whose destination has no policy any more ends: proxies then ask again, and
    /// learn why.
    pub(crate) fn refresh(
        &mut self,
        touched: &BTreeSet<Subject>,
        policy: impl Fn(&Destination) -> Result<OutboundPolicy, NoPolicy>,
    ) {
        for subject in touched {
            let port = |port| Destination { subject: subject.clone(), port };
            let mut ended = Vec::new();
            for (destination, sender) in self.0.range(port(0)..=port(u16::MAX)) {
                match policy(destination) {
                    Ok(next) => publish(sender, next),
                    Err(_) => ended.push(destination.clone()),
                }
            }
            for destination in ended {
                self.0.remove(&destination);
            }
        }
    }
}
