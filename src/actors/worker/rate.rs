//! How fast tasks end here: what decides how many are claimed ahead.

use std::time::{Duration, Instant};

/// Shorter than this says nothing …
const WINDOW: Duration = Duration::from_millis(50);
/// … unless so many have ended in it: then it counts as if it were over.
const RUSH: u32 = 16;

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

    /// Nothing ran until now, so nothing could end.
    pub(super) fn rested(&mut self, now: Instant) {
        if self.ended == 0 {
            self.since = now;
        }
    }

    /// As many as end within `time`, if it goes on like this.
    pub(super) fn within(&mut self, time: Duration, now: Instant) -> usize {
        let window = now.duration_since(self.since);
        let latest = f64::from(self.ended) / window.max(WINDOW).as_secs_f64();
        if window >= WINDOW {
            // Half of what was: quick to follow, and not thrown off by one odd window.
            self.per_second = if window > 4 * WINDOW { latest } else { (self.per_second + latest) / 2.0 };
            (self.since, self.ended) = (now, 0);
        } else if self.ended >= RUSH {
            self.per_second = self.per_second.max(latest);
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

    const SECOND: Duration = Duration::from_secs(1);

    fn after(ended: usize, rate: &mut Rate, since: Instant, window: Duration) -> usize {
        for _ in 0..ended {
            rate.count();
        }
        rate.within(SECOND, since + window)
    }

    #[test]
    fn it_follows_what_happens() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        assert_eq!(rate.within(SECOND, start), 0);
        assert_eq!(after(100, &mut rate, start, 2 * WINDOW), 500);
        assert_eq!(after(0, &mut rate, start, 2 * WINDOW + SECOND), 0);
    }

    #[test]
    fn a_rush_is_noticed_at_once_and_a_single_task_is_none() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        assert_eq!(after(1, &mut rate, start, WINDOW / 50), 0);
        assert_eq!(after(99, &mut rate, start, WINDOW / 50), 2_000);
        assert_eq!(after(0, &mut rate, start, WINDOW), 2_000);
    }

    #[test]
    fn a_rest_does_not_count() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        rate.rested(start + SECOND);
        assert_eq!(after(100, &mut rate, start + SECOND, WINDOW), 1_000);
        rate.count();
        rate.rested(start + 2 * SECOND);
        assert_eq!(after(0, &mut rate, start + SECOND, 2 * WINDOW), (1_000 + 20) / 2);
    }
}
