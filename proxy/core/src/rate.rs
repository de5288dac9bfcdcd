//! How many requests a second are served (A.3.4): token buckets that hold one second's worth.

use outrigger_model::{Identity, Peer, RateLimit};
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

/// The buckets of one rate limit.
#[derive(Debug)]
pub struct Limiter {
    total: Option<Bucket>,
    overrides: Vec<(Arc<[Arc<str>]>, Bucket)>,
    each: Option<Each>,
}

/// Which limit a request is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Total,
    /// The client's own, or its override.
    Identity,
}

/// A bucket for each client.
#[derive(Debug)]
struct Each {
    limit: NonZeroU32,
    /// Clients without an identity share the bucket of `None`.
    clients: HashMap<Option<Identity>, Bucket>,
    /// Full buckets are forgotten when there are more than this.
    sweep_at: usize,
}

const FIRST_SWEEP: usize = 1024;

impl Limiter {
    /// Full buckets.
    pub fn new(limit: &RateLimit, now: Instant) -> Self {
        let bucket = |limit| Bucket::full(limit, now);
        Self {
            total: limit.total.map(bucket),
            overrides: limit.overrides.iter().map(|of| (Arc::clone(&of.clients), bucket(of.limit))).collect(),
            each: limit.identity.map(|limit| Each { limit, clients: HashMap::new(), sweep_at: FIRST_SWEEP }),
        }
    }

    /// Counts a request of the client; the error says which limit it is over. As Linkerd's proxy does, the total is
    /// counted first, and what the client's own limit refuses stays counted there.
    pub fn take(&mut self, client: Option<&Peer>, now: Instant) -> Result<(), Scope> {
        if self.total.as_mut().is_some_and(|bucket| !bucket.take(now)) {
            return Err(Scope::Total);
        }
        let named = |clients: &[Arc<str>], peer: &Peer| {
            peer.names().iter().any(|name| clients.iter().any(|client| **client == *name.as_str()))
        };
        let own = client.and_then(|peer| self.overrides.iter_mut().find(|(clients, _)| named(clients, peer)));
        let within = match (own, &mut self.each) {
            (Some((_, bucket)), _) => bucket.take(now),
            (None, Some(each)) => each.take(client.map(Peer::identity), now),
            (None, None) => true,
        };
        if within { Ok(()) } else { Err(Scope::Identity) }
    }
}

impl Each {
    fn take(&mut self, client: Option<&Identity>, now: Instant) -> bool {
        let client = client.cloned();
        if let Some(bucket) = self.clients.get_mut(&client) {
            return bucket.take(now);
        }
        if self.clients.len() >= self.sweep_at {
            self.clients.retain(|_, bucket| !bucket.is_full(now));
            self.sweep_at = (2 * self.clients.len()).max(FIRST_SWEEP);
        }
        let mut bucket = Bucket::full(self.limit, now);
        let taken = bucket.take(now);
        self.clients.insert(client, bucket);
        taken
    }
}

/// Tokens that come back steadily, up to one second's worth.
#[derive(Debug, Clone)]
struct Bucket {
    per_second: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn full(limit: NonZeroU32, now: Instant) -> Self {
        let per_second = f64::from(limit.get());
        Self { per_second, tokens: per_second, at: now }
    }

