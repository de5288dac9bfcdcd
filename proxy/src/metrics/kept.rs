//! Series of metrics by their labels, kept while somebody counts and for a while after.

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::registry::Registry;
use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The labels of one series, in the order in which they are shown.
pub(crate) type Labels = Vec<(&'static str, String)>;

/// As many series are told apart; whoever talks to more addresses than that, on purpose perhaps, fills no memory.
const MOST: usize = 10_000;

/// One metric of a group that shares its labels.
pub(crate) struct Metric<G: 'static> {
    pub name: &'static str,
    pub help: &'static str,
    pub of: fn(&G) -> &dyn EncodeMetric,
}

/// A group of metrics for each set of labels. Whoever counts holds a handle: labels are looked up once for it.
pub(crate) struct Kept<G: 'static> {
    metrics: &'static [Metric<G>],
    series: Arc<Mutex<HashMap<Labels, Series<G>>>>,
}

struct Series<G> {
    group: Arc<G>,
    /// Since when nobody holds the handle.
    idle: Option<Instant>,
}

impl<G> Clone for Kept<G> {
    fn clone(&self) -> Self {
        Self { metrics: self.metrics, series: Arc::clone(&self.series) }
    }
}

impl<G: Default + Send + Sync> Kept<G> {
    /// An empty one, shown by the registry.
    pub(crate) fn register(registry: &mut Registry, metrics: &'static [Metric<G>]) -> Self {
        let kept = Self { metrics, series: Arc::default() };
        registry.register_collector(Box::new(kept.clone()));
        kept
    }

    /// The handle for these labels.
    pub(crate) fn of(&self, labels: Labels) -> Arc<G> {
        let mut series = self.series.lock();
        let full = series.len() >= MOST && !series.contains_key(&labels);
        let labels = if full { vec![("overflow", "true".to_owned())] } else { labels };
        let new = || Series { group: Arc::default(), idle: None };
        Arc::clone(&series.entry(labels).or_insert_with(new).group)
    }

    /// Forgets what nobody has held for `retain`.
    pub(crate) fn forget_idle(&self, now: Instant, retain: Duration) {
        self.series.lock().retain(|_, series| {
            if Arc::strong_count(&series.group) > 1 {
                series.idle = None;
                return true;
            }
            now.saturating_duration_since(*series.idle.get_or_insert(now)) < retain
        });
    }
}

impl<G> Debug for Kept<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.metrics.iter().map(|metric| metric.name)).finish()
    }
}

impl<G: Send + Sync> Collector for Kept<G> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let series = self.series.lock();
        for Metric { name, help, of } in self.metrics {
            let Some(first) = series.values().next() else { break };
            let mut family = encoder.encode_descriptor(name, help, None, of(&first.group).metric_type())?;
            for (labels, series) in &*series {
                of(&series.group).encode(family.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::metrics::counter::Counter;

    const METRICS: &[Metric<Counter>] = &[Metric { name: "things", help: "Things", of: |counter| counter }];

    fn shown(registry: &Registry) -> String {
        let mut text = String::new();
        encode(&mut text, registry).unwrap();
        text
    }

    #[test]
    fn s_01_a_flood_of_labels_ends_in_one_series() {
        let kept = Kept::register(&mut Registry::default(), METRICS);
        for name in 0..2 * MOST {
            kept.of(vec![("name", name.to_string())]).inc();
        }
        let overflow = kept.of(vec![("overflow", "true".to_owned())]);
        assert_eq!((kept.series.lock().len(), overflow.get()), (MOST + 1, MOST as u64));
        assert_eq!(kept.of(vec![("name", "0".to_owned())]).inc(), 1, "what was known before goes on");
    }

    #[test]
    fn a_5_series_that_nobody_counts_go_after_a_while() {
        let mut registry = Registry::default();
        let kept = Kept::register(&mut registry, METRICS);
        assert_eq!(shown(&registry), "# EOF\n", "nothing to show is no family");
        let labels = |name: &str| vec![("name", name.to_owned())];
        let held = kept.of(labels("held"));
        kept.of(labels("gone")).inc();
        held.inc_by(2);
        kept.of(labels("held")).inc();
        let text = shown(&registry);
        assert!(text.starts_with("# HELP things Things\n# TYPE things counter\n"), "{text}");
        assert!(text.contains("things_total{name=\"held\"} 3\n") && text.contains("{name=\"gone\"} 1\n"), "{text}");

        let (now, retain) = (Instant::now(), Duration::from_secs(60));
        kept.forget_idle(now, retain);
        assert!(shown(&registry).contains("gone"));
        kept.forget_idle(now + retain, retain);
        let text = shown(&registry);
        assert!(text.contains("held") && !text.contains("gone"), "{text}");
        kept.of(labels("gone")).inc();
        kept.forget_idle(now + retain, retain);
        assert!(shown(&registry).contains("name=\"gone\"} 1\n"), "it began anew");
    }
}
