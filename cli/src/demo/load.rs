//! The demo's client: bounded load over keep-alive connections, and a tally of what came back.

mod tally;
mod worker;

pub(crate) use tally::Tally;

use anyhow::{Context as _, Result, bail};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use worker::Worker;

/// Send HTTP/1.1 requests until a bound is reached or SIGTERM arrives, then print a tally as JSON.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// http://HOST[:PORT]/PATH
    #[arg(long)]
    url: http::Uri,
    /// Proxies may send a GET again by themselves, a POST never.
    #[arg(long, default_value = "GET")]
    method: http::Method,
    /// Keep-alive connections, each with at most one request in flight.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    connections: u32,
    /// Stop after this many requests.
    #[arg(long)]
    requests: Option<u64>,
    /// Requests per second over all connections; without it each sends as soon as the last answer is there.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Stop after this long.
    #[arg(long)]
    seconds: Option<f64>,
}

/// What the load says on stderr once so many requests have succeeded.
pub(crate) const UNDER_WAY: &str = "the load is under way";
const UNDER_WAY_AFTER: u64 = 200;

/// What the workers share.
struct Bounds {
    stop: AtomicBool,
    tickets: AtomicU64,
    started: Instant,
    successes: AtomicU64,
    /// Microseconds from the start to the last success, and the longest wait for one.
    last_success: AtomicU64,
    longest_gap: AtomicU64,
}

impl Bounds {
    /// Whether one more request may be sent.
    fn next(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
            && self.tickets.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    fn succeeded(&self) {
        let now = self.started.elapsed().as_micros() as u64;
        let last = self.last_success.swap(now, Ordering::Relaxed);
        if last > 0 {
            self.longest_gap.fetch_max(now.saturating_sub(last), Ordering::Relaxed);
        }
        if self.successes.fetch_add(1, Ordering::Relaxed) + 1 == UNDER_WAY_AFTER {
            eprintln!("{UNDER_WAY}");
        }
    }
}

pub(crate) async fn run(args: Args) -> Result<()> {
    if args.url.scheme_str() != Some("http") || args.url.host().is_none() {
        bail!("--url {} is not of the form http://HOST[:PORT]/PATH", args.url);
    }
    let seconds = args.seconds.map(Duration::try_from_secs_f64).transpose().context("--seconds")?;
    let bounds = Arc::new(Bounds {
        stop: AtomicBool::new(false),
        tickets: AtomicU64::new(args.requests.unwrap_or(u64::MAX)),
        started: Instant::now(),
        successes: AtomicU64::new(0),
        last_success: AtomicU64::new(0),
        longest_gap: AtomicU64::new(0),
    });
    let mut terminate = signal(SignalKind::terminate())?;
    let stopping = bounds.clone();
    tokio::spawn(async move {
        let deadline = tokio::time::sleep(seconds.unwrap_or(Duration::MAX));
        tokio::select! { _ = terminate.recv() => {}, () = deadline => {} }
        stopping.stop.store(true, Ordering::Relaxed);
    });
    let tally = send(&args, &bounds).await?;
    Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string(&tally)?)?)
}

async fn send(args: &Args, bounds: &Arc<Bounds>) -> Result<Tally> {
    let pause = args.rate.map(|rate| Duration::from_secs_f64(f64::from(args.connections) / f64::from(rate)));
    let worker = || Worker::new(args.method.clone(), args.url.clone(), bounds.clone(), pause);
    let workers: Vec<_> = (0..args.connections).map(|_| tokio::spawn(worker().run())).collect();
    let mut tally = Tally::default();
    for worker in workers {
        tally.add(worker.await?);
    }
    tally.longest_gap_ms = bounds.longest_gap.load(Ordering::Relaxed).div_ceil(1_000);
    tally.seconds = bounds.started.elapsed().as_secs_f64();
    Ok(tally)
}
