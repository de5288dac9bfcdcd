use std::fs::File;
use std::io;
use std::panic::resume_unwind;
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::Error;

/// Runs `work` on a thread inside the named network namespace; sockets made there stay there wherever they are used.
///
/// Fails if the namespace does not exist or the caller lacks CAP_SYS_ADMIN (setns(2)).
pub fn run_in<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    let path = format!("/run/netns/{namespace}");
    let file = File::open(&path).map_err(Error::io(format!("cannot open the namespace {path}")))?;
    let entered = || {
        setns(&file, CloneFlags::CLONE_NEWNET)?;
        Ok(work())
    };
    let result: Result<T, nix::Error> =
        thread::scope(|scope| scope.spawn(entered).join()).unwrap_or_else(|panic| resume_unwind(panic));
    result
        .map_err(|e| Error::Io { what: format!("cannot enter the namespace {namespace}"), source: io::Error::from(e) })
}
