//! Where a rule, route or endpoint comes from: the Kubernetes object, or a default.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Metric labels of an endpoint or policy, in a stable order.
pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// What produced a rule: an object, or a built-in default (`group` empty, `kind` `default`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Meta {
    pub group: Arc<str>,
    pub kind: Arc<str>,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// A part of the object, such as a route's rule; empty: all of it.
    pub section: Arc<str>,
    /// The object's port that is meant; `None`: none, or all of them.
    pub port: Option<u16>,
}

impl Meta {
    /// An object of the cluster.
    pub fn object(group: &str, kind: &str, namespace: &str, name: &str) -> Self {
        Self {
            group: group.into(),
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
            section: "".into(),
            port: None,
        }
    }

    /// A rule that no object wrote.
    pub fn default_named(name: &str) -> Self {
        Self::object("", "default", "", name)
    }

    /// One port of the object.
    #[must_use]
    pub fn at_port(self, port: u16) -> Self {
        Self { port: Some(port), ..self }
    }

    /// Whether no object wrote the rule.
    pub fn is_default(&self) -> bool {
        &*self.kind == "default"
    }
}

impl fmt::Display for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_default() {
            write!(f, "default/{}", self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}
