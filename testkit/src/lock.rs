//! The mark that a network's owner lives: an flock(2) on `<state>/<id>.lock`, which the kernel drops when the owner dies.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::Error;

const KEPT: &str = "kept\n";

pub(crate) struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// Takes the lock of `id`, or `None` if a living owner holds it.
    pub(crate) fn take(state: &Path, id: &str) -> Result<Option<Self>, Error> {
        let path = state.join(format!("{id}.lock"));
        let failed = |source| Error::Io { what: format!("cannot lock {}", path.display()), source };
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        // A sweep may have removed the file between our open and our lock: then the lock guards nothing.
        let still_there = fs::metadata(&path).is_ok_and(|m| file.metadata().is_ok_and(|f| f.ino() == m.ino()));
        if still_there { Ok(Some(Self { path, file })) } else { Self::take(state, id) }
    }

    /// Marks the network as one that outlives its owner.
    pub(crate) fn keep(mut self) -> io::Result<()> {
        self.file.write_all(KEPT.as_bytes())
    }

    pub(crate) fn is_kept(&mut self) -> bool {
        let mut text = String::new();
        self.file.read_to_string(&mut text).is_ok() && text == KEPT
    }

    /// Removes the lock file while the lock is still held.
    pub(crate) fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread is just starting shares the file until it execs.
        let _ = self.file.unlock();
    }
}

/// The ids that have a lock file in `state`, whether their owners live or not.
pub(crate) fn ids(state: &Path) -> Vec<String> {
    let entries = fs::read_dir(state).into_iter().flatten().flatten();
    entries.filter_map(|e| Some(e.file_name().to_str()?.strip_suffix(".lock")?.to_owned())).collect()
}
