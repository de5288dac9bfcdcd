//! What is known of the folder: each file's latest text, its last good objects, and the objects of all of them.

use super::files::{self, Stamp};
use crate::parse::{self, Manifest, Skipped};
use crate::{Change, FolderError, Key, Kind, ManifestError, Object, cluster_ips};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Every object, once.
pub(super) type Snapshot = BTreeMap<(Kind, Key), Object>;

/// Which files to read even if they look unchanged: paths from the folder on, of files or of folders of them.
#[derive(Debug)]
pub(super) enum Touched {
    All,
    Paths(Vec<PathBuf>),
}

impl Default for Touched {
    fn default() -> Self {
        Self::Paths(Vec::new())
    }
}

impl Touched {
    pub(super) fn join(&mut self, more: Self) {
        match (&mut *self, more) {
            (Self::Paths(paths), Self::Paths(more)) => paths.extend(more),
            _ => *self = Self::All,
        }
    }

    fn holds(&self, file: &Path) -> bool {
        match self {
            Self::All => true,
            Self::Paths(paths) => paths.iter().any(|path| file.starts_with(path)),
        }
    }
}

/// The folder as last seen.
pub(super) struct Folder {
    path: PathBuf,
    service_cidr: Option<IpNet>,
    files: BTreeMap<PathBuf, File>,
    objects: Snapshot,
    /// Faults that were logged.
    logged: BTreeSet<Fault>,
    /// Of what has no effect, what was logged.
    warned: BTreeSet<Fault>,
    skipped: BTreeSet<Skipped>,
}

/// What is wrong now, with the hash of the text that is wrong, so that each text's faults are logged once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Fault {
    error: ManifestError,
    text: u64,
}

struct File {
    stamp: Stamp,
    /// A hash of the latest text.
    text: u64,
    blank: bool,
    latest: Manifest,
    /// The objects that count: of the latest text without faults.
    accepted: Vec<(Object, u64)>,
}

impl Folder {
    /// Reads the folder for the first time. Any fault is an error.
    pub(super) fn load(path: PathBuf, service_cidr: Option<IpNet>) -> Result<(Self, Vec<Change>), FolderError> {
        let mut folder = Self {
            path,
            service_cidr,
            files: BTreeMap::new(),
            objects: Snapshot::new(),
            logged: BTreeSet::new(),
            warned: BTreeSet::new(),
            skipped: BTreeSet::new(),
        };
        match folder.look(&Touched::All) {
            Err(source) => Err(FolderError::Unreadable { path: folder.path, source }),
            Ok((_, faults)) if !faults.is_empty() => {
                let errors = faults.into_iter().map(|fault| fault.error).collect();
                Err(FolderError::Invalid { path: folder.path, errors })
            }
            Ok((changes, _)) => Ok((folder, changes)),
        }
    }

    /// Looks again, logs new faults, and returns what changed.
    pub(super) fn refresh(&mut self, touched: &Touched) -> Vec<Change> {
        let (changes, faults) = self.look(touched).unwrap_or_else(|error| {
            let problem = format!("cannot read the folder: {error}; its last objects stay");
            let error = ManifestError::of_file(self.path.clone(), problem);
            (Vec::new(), self.logged.iter().cloned().chain([Fault { text: 0, error }]).collect())
        });
        for Fault { error, .. } in faults.difference(&self.logged) {
            tracing::error!(event = "manifest.invalid", "{error}");
        }
        for Fault { error, .. } in self.logged.difference(&faults) {
            tracing::info!(event = "manifest.mended", "no longer: {error}");
        }
        self.logged = faults;
        changes
    }

    /// The difference to the last look, and every fault that there is now.
    fn look(&mut self, touched: &Touched) -> io::Result<(Vec<Change>, BTreeSet<Fault>)> {
        let listed = files::list(&self.path)?;
        self.files.retain(|file, _| listed.contains_key(file));
        let mut faults = BTreeSet::new();
        for (file, stamp) in listed {
            faults.extend(self.read(file, stamp, touched).map(|error| Fault { text: 0, error }));
        }
        faults.extend(self.settle());
        let objects = self.snapshot();
        let changes = changes(&self.objects, &objects);
        self.objects = objects;
        Ok((changes, faults))
    }

