//! Which endpoint takes the next request: the cheaper of two random ready ones, by peak EWMA (A.2.3).

use std::time::{Duration, Instant};

/// A moving average of round-trip times that rises at once and falls with time.
#[derive(Debug, Clone)]
pub struct PeakEwma {
    seconds: f64,
    at: Instant,
}

/// What an endpoint costs before anything is known of it (A.2.3: Linkerd's controller sends 30 ms).
pub const DEFAULT_RTT: Duration = Duration::from_millis(30);

/// The time in which an estimate falls to 1/e.
pub const DECAY: Duration = Duration::from_secs(10);

impl PeakEwma {
    pub fn new(now: Instant) -> Self {
        Self { seconds: DEFAULT_RTT.as_secs_f64(), at: now }
    }

    /// A newcomer among others: it is taken to be as fast as they are. With [`DEFAULT_RTT`] beside endpoints that answer
    /// in one millisecond it would get no request for half a minute.
    pub fn among(others: impl Iterator<Item = Self>, now: Instant) -> Self {
        let (sum, count) = others.fold((0.0, 0.0), |(sum, count), other| (sum + other.cost(0, now), count + 1.0));
        if count == 0.0 { Self::new(now) } else { Self { seconds: sum / count, at: now } }
    }

    /// Takes a measured round trip into account. `first` on its connection, it also measured what the other side had to
    /// set up: it moves the average, but is no peak. As one it would starve every endpoint that is new.
    pub fn observe(&mut self, rtt: Duration, first: bool, now: Instant) {
        let rtt = rtt.as_secs_f64();
        let weight = self.fade(now);
        let peak = rtt > self.seconds && !first;
        self.seconds = if peak { rtt } else { self.seconds * weight + rtt * (1.0 - weight) };
        self.at = now;
    }

    /// The estimate, faded since the last measurement, times the requests that would then be in flight.
    pub fn cost(&self, in_flight: u32, now: Instant) -> f64 {
        self.seconds * self.fade(now) * (f64::from(in_flight) + 1.0)
    }

    fn fade(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.at).as_secs_f64();
        // Within 10 µs nothing fades, and exp is the dearest step of a pick.
        if age < 1e-5 { 1.0 } else { (-age / DECAY.as_secs_f64()).exp() }
    }
}

/// Growing pauses between attempts to reach an endpoint that failed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    pub min: Duration,
    pub max: Duration,
    /// Up to this share is added at random.
    pub jitter: f64,
}

impl Backoff {
    /// The pause after `failures` failures in a row (from 1); `random` is uniform in 0..1.
    pub fn delay(&self, failures: u32, random: f64) -> Duration {
        let doubled = self.min.saturating_mul(1 << failures.saturating_sub(1).min(20));
        doubled.min(self.max).mul_f64(1.0 + self.jitter * random)
    }
}

/// What a pick needs to know of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Not before this time: the endpoint failed to connect.
    pub not_before: Option<Instant>,
    /// Zero: only if no other endpoint has a weight.
    pub weight: u32,
    pub cost: f64,
}

impl Candidate {
    /// Whether it may be tried.
    pub fn ready(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|time| time <= now)
    }

    fn price(&self) -> f64 {
        self.cost / f64::from(self.weight.max(1))
    }
}

/// The outcome of a pick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pick {
    Endpoint(usize),
    /// Every endpoint has failed; the first may be tried again then.
    NotBefore(Instant),
    Empty,
}

/// Picks among `count` endpoints. `random` is 64 uniform bits; `candidate` is asked for two of them in the usual case.
pub fn pick(count: usize, random: u64, now: Instant, candidate: impl Fn(usize) -> Candidate) -> Pick {
    if count == 0 {
        return Pick::Empty;
    }
    let (first, second) = two(count, random);
    let (a, b) = (candidate(first), candidate(second));
    if a.ready(now) && b.ready(now) && a.weight > 0 && b.weight > 0 {
        return Pick::Endpoint(if a.price() <= b.price() { first } else { second });
    }
    pick_of_ready(count, random, now, candidate)
}

/// The unusual case: some endpoint is not ready, or carries no weight.
fn pick_of_ready(count: usize, random: u64, now: Instant, candidate: impl Fn(usize) -> Candidate) -> Pick {
    let ready: Vec<usize> = (0..count).filter(|&i| candidate(i).ready(now)).collect();
    let weighty: Vec<usize> = ready.iter().copied().filter(|&i| candidate(i).weight > 0).collect();
    let choice = if weighty.is_empty() { ready } else { weighty };
    if choice.is_empty() {
        let soonest = (0..count).filter_map(|i| candidate(i).not_before).min();
        return soonest.map_or(Pick::Empty, Pick::NotBefore);
    }
    let (first, second) = two(choice.len(), random);
    let (first, second) = (choice[first], choice[second]);
    Pick::Endpoint(if candidate(first).price() <= candidate(second).price() { first } else { second })
}

