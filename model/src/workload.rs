//! Which workload a proxy speaks for: the strings of `WatchPort` (A.3.2) and the context token (B.3).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// A workload's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WorkloadKind {
    Pod,
    ExternalWorkload,
}

/// A pod or an ExternalWorkload, by namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkloadRef {
    pub namespace: Arc<str>,
    pub kind: WorkloadKind,
    pub name: Arc<str>,
}

/// A workload string that names no workload.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{value:?} is no workload: {why}; write {{\"ns\":\"NS\",\"pod\":\"NAME\"}} or {{\"ns\":\"NS\",\"external_workload\":\"NAME\"}}"
)]
pub struct InvalidWorkload {
    value: String,
    why: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw<'a> {
    #[serde(borrow)]
    ns: std::borrow::Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pod: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    external_workload: Option<std::borrow::Cow<'a, str>>,
}

impl WorkloadRef {
    /// A pod.
    pub fn pod(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), kind: WorkloadKind::Pod, name: name.into() }
    }

    /// An ExternalWorkload.
    pub fn external(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), kind: WorkloadKind::ExternalWorkload, name: name.into() }
    }

    /// Parses the JSON form, or the older `ns:pod` (A.3.2). An unknown key is an error.
    pub fn parse(value: &str) -> Result<Self, InvalidWorkload> {
        let invalid = |why: &str| InvalidWorkload { value: value.chars().take(256).collect(), why: why.to_owned() };
        if !value.trim_start().starts_with('{') {
            return match value.split_once(':') {
                Some((ns, pod)) if !ns.is_empty() && !pod.is_empty() => Ok(Self::pod(ns, pod)),
                _ => Err(invalid("it is neither JSON nor ns:pod")),
            };
        }
        let raw: Raw<'_> = serde_json::from_str(value).map_err(|e| invalid(&e.to_string()))?;
        match (raw.ns.is_empty(), raw.pod, raw.external_workload) {
            (true, ..) => Err(invalid("ns is empty")),
            (_, Some(pod), None) if !pod.is_empty() => Ok(Self::pod(&raw.ns, &pod)),
            (_, None, Some(name)) if !name.is_empty() => Ok(Self::external(&raw.ns, &name)),
            _ => Err(invalid("exactly one of pod and external_workload must be named")),
        }
    }

    /// The JSON form.
    pub fn to_json(&self) -> String {
        let name = Some(std::borrow::Cow::Borrowed(&*self.name));
        let (pod, external_workload) = match self.kind {
            WorkloadKind::Pod => (name, None),
            WorkloadKind::ExternalWorkload => (None, name),
        };
        let raw = Raw { ns: std::borrow::Cow::Borrowed(&self.namespace), pod, external_workload };
        serde_json::to_string(&raw).unwrap_or_default()
    }
}

impl fmt::Display for WorkloadRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            WorkloadKind::Pod => "pod",
            WorkloadKind::ExternalWorkload => "externalworkload",
        };
        write!(f, "{kind}/{}.{}", self.name, self.namespace)
    }
}

/// What a proxy tells the destination controller of itself (B.3). Unknown keys are ignored, all parts are optional.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContextToken {
    pub namespace: Option<Arc<str>>,
    pub node: Option<Arc<str>>,
    /// The workload that the caller claims to be; the controller checks the claim.
    pub workload: Option<WorkloadRef>,
}

#[derive(Deserialize)]
struct RawToken {
    ns: Option<String>,
    #[serde(rename = "nodeName")]
    node_name: Option<String>,
    pod: Option<String>,
    external_workload: Option<String>,
}

impl ContextToken {
    /// Parses the JSON form, or the older `ns:<name>`. An empty token says nothing; anything else is an error.
    pub fn parse(token: &str) -> Result<Self, InvalidWorkload> {
        let invalid = |why: &str| InvalidWorkload { value: token.chars().take(256).collect(), why: why.to_owned() };
        if token.is_empty() {
            return Ok(Self::default());
        }
        if let Some(ns) = token.strip_prefix("ns:") {
            return Ok(Self { namespace: Some(ns.into()), ..Self::default() });
        }
        let raw: RawToken = serde_json::from_str(token).map_err(|e| invalid(&e.to_string()))?;
        let set = |s: Option<String>| s.filter(|s| !s.is_empty());
        let (ns, pod, external) = (set(raw.ns), set(raw.pod), set(raw.external_workload));
        let workload = match (ns.as_deref(), pod, external) {
            (_, None, None) => None,
            (Some(ns), Some(pod), None) => Some(WorkloadRef::pod(ns, &pod)),
            (Some(ns), None, Some(name)) => Some(WorkloadRef::external(ns, &name)),
            (None, ..) => return Err(invalid("it names a workload without ns")),
            (Some(_), Some(_), Some(_)) => return Err(invalid("it names both a pod and an external_workload")),
        };
        let text = |s: Option<String>| s.map(Arc::<str>::from);
        Ok(Self { namespace: text(ns), node: text(set(raw.node_name)), workload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_3_2_workload_strings() {
        let vm = WorkloadRef::external("mixed-env", "external-workload");
        let seed = "{\"ns\":\"mixed-env\", \"external_workload\":\"external-workload\"}";
        assert_eq!(WorkloadRef::parse(seed).unwrap(), vm);
        assert_eq!(WorkloadRef::parse(&vm.to_json()).unwrap(), vm);
        assert_eq!(WorkloadRef::parse(r#"{"ns":"n","pod":"p"}"#).unwrap(), WorkloadRef::pod("n", "p"));
        assert_eq!(WorkloadRef::parse("n:p").unwrap(), WorkloadRef::pod("n", "p"));
        for bad in [
            "",
            "n",
            ":p",
            "n:",
            "{}",
            r#"{"ns":"n"}"#,
            r#"{"ns":"","pod":"p"}"#,
            r#"{"ns":"n","job":"j"}"#,
            r#"{"ns":"n","pod":"p","external_workload":"e"}"#,
            r#"{"ns":"n","pod":""}"#,
        ] {
            assert!(WorkloadRef::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn b_3_context_tokens() {
        let seed = r#"{"ns":"mixed-env", "nodeName":"my-vm", "external_workload":"external-workload"}"#;
        let token = ContextToken::parse(seed).unwrap();
        assert_eq!(token.workload, Some(WorkloadRef::external("mixed-env", "external-workload")));
        assert_eq!(token.node.as_deref(), Some("my-vm"));
        assert_eq!(ContextToken::parse("ns:x").unwrap().namespace.as_deref(), Some("x"));
        assert_eq!(ContextToken::parse("").unwrap(), ContextToken::default());
        assert_eq!(ContextToken::parse(r#"{"ns":"n","later":1}"#).unwrap().workload, None);
        assert!(ContextToken::parse("{").is_err());
        assert!(ContextToken::parse(r#"{"pod":"p"}"#).is_err());
    }
}
