//! A folder of manifests, followed: `*.yaml`, `*.yml` and `*.json`, in subfolders too, without hidden files.
//!
//! inotify says when to look, a slow rescan catches what it misses, and only differences between parsed objects leave.

mod files;
mod state;

use crate::{Change, FolderError};
use ipnet::IpNet;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use state::{Folder, Touched};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Without a word from inotify the folder is looked at this often.
const RESCAN: Duration = Duration::from_secs(5);
/// A burst of events has ended when none came for this long.
const QUIET: Duration = Duration::from_millis(50);
/// A burst that does not end is looked at in between.
const BURST: Duration = Duration::from_millis(500);

/// Follows the folder until the receiver is dropped. The first batch holds every object, empty if there are none; later
/// ones hold differences. `service_cidr` gives addresses to Services that have none.
///
/// Fails, with every fault of every file, if the folder cannot be read or parsed at first. Later faults are logged, and
/// the faulty file's last good objects stay.
pub async fn watch(
    path: PathBuf,
    service_cidr: Option<IpNet>,
) -> Result<tokio::sync::mpsc::Receiver<Vec<Change>>, FolderError> {
    let (wake, events) = mpsc::channel();
    // The watch begins before the first look, so that nothing falls between the two.
    let mut watch = Watch { path: path.clone(), wake, armed: None };
    let unreadable = |source| FolderError::Unreadable { path: path.clone(), source };
    let load = move |path| {
        watch.arm();
        Folder::load(path, service_cidr).map(|(folder, initial)| (watch, folder, initial))
    };
    let loading = tokio::task::spawn_blocking({
        let path = path.clone();
        move || load(path)
    });
    let (watch, folder, initial) = loading.await.map_err(|error| unreadable(std::io::Error::other(error)))??;
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    let follow = move || {
        if sender.blocking_send(initial).is_ok() {
            follow(folder, watch, &events, &sender);
        }
    };
    std::thread::Builder::new().name("manifests".to_owned()).spawn(follow).map_err(unreadable)?;
    Ok(receiver)
}

fn follow(
    mut folder: Folder,
    mut watch: Watch,
    events: &mpsc::Receiver<Touched>,
    sender: &tokio::sync::mpsc::Sender<Vec<Change>>,
) {
    while !sender.is_closed() {
        let mut touched = next_burst(events);
        if watch.arm() {
            touched = Touched::All;
        }
        let changes = folder.refresh(&touched);
        if !changes.is_empty() && sender.blocking_send(changes).is_err() {
            return;
        }
    }
}

/// Waits for the end of a burst of events, or for the time of the next rescan.
fn next_burst(events: &mpsc::Receiver<Touched>) -> Touched {
    let Ok(mut touched) = events.recv_timeout(RESCAN) else { return Touched::default() };
    let end = Instant::now() + BURST;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        match events.recv_timeout(QUIET.min(left)) {
            Ok(more) => touched.join(more),
            Err(_) => break,
        }
    }
    touched
}

/// inotify on the folder, set up again when the folder is another one than before.
struct Watch {
    path: PathBuf,
    wake: mpsc::Sender<Touched>,
    /// The watched folder's inode; the watcher is absent where the system has none to give.
    armed: Option<(u64, Option<RecommendedWatcher>)>,
}

impl Watch {
    /// Whether a watch was set up now.
    fn arm(&mut self) -> bool {
        let inode = std::fs::metadata(&self.path).ok().map(|meta| meta.ino());
        if inode == self.armed.as_ref().map(|(inode, _)| *inode) {
            return false;
        }
        self.armed = inode.map(|inode| (inode, self.watcher()));
        self.armed.is_some()
    }

    fn watcher(&self) -> Option<RecommendedWatcher> {
        let (wake, root) = (self.wake.clone(), std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone()));
        let on_event = move |event: notify::Result<notify::Event>| {
            if let Some(touched) = touched(&root, event) {
                // The receiver is gone only when nobody follows any more.
                let _ = wake.send(touched);
            }
        };
        let watcher = notify::recommended_watcher(on_event).and_then(|mut watcher| {
            watcher.watch(&self.path, RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        watcher
            .inspect_err(|error| {
                let every = RESCAN.as_secs();
                tracing::warn!(event = "manifests.no_inotify", %error, "changes are seen only every {every} s");
            })
            .ok()
    }
}

/// The files to read again after an event. Reading them is an event too, and not one of these.
fn touched(root: &Path, event: notify::Result<notify::Event>) -> Option<Touched> {
    let Ok(event) = event else { return Some(Touched::All) };
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
        EventKind::Access(_) => return None,
        _ => {}
    }
    if event.need_rescan() {
        return Some(Touched::All);
    }
    let relative: Option<_> = event.paths.iter().map(|path| path.strip_prefix(root).ok().map(Path::to_owned)).collect();
    Some(relative.map_or(Touched::All, Touched::Paths))
}
