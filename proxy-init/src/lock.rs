use std::env;
use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::Error;

const POLL: Duration = Duration::from_millis(20);

/// How long we wait for the lock without `--use-wait-flag`.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Waits until no other program holds the lock that iptables-legacy takes, for ever or for [`PATIENCE`].
///
/// Some versions of iptables-legacy wait for ever even when they are not asked to, and without a word.
pub(crate) fn await_xtables_lock(for_ever: bool) -> Result<(), Error> {
    // The variable is iptables' own (iptables(8)).
    let path = PathBuf::from(env::var_os("XTABLES_LOCKFILE").unwrap_or_else(|| "/run/xtables.lock".into()));
    let Ok(file) = File::open(&path) else { return Ok(()) };
    let deadline = Instant::now() + PATIENCE;
    let mut told = false;
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if for_ever || Instant::now() < deadline => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Locked { path, waited: PATIENCE }),
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(()),
        }
        if !told {
            tracing::info!(event = "proxy_init.waiting_for_lock", path = %path.display(), "another program is changing iptables");
            told = true;
        }
        thread::sleep(POLL);
    }
}
