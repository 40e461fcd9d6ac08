//! When a failed attempt is followed by the next.

use std::time::Duration;

use serde::Serialize;

/// Exponential backoff with full jitter (Brooker, "Exponential Backoff And Jitter", 2015): the n-th wait is drawn evenly
/// from zero to `first · factor^(n-1)`, at most `longest`. So tasks that failed together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RetryPolicy {
    /// Longest wait after the first failure.
    #[serde(rename = "first_secs", serialize_with = "as_secs")]
    pub first: Duration,
    /// By how much the longest wait grows with each failure, at least 1.
    pub factor: f64,
    /// No wait is longer.
    #[serde(rename = "longest_secs", serialize_with = "as_secs")]
    pub longest: Duration,
}

impl RetryPolicy {
    /// 2, 4, 8 … seconds, at most an hour.
    pub const DEFAULT: Self =
        Self { first: Duration::from_secs(2), factor: 2.0, longest: Duration::from_secs(3600) };

    /// The longest wait after the given number of failures.
    pub fn ceiling(&self, failures: u32) -> Duration {
        let doublings = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.first.as_secs_f64() * self.factor.max(1.0).powi(doublings);
        // Also when the power is infinite.
        if seconds < self.longest.as_secs_f64() { Duration::from_secs_f64(seconds) } else { self.longest }
    }

    /// The wait after the given number of failures; `chance` is drawn evenly from 0 to 1.
    pub fn delay(&self, failures: u32, chance: f64) -> Duration {
        self.ceiling(failures).mul_f64(chance.clamp(0.0, 1.0))
    }
}

fn as_secs<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ceiling_doubles_up_to_its_end() {
        let seconds = |failures| RetryPolicy::DEFAULT.ceiling(failures).as_secs();
        assert_eq!([seconds(0), seconds(1), seconds(2), seconds(3)], [2, 2, 4, 8]);
        assert_eq!([seconds(12), seconds(100), seconds(u32::MAX)], [3600; 3]);
    }

    proptest! {
        #[test]
        fn a_wait_stays_between_zero_and_its_ceiling(
            failures in any::<u32>(), chance in any::<f64>(), first in 0_u64..100_000, factor in any::<f64>(),
            longest in 0_u64..1_000_000,
        ) {
            let policy = RetryPolicy {
                first: Duration::from_millis(first), factor, longest: Duration::from_millis(longest),
            };
            let ceiling = policy.ceiling(failures);
            prop_assert!(ceiling <= policy.longest.max(policy.first));
            prop_assert!(policy.ceiling(failures.saturating_add(1)) >= ceiling);
            if !chance.is_nan() {
                prop_assert!(policy.delay(failures, chance) <= ceiling);
            }
        }
    }
}
