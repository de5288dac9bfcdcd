//! The folder of manifests that the controllers follow, changed as kubectl would change the cluster.

use super::layout::{self, Workload};
use anyhow::{Context as _, Result};
use outrigger_cluster::{Change, Key, Object, folder};
use serde::Deserialize;
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use tokio::runtime::Handle;

/// The example that the README's reader applies with kubectl.
const EXAMPLE: [&str; 7] = [
    include_str!("../../../examples/mesh-expansion/namespace.yaml"),
    include_str!("../../../examples/mesh-expansion/external-workload.yaml"),
    include_str!("../../../examples/mesh-expansion/services.yaml"),
    include_str!("../../../examples/mesh-expansion/deployment.yaml"),
    include_str!("../../../examples/mesh-expansion/pods.yaml"),
    include_str!("../../../examples/mesh-expansion/policy/server.yaml"),
    include_str!("../../../examples/mesh-expansion/policy/authorization.yaml"),
];

/// The Server as the guide has it, annotation and all.
const GUIDES_SERVER: &str = include_str!("../../../examples/guide-verbatim/4-server.yaml");

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
        // Not its parents: after Ctrl-C they are gone, and must stay so.
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
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

    /// The example's Server alone.
    pub(crate) fn with_server(&self) -> Result<()> {
        self.apply_policies(&POLICY_KINDS[..1])
    }

    /// The Server and the policy that admits the VM.
    pub(crate) fn with_authorization(&self) -> Result<()> {
        self.apply_policies(&POLICY_KINDS)
    }

    /// The guide's own Server, and the pods' ports named as in its Deployment, which the Server does not match.
    pub(crate) fn as_the_guide_has_it(&self) -> Result<()> {
        let pods = self.documents.iter().filter(|d| d.kind == "Pod");
        pods.into_iter().try_for_each(|d| self.apply(d, &d.text.replace("name: http\n", "name: http-port\n")))?;
        self.apply(&Document::parse(GUIDES_SERVER)?, GUIDES_SERVER)
    }

    /// What a kubelet writes of a workload whose programs do not all run yet: it exists, and is no endpoint.
    pub(crate) fn mark_not_ready(&self, workload: &Workload) -> Result<()> {
        let document = self.workload(workload)?;
        self.apply(document, &document.text.replace("status: \"True\"", "status: \"False\""))
    }

    /// What the API server writes when a pod is deleted: it goes on to exist, and is no endpoint any more.
    pub(crate) fn mark_terminating(&self, pod: &Workload) -> Result<()> {
        let document = self.workload(pod)?;
        let stamp = "metadata:\n  deletionTimestamp: \"2024-01-24T12:00:00Z\"\n";
        self.apply(document, &document.text.replacen("metadata:\n", stamp, 1))
    }

    /// The pod is gone.
    pub(crate) fn delete_pod(&self, pod: &Workload) -> Result<()> {
        self.delete(self.workload(pod)?)
    }

    /// The names that Services have in DNS, and the addresses that the controllers give them, too.
    pub(crate) fn services(&self) -> Result<Vec<(IpAddr, String)>> {
        let range = layout::SERVICE_CIDR.parse().context("the demo's service CIDR")?;
        let watch = folder::watch(self.folder.clone(), Some(range));
        let objects = Handle::current().block_on(async { watch.await?.recv().await.context("the folder is empty") })?;
        let services = objects.iter().filter_map(|change| match change {
            Change::Upsert(Object::Service(service)) => Some(service),
            _ => None,
        });
        let names = services.flat_map(|service| {
            let Key { namespace, name } = &service.meta.key;
            service.cluster_ips.iter().map(move |ip| (*ip, format!("{name}.{namespace}.svc.cluster.local")))
        });
        Ok(names.collect())
    }

    fn workload(&self, workload: &Workload) -> Result<&Document> {
        let is = |d: &&Document| d.name == workload.name && ["Pod", "ExternalWorkload"].contains(&&*d.kind);
        self.documents.iter().find(is).with_context(|| format!("the example has no workload {}", workload.name))
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