    /// Parses a file again if its text is another one.
    fn read(&mut self, file: PathBuf, stamp: Stamp, touched: &Touched) -> Option<ManifestError> {
        let known = self.files.get_mut(&file);
        if known.as_ref().is_some_and(|known| known.stamp == stamp) && !touched.holds(&file) {
            return None;
        }
        let path = self.path.join(&file);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                let problem = format!("cannot read the file: {error}; what it held before stays");
                return Some(ManifestError::of_file(path, problem));
            }
        };
        let mut hash = DefaultHasher::new();
        text.hash(&mut hash);
        let (hash, blank) = (hash.finish(), text.trim().is_empty());
        if let Some(known) = known {
            known.stamp = stamp;
            if known.text != hash {
                (known.text, known.blank, known.latest) = (hash, blank, parse::manifest(&path, &text));
            }
        } else {
            let latest = parse::manifest(&path, &text);
            self.files.insert(file, File { stamp, text: hash, blank, latest, accepted: Vec::new() });
        }
        None
    }

    /// Accepts each file's latest objects unless it has faults, among them an object that another file holds too. What
    /// was accepted before has no such conflicts, so taking the newcomers of each conflict back ends.
    fn settle(&mut self) -> BTreeSet<Fault> {
        let mut faults = BTreeSet::new();
        let mut kept: BTreeSet<PathBuf> = BTreeSet::new();
        for (path, file) in &self.files {
            // An editor may empty a file before it writes it.
            let emptied = file.blank && !file.accepted.is_empty();
            if emptied {
                let problem = "the file is empty; remove it if its objects are to go";
                let error = ManifestError::of_file(self.path.join(path), problem);
                faults.insert(Fault { text: file.text, error });
            }
            faults.extend(file.latest.errors.iter().map(|error| Fault { text: file.text, error: error.clone() }));
            if emptied || !file.latest.errors.is_empty() {
                kept.insert(path.clone());
            }
        }
        loop {
            let conflicts = self.conflicts(&kept);
            let before = kept.len();
            for (path, fault) in conflicts {
                kept.insert(path);
                faults.insert(fault);
            }
            if kept.len() == before {
                break;
            }
        }
        for (path, file) in &mut self.files {
            if !kept.contains(path) {
                file.accepted = file.latest.objects.clone();
            }
        }
        self.log_warnings();
        self.log_skipped();
        faults
    }

    /// One line for each thing of each text that has no effect.
    fn log_warnings(&mut self) {
        let of_file = |file: &'_ File| -> Vec<Fault> {
            let fault = |error: &ManifestError| Fault { text: file.text, error: error.clone() };
            file.latest.warnings.iter().map(fault).collect()
        };
        let warnings: BTreeSet<_> = self.files.values().flat_map(of_file).collect();
        for Fault { error, .. } in warnings.difference(&self.warned) {
            tracing::warn!(event = "annotation.invalid", "{error}");
        }
        self.warned = warnings;
    }

    /// Objects that stand twice, if every file but the `kept` ones counts with its latest objects: a fault for each file
    /// that brings one.
    fn conflicts(&self, kept: &BTreeSet<PathBuf>) -> Vec<(PathBuf, Fault)> {
        let mut holders: BTreeMap<(Kind, Key), Vec<(&PathBuf, u64)>> = BTreeMap::new();
        for (path, file) in &self.files {
            let objects = if kept.contains(path) { &file.accepted } else { &file.latest.objects };
            for (object, line) in objects {
                holders.entry((object.kind(), object.key().clone())).or_default().push((path, *line));
            }
        }
        let mut conflicts = Vec::new();
        for ((kind, key), holders) in holders.into_iter().filter(|(_, holders)| holders.len() > 1) {
            for (nth, (path, line)) in holders.iter().enumerate().filter(|(_, (path, _))| !kept.contains(*path)) {
                let (other, other_line) = holders[usize::from(nth == 0)];
                let other = self.path.join(other);
                let error = ManifestError {
                    file: self.path.join(path),
                    line: Some(*line),
                    object: Some(format!("{kind} {key}")),
                    field: None,
                    problem: format!("stands in {}:{other_line} too; remove one of them", other.display()),
                };
                let text = self.files.get(*path).map_or(0, |file| file.text);
                conflicts.push(((*path).clone(), Fault { text, error }));
            }
        }
        conflicts
    }

    /// One line for each kind that is left out.
    fn log_skipped(&mut self) {
        for skipped in self.files.values().flat_map(|file| &file.latest.skipped) {
            if !self.skipped.insert(skipped.clone()) {
                continue;
            }
            let group = if skipped.group.is_empty() { "core" } else { &skipped.group };
            let kind = &skipped.kind;
            if skipped.not_honoured {
                tracing::warn!(event = "manifest.not_honoured", %kind, %group, "not honoured yet; it has no effect");
            } else {
                tracing::info!(event = "manifest.skipped", %kind, %group, "a mesh does not read this kind");
            }
        }
    }

    /// Every accepted object, the Services with addresses.
    fn snapshot(&self) -> Snapshot {
        let accepted = self.files.values().flat_map(|file| &file.accepted);
        let mut snapshot: Snapshot =
            accepted.map(|(object, _)| ((object.kind(), object.key().clone()), object.clone())).collect();
        let Some(range) = self.service_cidr else { return snapshot };
        let services = snapshot.values().filter_map(|object| match object {
            Object::Service(service) => Some(&**service),
            _ => None,
        });
        for (key, ip) in cluster_ips(services, range) {
            if let Entry::Occupied(mut entry) = snapshot.entry((Kind::Service, key))
                && let Object::Service(service) = entry.get_mut()
            {
                Arc::make_mut(service).cluster_ips = vec![ip];
            }
        }
        snapshot
    }
}

