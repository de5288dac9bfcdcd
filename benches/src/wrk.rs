//! The load: wrk with one thread, which sends the next request of a connection when the last one's answer is there.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use outrigger_testkit::Host;

/// Figures in a line of our own, since wrk prints rounded ones.
const SCRIPT: &str = r#"
done = function(summary, latency, requests)
    local e = summary.errors
    io.write(string.format("figures %d %d %d %d %d %d\n", summary.requests, summary.duration, latency:percentile(50),
        latency:percentile(99), latency.mean, e.connect + e.read + e.write + e.status + e.timeout))
end
"#;
const LABEL: &str = "figures ";

/// What one run of wrk saw; times in microseconds.
#[derive(Debug, PartialEq)]
pub(crate) struct Load {
    pub(crate) requests: u64,
    pub(crate) duration_us: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    mean_us: u64,
    errors: u64,
}

/// Sends load from `client` for some seconds; an answer other than 2xx or 3xx is an error.
pub(crate) fn load(client: &Host, target: SocketAddr, connections: u32, seconds: u32) -> Result<Load> {
    let script = std::env::temp_dir().join(format!("outrigger-bench-{}.lua", std::process::id()));
    std::fs::write(&script, SCRIPT).with_context(|| format!("cannot write {}", script.display()))?;
    let url = format!("http://{target}/");
    let (connections_arg, duration) = (format!("-c{connections}"), format!("-d{seconds}s"));
    let output = client.run("wrk", &["-t1", &connections_arg, &duration, "-s", &script.to_string_lossy(), &url]);
    let _ = std::fs::remove_file(&script);
    let output = output?;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    parse(&text).with_context(|| format!("wrk printed: {text}{errors}"))
}

impl Load {
    /// A path that drops or starves connections may look fast. Not all need have been busy: wrk itself makes them wait.
    pub(crate) fn check(&self, connections: u32) -> Result<()> {
        ensure!(self.errors == 0, "{} of {} requests failed", self.errors, self.requests);
        ensure!(self.requests > 0, "no request was answered");
        let busy = self.requests as f64 * self.mean_us as f64 / self.duration_us.max(1) as f64;
        ensure!(busy > 0.4 * f64::from(connections), "only {busy:.1} of {connections} connections were busy");
        Ok(())
    }
}

fn parse(text: &str) -> Option<Load> {
    let line = text.lines().find_map(|line| line.strip_prefix(LABEL))?;
    let figures: Vec<u64> = line.split(' ').map(|figure| figure.parse().ok()).collect::<Option<_>>()?;
    let [requests, duration_us, p50_us, p99_us, mean_us, errors] = figures[..] else { return None };
    Some(Load { requests, duration_us, p50_us, p99_us, mean_us, errors })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(requests: u64, mean_us: u64, errors: u64) -> Load {
        Load { requests, duration_us: 1_000_000, p50_us: 90, p99_us: 200, mean_us, errors }
    }

    #[test]
    fn figures_are_found_among_what_wrk_prints() {
        let text = "Running 1s test\nRequests/sec: 10.0\nfigures 10 1000000 90 200 100 0\n";
        assert_eq!(parse(text), Some(load(10, 100, 0)));
        assert_eq!(parse("Running 1s test\n"), None);
    }

    #[test]
    fn a_run_with_failed_or_starved_connections_is_no_measurement() {
        assert!(load(10_000, 3_000, 0).check(32).is_ok());
        assert!(load(10_000, 3_000, 1).check(32).is_err());
        assert!(load(10_000, 800, 0).check(32).unwrap_err().to_string().contains("8.0 of 32"));
        assert!(load(0, 0, 0).check(1).is_err());
    }
}
