//! Label selectors: matchLabels and matchExpressions.

use std::collections::{BTreeMap, BTreeSet};

/// Matches labels; all requirements must hold, and none of them matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    pub requirements: Vec<Requirement>,
}

/// One requirement of a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    In(String, BTreeSet<String>),
    /// Holds also where the label is absent.
    NotIn(String, BTreeSet<String>),
    Exists(String),
    DoesNotExist(String),
}

impl Selector {
    /// A selector of exact labels.
    pub fn of_labels(labels: &BTreeMap<String, String>) -> Self {
        let exact = |(k, v): (&String, &String)| Requirement::In(k.clone(), BTreeSet::from([v.clone()]));
        Self { requirements: labels.iter().map(exact).collect() }
    }

    /// Whether the labels meet every requirement.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|r| match r {
            Requirement::In(label, values) => labels.get(label).is_some_and(|v| values.contains(v)),
            Requirement::NotIn(label, values) => labels.get(label).is_none_or(|v| !values.contains(v)),
            Requirement::Exists(label) => labels.contains_key(label),
            Requirement::DoesNotExist(label) => !labels.contains_key(label),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn a_selector_matches_as_kubernetes_says() {
        let vm = labels(&[("app", "legacy-app"), ("location", "vm")]);
        assert!(Selector::default().matches(&vm));
        assert!(Selector::default().matches(&labels(&[])));
        assert!(Selector::of_labels(&labels(&[("app", "legacy-app")])).matches(&vm));
        assert!(!Selector::of_labels(&labels(&[("app", "legacy-app"), ("location", "cluster")])).matches(&vm));

        let one = |r| Selector { requirements: vec![r] };
        let values = || BTreeSet::from(["vm".to_owned(), "edge".to_owned()]);
        assert!(one(Requirement::In("location".into(), values())).matches(&vm));
        assert!(!one(Requirement::NotIn("location".into(), values())).matches(&vm));
        assert!(one(Requirement::NotIn("zone".into(), values())).matches(&vm));
        assert!(one(Requirement::Exists("app".into())).matches(&vm));
        assert!(!one(Requirement::Exists("zone".into())).matches(&vm));
        assert!(one(Requirement::DoesNotExist("zone".into())).matches(&vm));
        assert!(!one(Requirement::DoesNotExist("app".into())).matches(&vm));
    }
}