/// What turns one snapshot into the next.
pub(super) fn changes(old: &Snapshot, new: &Snapshot) -> Vec<Change> {
    let upserts = new.iter().filter(|(at, object)| old.get(at) != Some(object));
    let gone = old.keys().filter(|at| !new.contains_key(at));
    let upserts = upserts.map(|(_, object)| Change::Upsert(object.clone()));
    upserts.chain(gone.map(|(kind, key)| Change::Delete(*kind, key.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Meta, Namespace, Selector, Server, ServerProtocol, ServerSelector, World};
    use proptest::prelude::*;

    /// A Namespace, or a Server in one of two forms, under one of few names.
    fn object() -> impl Strategy<Value = Object> {
        (0..3u8, "[ab]", "[abc]").prop_map(|(form, namespace, name)| match form {
            0 => Object::Namespace(Arc::new(Namespace { meta: Meta::named(Key::cluster(&name)) })),
            port => Object::Server(Arc::new(Server {
                meta: Meta::named(Key::new(&namespace, &name)),
                selects: ServerSelector::Pods(Selector::default()),
                port: crate::PortRef::Number(port.into()),
                protocol: ServerProtocol::Unknown,
                access_policy: None,
            })),
        })
    }

    fn snapshot() -> impl Strategy<Value = Snapshot> {
        proptest::collection::vec(object(), 0..8)
            .prop_map(|objects| objects.into_iter().map(|o| ((o.kind(), o.key().clone()), o)).collect())
    }

    fn apply(world: &mut World, changes: &[Change]) {
        changes.iter().for_each(|change| world.apply(change));
    }

    #[derive(Clone, Default)]
    struct Log(Arc<parking_lot::Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Log {
        fn count(&self, event: &str) -> usize {
            String::from_utf8(self.0.lock().clone()).unwrap().lines().filter(|line| line.contains(event)).count()
        }
    }

    #[test]
    fn a_list_of_ports_that_means_nothing_is_said_once() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let at = tempfile::TempDir::new().unwrap();
            let namespace = |list: &str| {
                let annotations = format!("{{config.linkerd.io/opaque-ports: '{list}'}}");
                let text =
                    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop, annotations: {annotations}}}\n");
                std::fs::write(at.path().join("a.yaml"), text).unwrap();
            };
            namespace("mysql,4-2");
            let (mut folder, _) = Folder::load(at.path().to_owned(), None).unwrap();
            for (list, said) in [("mysql,4-2", 1), ("mysql", 1), ("mysql,0,-", 3)] {
                namespace(list);
                for _ in 0..3 {
                    folder.refresh(&Touched::All);
                }
                assert_eq!(log.count("annotation.invalid"), said, "{list}");
            }
            assert_eq!(log.count("a.yaml:3: Namespace shop: metadata.annotations.config.linkerd.io/opaque-ports: "), 3);
        });
    }

    #[test]
    fn each_texts_fault_and_each_skipped_kind_are_logged_once() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let at = tempfile::TempDir::new().unwrap();
            let write = |text: &str| std::fs::write(at.path().join("a.yaml"), text).unwrap();
            let skipped = "kind: Deployment\napiVersion: apps/v1\n---\nkind: UDPRoute\napiVersion: gateway.networking.k8s.io/v1\n";
            write(&skipped.repeat(2).replace("k8s.io/v1\nkind", "k8s.io/v1\n---\nkind"));
            let (mut folder, _) = Folder::load(at.path().to_owned(), None).unwrap();
            assert_eq!((log.count("manifest.skipped"), log.count("manifest.not_honoured")), (1, 1));
            for (text, faults, mended) in [("kind: [", 1, 0), ("kind: [ ", 2, 1), (skipped, 2, 2)] {
                write(text);
                for _ in 0..3 {
                    assert!(folder.refresh(&Touched::All).is_empty());
                }
                let counts = (log.count("manifest.invalid"), log.count("manifest.mended"));
                assert_eq!(counts, (faults, mended), "{text}");
            }
            std::fs::remove_dir_all(at.path()).unwrap();
            for _ in 0..3 {
                assert!(folder.refresh(&Touched::All).is_empty());
            }
            assert_eq!((log.count("cannot read the folder"), log.count("manifest.skipped")), (1, 1));
        });
    }

    proptest! {
        #[test]
        fn differences_lead_to_the_same_world_as_a_fresh_load(states in proptest::collection::vec(snapshot(), 1..6)) {
            let (mut world, mut last) = (World::default(), Snapshot::new());
            for state in states {
                let difference = changes(&last, &state);
                prop_assert_eq!(difference.is_empty(), last == state);
                apply(&mut world, &difference);
                let mut fresh = World::default();
                apply(&mut fresh, &changes(&Snapshot::new(), &state));
                prop_assert_eq!(&world, &fresh);
                last = state;
            }
        }
    }
}
