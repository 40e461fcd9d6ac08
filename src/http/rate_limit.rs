//! How often one address may ask: a token bucket each, in the memory of this process.
//!
//! Several server processes count each for themselves; what must hold across them, failed
//! log-ins, is counted per account in the database. A bucket is one number (GCRA: the time at which
//! it will be full again), so a full one need not be kept, and memory is bounded however many
//! addresses ask.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const SHARDS: usize = 16;

/// Buckets of one shard; some 150 KiB when all are in use.
const SHARD_CAPACITY: usize = 4096;

/// The callers that share a bucket: one IPv4 address, or one IPv6 network of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Caller {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl From<IpAddr> for Caller {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.octets()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// One token bucket for every address.
#[derive(Debug)]
pub(super) struct RateLimiter {
    /// Until one token is back.
    interval: Duration,
    /// Until an empty bucket is full.
    span: Duration,
    hasher: RandomState,
    /// When each bucket will be full again.
    shards: [Mutex<HashMap<Caller, Instant>>; SHARDS],
}

impl RateLimiter {
    /// Buckets of `burst` tokens, of which `amount` come back in each `period`.
    pub(super) fn new(amount: NonZeroU32, period: Duration, burst: NonZeroU32) -> Self {
        let interval = period / amount.get();
        Self {
            interval,
            span: interval * burst.get(),
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Takes a token from the bucket of this address.
    ///
    /// # Errors
    /// How long to wait for the next token, when there is none.
    pub(super) fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let caller = Caller::from(address);
        let hash = self.hasher.hash_one(caller);
        let Some(shard) = self.shards.get(usize::try_from(hash % SHARDS as u64).unwrap_or(0)) else {
            return Ok(());
        };
        let mut buckets = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = buckets.get(&caller).map_or(now, |at| now.max(*at)) + self.interval;
        let missing = full_at - now;
        if missing > self.span {
            return Err(missing - self.span);
        }
        if buckets.len() >= SHARD_CAPACITY && !buckets.contains_key(&caller) {
            make_room(&mut buckets, now);
        }
        buckets.insert(caller, full_at);
        Ok(())
    }
}

/// Forgets the full buckets, which loses nothing, and if that is not enough the fullest half.
fn make_room(buckets: &mut HashMap<Caller, Instant>, now: Instant) {
    buckets.retain(|_, full_at| *full_at > now);
    if buckets.len() > SHARD_CAPACITY / 2 {
        let mut times: Vec<Instant> = buckets.values().copied().collect();
        let (_, median, _) = times.select_nth_unstable(SHARD_CAPACITY / 4);
        let median = *median;
        buckets.retain(|_, full_at| *full_at > median);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn limiter(per_second: u32, burst: u32) -> RateLimiter {
        RateLimiter::new(
            NonZeroU32::new(per_second).unwrap(),
            Duration::from_secs(1),
            NonZeroU32::new(burst).unwrap(),
        )
    }

    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn a_burst_passes_then_one_for_each_token_that_comes_back() {
        let limiter = limiter(10, 3);
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(limiter.take(HOME, start), Ok(()));
        }
        assert_eq!(limiter.take(HOME, start), Err(Duration::from_millis(100)));
        let later = start + Duration::from_millis(100);
        assert_eq!(limiter.take(HOME, later), Ok(()));
        assert_eq!(limiter.take(HOME, later), Err(Duration::from_millis(100)));
    }

    #[test]
    fn a_refusal_costs_nothing() {
        let limiter = limiter(1, 1);
        let start = Instant::now();
        assert!(limiter.take(HOME, start).is_ok());
        for _ in 0..100 {
            assert!(limiter.take(HOME, start).is_err());
        }
        assert!(limiter.take(HOME, start + Duration::from_secs(1)).is_ok());
    }

    #[test]
    fn addresses_are_counted_apart_but_an_ipv6_network_together() {
        let limiter = limiter(1, 1);
        let now = Instant::now();
        let v6 = |a: u16, b: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, a, 0, 0, 0, b));
        assert!(limiter.take(HOME, now).is_ok());
        assert!(limiter.take(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), now).is_ok());
        assert!(limiter.take(v6(1, 1), now).is_ok());
        assert!(limiter.take(v6(1, 2), now).is_err());
        assert!(limiter.take(v6(2, 1), now).is_ok());
        assert!(limiter.take(IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped()), now).is_err());
    }

    #[test]
    fn memory_is_bounded_and_the_emptiest_buckets_are_kept() {
        let limiter = limiter(1, 5);
        let now = Instant::now();
        for _ in 0..5 {
            assert!(limiter.take(HOME, now).is_ok());
        }
        for n in 0..200_000_u32 {
            let _ = limiter.take(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n)), now);
        }
        let held: usize = limiter.shards.iter().map(|shard| shard.lock().unwrap().len()).sum();
        assert!(held <= SHARDS * SHARD_CAPACITY, "{held}");
        assert!(limiter.take(HOME, now).is_err(), "a flood of addresses must not empty the count of another");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn never_more_than_burst_and_rate_allow_and_waiting_as_told_is_enough(
            rate in 1_u32..20, burst in 1_u32..20, gaps in proptest::collection::vec(0_u64..400, 1..80)
        ) {
            let limiter = limiter(rate, burst);
            let start = Instant::now();
            let mut now = start;
            let mut passed = 0_u32;
            for gap in gaps {
                now += Duration::from_millis(gap);
                match limiter.take(HOME, now) {
                    Ok(()) => passed += 1,
                    Err(wait) => {
                        now += wait;
                        prop_assert_eq!(limiter.take(HOME, now), Ok(()));
                        passed += 1;
                    }
                }
                let most = f64::from(burst) + (now - start).as_secs_f64() * f64::from(rate);
                prop_assert!(f64::from(passed) <= most + 0.001, "{} passed, {} allowed", passed, most);
            }
        }
    }
}