/// Two different indices below `count`, or the only one twice.
fn two(count: usize, random: u64) -> (usize, usize) {
    let scale = |bits: u64, below: usize| (((bits & 0xffff_ffff) * below as u64) >> 32) as usize;
    let first = scale(random, count);
    if count == 1 {
        return (0, 0);
    }
    let second = scale(random >> 32, count - 1);
    (first, if second >= first { second + 1 } else { second })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OPEN: Candidate = Candidate { not_before: None, weight: 10_000, cost: 1.0 };

    #[test]
    fn the_estimate_rises_at_once_and_falls_with_time() {
        let start = Instant::now();
        let mut ewma = PeakEwma::new(start);
        ewma.observe(Duration::from_millis(100), true, start);
        assert_eq!(ewma.cost(0, start), 0.03, "the first answer on a connection is no peak");
        ewma.observe(Duration::from_millis(100), false, start);
        assert_eq!(ewma.cost(0, start), 0.1);
        assert_eq!(ewma.cost(3, start), 0.4);
        let later = start + DECAY;
        assert!((ewma.cost(0, later) - 0.1 / std::f64::consts::E).abs() < 1e-9);
        ewma.observe(Duration::from_millis(10), false, later);
        assert!(ewma.cost(0, later) < 0.05);
    }

    #[test]
    fn a_newcomer_is_taken_to_be_as_fast_as_the_others() {
        let now = Instant::now();
        assert_eq!(PeakEwma::among(std::iter::empty(), now).cost(0, now), DEFAULT_RTT.as_secs_f64());
        let others = [2, 4].map(|ms| PeakEwma { seconds: f64::from(ms) / 1e3, at: now });
        assert!((PeakEwma::among(others.into_iter(), now).cost(0, now) - 0.003).abs() < 1e-9);
    }

    #[test]
    fn failed_endpoints_are_left_out_until_their_time() {
        let now = Instant::now();
        let (soon, late) = (now + Duration::from_millis(1), now + Duration::from_secs(1));
        let at = |times: [Option<Instant>; 2]| {
            move |random| pick(2, random, now, |i| Candidate { not_before: times[i], ..OPEN })
        };
        for random in [0, u64::MAX, 0x8000_0000_0000_0001] {
            assert_eq!(at([Some(late), None])(random), Pick::Endpoint(1));
            assert_eq!(at([Some(late), Some(soon)])(random), Pick::NotBefore(soon));
            assert_eq!(at([Some(late), Some(now)])(random), Pick::Endpoint(1));
        }
        assert_eq!(pick(0, 0, now, |_| OPEN), Pick::Empty);
    }

    #[test]
    fn backoff_doubles_up_to_its_limit() {
        let backoff = Backoff { min: Duration::from_millis(100), max: Duration::from_secs(60), jitter: 0.1 };
        assert_eq!(backoff.delay(1, 0.0), Duration::from_millis(100));
        assert_eq!(backoff.delay(3, 0.0), Duration::from_millis(400));
        assert_eq!(backoff.delay(u32::MAX, 1.0), Duration::from_secs(66));
    }

    proptest! {
        #[test]
        fn a_pick_is_ready_has_weight_and_is_the_cheaper_of_two(
            random: u64, costs in proptest::collection::vec((0.0f64..10.0, 0u32..3, any::<bool>()), 1..9),
        ) {
            let now = Instant::now();
            let candidate = |i: usize| {
                let (cost, weight, failed) = costs[i];
                Candidate { not_before: failed.then(|| now + DECAY), weight, cost }
            };
            let any_ready = (0..costs.len()).any(|i| candidate(i).ready(now));
            let any_weight = (0..costs.len()).any(|i| candidate(i).ready(now) && candidate(i).weight > 0);
            match pick(costs.len(), random, now, candidate) {
                Pick::Endpoint(i) => {
                    prop_assert!(candidate(i).ready(now));
                    prop_assert!(candidate(i).weight > 0 || !any_weight);
                }
                Pick::NotBefore(_) => prop_assert!(!any_ready),
                Pick::Empty => prop_assert!(false, "there are endpoints"),
            }
        }

        #[test]
        fn two_choices_differ_and_reach_everything(random: u64, count in 2usize..50) {
            let (a, b) = two(count, random);
            prop_assert!(a != b && a < count && b < count);
        }
    }
}
