//! How fast tasks end here: what decides how many are claimed ahead.

use std::time::{Duration, Instant};

/// Shorter than this says nothing.
const WINDOW: Duration = Duration::from_millis(50);
/// But after a rest, when so many have ended in this time, a full queue waits.
const FIRST: (u32, Duration) = (16, Duration::from_millis(10));

/// Tasks ended per second, of late.
#[derive(Debug)]
pub(super) struct Rate {
    since: Instant,
    ended: u32,
    per_second: f64,
}

impl Rate {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, ended: 0, per_second: 0.0 }
    }

    pub(super) fn count(&mut self) {
        self.ended = self.ended.saturating_add(1);
    }

    /// As many as end within `time`, if it goes on like this.
    pub(super) fn within(&mut self, time: Duration, now: Instant) -> usize {
        let window = now.duration_since(self.since);
        let rushes = self.per_second == 0.0 && self.ended >= FIRST.0 && window >= FIRST.1;
        if window >= WINDOW || rushes {
            let latest = f64::from(self.ended) / window.as_secs_f64();
            // Half of what was: quick to follow, and not thrown off by one odd window.
            self.per_second = if window > 4 * WINDOW { latest } else { (self.per_second + latest) / 2.0 };
            (self.since, self.ended) = (now, 0);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "never negative; `as` saturates"
        )]
        let tasks = (self.per_second * time.as_secs_f64()) as usize;
        tasks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_what_happens() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        let second = Duration::from_secs(1);
        assert_eq!(rate.within(second, start), 0);
        for _ in 0..100 {
            rate.count();
        }
        let later = start + Duration::from_millis(100);
        assert_eq!(rate.within(second, later), 500);
        assert_eq!(rate.within(second, later + second), 0);
    }

    #[test]
    fn a_rush_is_noticed_soon_and_a_single_task_is_none() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut rate = Rate::new(start);
        rate.count();
        let soon = start + Duration::from_millis(10);
        assert_eq!(rate.within(second, soon), 0);
        for _ in 1..100 {
            rate.count();
        }
        assert_eq!(rate.within(second, soon), 5_000);
    }
}
