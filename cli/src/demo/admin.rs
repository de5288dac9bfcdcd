//! Asking the admin endpoints, which listen on each machine's own loopback.

use anyhow::{Context as _, Result, bail};
use outrigger_testkit::Host;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// The proxy's, the destination controller's and the policy controller's admin ports.
pub(crate) const PROXY: u16 = 4191;
pub(crate) const DESTINATION: u16 = 9996;
pub(crate) const POLICY: u16 = 9990;

const PATIENCE: Duration = Duration::from_secs(2);

/// The body of a GET, asked from inside the machine. Fails on anything but 200.
pub(crate) fn fetch(host: &Host, port: u16, path: &str) -> Result<String> {
    let answer = host.enter(|| exchange(port, path))?;
    let answer = answer.with_context(|| format!("{} does not answer on its admin port {port}", host.name()))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the admin endpoint's answer is cut off")?;
    if head.split_whitespace().nth(1) != Some("200") {
        bail!("{}:{port}{path} says {}", host.name(), head.lines().next().unwrap_or_default());
    }
    Ok(body.to_owned())
}

/// Whether `/ready` says so.
pub(crate) fn is_ready(host: &Host, port: u16) -> bool {
    fetch(host, port, "/ready").is_ok()
}

/// The value of the first sample of a metric, whatever its labels.
pub(crate) fn metric(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '{']))?;
        rest.rsplit('}').next()?.split_whitespace().next()?.parse().ok()
    })
}

/// HTTP/1.0, so that the body ends where the connection does.
fn exchange(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_with_and_without_labels() {
        let text = "# TYPE expiry gauge\nexpiry_seconds 5\nexpiry{id=\"a b\"} 1700000000.5\nother 1\n";
        assert_eq!(metric(text, "expiry"), Some(1_700_000_000.5));
        assert_eq!(metric(text, "other"), Some(1.0));
        assert_eq!(metric(text, "exp"), None);
    }
}
