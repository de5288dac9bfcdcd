//! What the kernel says a process has used (proc_pid_stat(5), proc_pid_status(5)).

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::unistd::{SysconfVar, sysconf};

/// User and system time of all the process's threads, children apart, in steps of a clock tick (10 ms).
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} is gone"))?;
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("the kernel does not say how long a clock tick is")?;
    let ticks = ticks(&stat).with_context(|| format!("/proc/{pid}/stat has another form than expected"))?;
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// Fields 14 and 15; the second field, the program's name, may hold spaces and parentheses.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// Resident memory in kB.
pub(crate) fn resident_kb(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid} is gone"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the process has no memory")?;
    line.trim().trim_end_matches(" kB").parse().with_context(|| format!("VmRSS of process {pid}: {line}"))
}

/// Processes that ran or waited to, averaged over the last minute (proc_loadavg(5)).
pub(crate) fn load_average() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg").context("cannot read /proc/loadavg")?;
    let first = text.split(' ').next().unwrap_or_default();
    first.parse().with_context(|| format!("/proc/loadavg begins with {first:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_name_may_hold_anything() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 150 0 0 0 31 11 5 6 20 0 1 0 100 0 0";
        assert_eq!(ticks(stat), Some(42));
    }

    #[test]
    fn the_kernel_answers_for_us_and_for_the_machine() {
        let pid = std::process::id();
        assert!(resident_kb(pid).unwrap() > 100);
        cpu_time(pid).unwrap();
        assert!(load_average().unwrap() >= 0.0);
    }
}
