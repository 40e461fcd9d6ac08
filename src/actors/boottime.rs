//! Time that goes on while the machine sleeps.
//!
//! What may be answered from memory until a point in time must not be answered after a suspend, nor after an
//! administrator set the clock: `CLOCK_BOOTTIME` runs through both (clock_gettime(2)), `std`'s `Instant` does not.

use std::{
    ops::{Add, Sub},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// A point in time, counted from the start of the machine. Not comparable between machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Boottime(Duration);

impl Boottime {
    /// Now.
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        Self(Duration::new(
            u64::try_from(time.tv_sec).unwrap_or_default(),
            u32::try_from(time.tv_nsec).unwrap_or_default(),
        ))
    }

    /// How long ago that is; zero if it lies ahead.
    pub fn elapsed(self) -> Duration {
        Self::now() - self
    }
}

impl Add<Duration> for Boottime {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}

impl Sub for Boottime {
    type Output = Duration;

    /// Zero if `earlier` is the later one.
    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_only_goes_forward() {
        let before = Boottime::now();
        let after = Boottime::now();
        assert!(after >= before);
        assert_eq!(before - (before + Duration::from_secs(1)), Duration::ZERO);
        assert_eq!((before + Duration::from_secs(1)) - before, Duration::from_secs(1));
    }
}
