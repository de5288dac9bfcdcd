//! What the kernel counts of this process, read from /proc (proc(5)) whenever it is asked for.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// `process_*`, under Prometheus' usual names. What cannot be read is left out.
#[derive(Debug)]
pub struct Process {
    /// Unix time.
    started: u64,
}

/// Linux counts processor time for user space in hundredths of a second (`USER_HZ`).
const TICKS: f64 = 100.0;

impl Process {
    /// Of a process that starts now.
    #[must_use]
    pub fn starting() -> Self {
        Self { started: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()) }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        gauge(&mut encoder, "process_start_time_seconds", "When the process started (Unix time)", Some(self.started))?;
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        if let Some(seconds) = cpu_seconds(&stat) {
            let (name, help) = ("process_cpu_seconds", "Processor time, user and system");
            let counter = ConstCounter::new(seconds);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kilobytes = |key| number_after(&status, key).map(|n| n * 1024);
        gauge(&mut encoder, "process_resident_memory_bytes", "Memory that is in RAM", kilobytes("VmRSS:"))?;
        gauge(&mut encoder, "process_virtual_memory_bytes", "Address space", kilobytes("VmSize:"))?;
        gauge(&mut encoder, "process_threads", "Threads", number_after(&status, "Threads:"))?;
        let open = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64);
        gauge(&mut encoder, "process_open_fds", "Open file descriptors", open)?;
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let most = number_after(&limits, "Max open files");
        gauge(&mut encoder, "process_max_fds", "File descriptors that may be open", most)
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: Option<u64>) -> fmt::Result {
    let Some(value) = value else { return Ok(()) };
    let gauge = ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
}

/// Fields 14 and 15 of /proc/PID/stat. The second field, the name, may hold spaces and parentheses.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some((ticks()? + ticks()?) as f64 / TICKS)
}

/// The first number of the line that begins with `key`.
fn number_after(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    #[test]
    fn a_5_the_process_is_measured() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process::starting()));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let value = |name: &str| -> f64 {
            let line =
                text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{name}"));
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
        assert!(value("process_open_fds") >= 3.0 && value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_threads") >= 1.0 && value("process_start_time_seconds") > 1.7e9);
        assert!(value("process_cpu_seconds_total") >= 0.0);
    }

    #[test]
    fn a_name_with_parentheses_misleads_nobody() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds(""), None);
    }
}
