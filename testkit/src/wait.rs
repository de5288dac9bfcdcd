use std::thread;
use std::time::{Duration, Instant};

use crate::Error;

const POLL: Duration = Duration::from_millis(20);

/// Waits until `condition` holds, asking every 20 ms; the error names what was awaited.
pub fn wait_for(what: &str, timeout: Duration, mut condition: impl FnMut() -> bool) -> Result<(), Error> {
    let held = poll(timeout, || condition().then_some(()));
    held.ok_or_else(|| Error::TimedOut { what: what.to_owned(), waited: timeout, log: String::new() })
}

/// Asks every 20 ms until there is an answer or the time is over; it asks at least once.
pub(crate) fn poll<T>(timeout: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(POLL);
    }
}
