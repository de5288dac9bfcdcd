//! The folder of manifests that the controllers follow, changed as kubectl would change the cluster.

use super::layout::{NAMESPACE, SERVICE_CIDR, Workload};
use anyhow::{Context as _, Result};
use serde::Deserialize;
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The example that the README's reader applies with kubectl.
const EXAMPLE: [&str; 0] = [];

/// Kinds that the acts add and remove.
const POLICY_KINDS: [&str; 3] = ["Server", "AuthorizationPolicy", "MeshTLSAuthentication"];

/// The folder, and what may be put into it.
pub(crate) struct Manifests {
    folder: PathBuf,
    documents: Vec<Document>,
}

struct Document {
    kind: String,
    name: String,
    text: String,
}

#[derive(Deserialize)]
struct Head {
    kind: String,
    metadata: Name,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

impl Manifests {
    /// Writes everything but policies into a new folder.
    pub(crate) fn in_folder(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let documents = EXAMPLE.iter().flat_map(|file| split(file)).map(Document::parse).collect::<Result<_>>()?;
        let manifests = Self { folder, documents };
        manifests.restore_workloads()?;
        Ok(manifests)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Brings back every pod, Service and ExternalWorkload as the example has it.
    pub(crate) fn restore_workloads(&self) -> Result<()> {
        self.documents.iter().filter(|d| !d.is_policy()).try_for_each(|d| self.apply(d, &d.text))
    }

    /// No Server and no policy: the default, which admits everybody.
    pub(crate) fn without_policy(&self) -> Result<()> {
        self.apply_policies(&[])
    }

    /// The guide's Server alone.
    pub(crate) fn with_server(&self) -> Result<()> {
        self.apply_policies(&POLICY_KINDS[..1])
    }

    /// The Server and the policy that admits the VM.
    pub(crate) fn with_authorization(&self) -> Result<()> {
        self.apply_policies(&POLICY_KINDS)
    }

    /// Names the pods' ports as the guide does, which its Server does not match.
    pub(crate) fn with_the_guides_port_name(&self) -> Result<()> {
        let pods = self.documents.iter().filter(|d| d.kind == "Pod");
        pods.into_iter().try_for_each(|d| self.apply(d, &d.text.replace("name: http\n", "name: http-port\n")))
    }

    /// What the API server writes when a pod is deleted: it goes on to exist, and is no endpoint any more.
    pub(crate) fn mark_terminating(&self, pod: &Workload) -> Result<()> {
        let document = self.pod(pod)?;
        let stamp = "metadata:\n  deletionTimestamp: \"2024-01-24T12:00:00Z\"\n";
        self.apply(document, &document.text.replacen("metadata:\n", stamp, 1))
    }

    /// The pod is gone.
    pub(crate) fn delete_pod(&self, pod: &Workload) -> Result<()> {
        self.delete(self.pod(pod)?)
    }

    /// The names that Services have in DNS, and their addresses.
    pub(crate) fn services(&self) -> Result<Vec<(IpAddr, String)>> {
        let _ = (NAMESPACE, SERVICE_CIDR);
        Ok(Vec::new())
    }

    fn pod(&self, pod: &Workload) -> Result<&Document> {
        let document = self.documents.iter().find(|d| d.kind == "Pod" && d.name == pod.name);
        document.with_context(|| format!("the example has no pod {}", pod.name))
    }

    fn apply_policies(&self, kinds: &[&str]) -> Result<()> {
        let policies = self.documents.iter().filter(|d| d.is_policy());
        policies.into_iter().try_for_each(|d| match kinds.contains(&&*d.kind) {
            true => self.apply(d, &d.text),
            false => self.delete(d),
        })
    }

    /// Renamed into place, so that nobody reads half of it.
    fn apply(&self, document: &Document, text: &str) -> Result<()> {
        let path = self.path(document);
        if fs::read_to_string(&path).is_ok_and(|there| there == text) {
            return Ok(());
        }
        let draft = path.with_extension("draft");
        fs::write(&draft, text)
            .and_then(|()| fs::rename(&draft, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn delete(&self, document: &Document) -> Result<()> {
        let path = self.path(document);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e).context(format!("cannot remove {}", path.display())),
            _ => Ok(()),
        }
    }

    fn path(&self, document: &Document) -> PathBuf {
        self.folder.join(format!("{}-{}.yaml", document.kind.to_lowercase(), document.name))
    }
}

impl Document {
    fn parse(text: &str) -> Result<Self> {
        let head: Head = serde_saphyr::from_str(text).context("the example has a document without kind or name")?;
        Ok(Self { kind: head.kind, name: head.metadata.name, text: text.to_owned() })
    }

    fn is_policy(&self) -> bool {
        POLICY_KINDS.contains(&&*self.kind)
    }
}

/// The YAML documents of a file.
fn split(file: &str) -> impl Iterator<Item = &str> {
    file.split("\n---\n").filter(|text| text.lines().any(|line| !line.is_empty() && !line.starts_with(['#', '-'])))
}