    fn refilled(&self, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.tokens + elapsed * self.per_second).min(self.per_second)
    }

    fn is_full(&self, now: Instant) -> bool {
        self.refilled(now) >= self.per_second
    }

    fn take(&mut self, now: Instant) -> bool {
        self.tokens = self.refilled(now);
        self.at = self.at.max(now);
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrigger_model::{Meta, RateOverride};
    use proptest::prelude::*;
    use std::time::Duration;

    fn limit(total: u32, identity: u32, overrides: &[(u32, &[&str])]) -> RateLimit {
        let one = |&(limit, clients): &(u32, &[&str])| RateOverride {
            limit: NonZeroU32::new(limit).unwrap(),
            clients: clients.iter().map(|&client| client.into()).collect(),
        };
        RateLimit {
            meta: Meta::default_named("test"),
            total: NonZeroU32::new(total),
            identity: NonZeroU32::new(identity),
            overrides: overrides.iter().map(one).collect(),
        }
    }

    fn peer(uri: &str) -> Peer {
        Peer::from_sans(&"td".parse().unwrap(), &[uri], &["web.example"]).unwrap()
    }

    /// How many of `tries` requests at one time get through.
    fn burst(limiter: &mut Limiter, client: Option<&Peer>, tries: usize, now: Instant) -> usize {
        (0..tries).filter(|_| limiter.take(client, now).is_ok()).count()
    }

    #[test]
    fn a_3_4_a_second_holds_n_at_once_and_n_more_over_time() {
        let now = Instant::now();
        let mut limiter = Limiter::new(&limit(10, 0, &[]), now);
        assert_eq!(burst(&mut limiter, None, 20, now), 10);
        assert_eq!(limiter.take(None, now), Err(Scope::Total));
        let later = now + Duration::from_millis(250);
        assert_eq!(burst(&mut limiter, None, 20, later), 2);
        assert_eq!(burst(&mut limiter, None, 20, later + Duration::from_secs(9)), 10, "no more than a second's worth");
        assert_eq!(burst(&mut limiter, None, 20, now), 0, "time does not go back");
    }

    #[test]
    fn a_3_4_overrides_come_before_the_identitys_own_limit_and_are_shared() {
        let now = Instant::now();
        let (a, b, c) = (peer("spiffe://td/a"), peer("spiffe://td/b"), peer("spiffe://td/c"));
        let own: &[(u32, &[&str])] = &[(3, &["spiffe://td/a", "spiffe://td/b"]), (5, &["spiffe://td/"])];
        let mut limiter = Limiter::new(&limit(0, 1, own), now);
        assert_eq!(burst(&mut limiter, Some(&a), 2, now), 2);
        assert_eq!(burst(&mut limiter, Some(&b), 9, now), 1, "the override's clients share it");
        assert_eq!(burst(&mut limiter, Some(&c), 9, now), 1, "ids match exactly");
        assert_eq!(limiter.take(Some(&c), now), Err(Scope::Identity));
        assert_eq!(burst(&mut limiter, None, 9, now), 1, "all without an identity are one client");
        let mut by_dns = Limiter::new(&limit(0, 1, &[(4, &["web.example"])]), now);
        assert_eq!(burst(&mut by_dns, Some(&c), 9, now), 4, "any name of the leaf");
    }

    #[test]
    fn a_3_4_the_total_is_counted_first() {
        let now = Instant::now();
        let mut limiter = Limiter::new(&limit(2, 1, &[]), now);
        let vm = peer("spiffe://td/vm");
        assert_eq!(limiter.take(Some(&vm), now), Ok(()));
        assert_eq!(limiter.take(Some(&vm), now), Err(Scope::Identity));
        assert_eq!(limiter.take(None, now), Err(Scope::Total), "the refused request counted too");
        assert_eq!(burst(&mut Limiter::new(&limit(0, 0, &[]), now), None, 100, now), 100);
    }

    #[test]
    fn a_flood_of_identities_does_not_stay_in_memory() {
        let mut now = Instant::now();
        let mut limiter = Limiter::new(&limit(0, 1, &[]), now);
        for i in 0..5 * FIRST_SWEEP {
            assert!(limiter.take(Some(&peer(&format!("spiffe://td/{i}"))), now).is_ok());
            now += Duration::from_millis(2);
        }
        assert!(limiter.each.unwrap().clients.len() <= 2 * FIRST_SWEEP);
    }

    proptest! {
        #[test]
        fn no_window_ever_holds_more_than_a_burst_and_the_rate(
            per_second in 1u32..50, gaps in proptest::collection::vec(0u64..200, 1..300),
        ) {
            let start = Instant::now();
            let mut now = start;
            let mut bucket = Bucket::full(NonZeroU32::new(per_second).unwrap(), now);
            let mut taken = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                if bucket.take(now) {
                    taken.push(now);
                }
            }
            for (i, first) in taken.iter().enumerate() {
                for (j, last) in taken.iter().enumerate().skip(i) {
                    let window = last.duration_since(*first).as_secs_f64();
                    let most = f64::from(per_second) * (1.0 + window) + 1e-6;
                    prop_assert!((j - i + 1) as f64 <= most, "{} in {window} s", j - i + 1);
                }
            }
        }
    }
}
