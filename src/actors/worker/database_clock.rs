//! The database's clock, read between statements: the times of attempts are all by this one clock, whatever the clocks of
//! the workers' hosts say.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use chrono::{DateTime, TimeDelta, Utc};

use super::shift::Shift;
use crate::{
    db::{Connection, clock},
    domain::attempt::Times,
};

/// A clock that is behind its own last answer by more than this was set back.
const SET_BACK: TimeDelta = TimeDelta::seconds(1);

/// Follows the database's clock by this process's monotonic clock. Corrected with each heartbeat.
#[derive(Debug, Default)]
pub(super) struct DatabaseClock(Mutex<Option<Reading>>);

#[derive(Debug)]
struct Reading {
    at: Instant,
    time: DateTime<Utc>,
    /// The last answer.
    told: DateTime<Utc>,
}

impl DatabaseClock {
    /// Returns the time; `None` before the first reading. Never earlier than the last answer, so that attempts which
    /// follow each other do not overlap, unless the database's clock was set back.
    pub(super) fn now(&self) -> Option<DateTime<Utc>> {
        let mut reading = self.lock();
        let reading = reading.as_mut()?;

        let time = reading.at(Instant::now());
        let set_back = reading.told - time > SET_BACK;
        reading.told = if set_back { time } else { reading.told.max(time) };
        Some(reading.told)
    }

    /// Returns the times of an attempt that began then and ends now.
    pub(super) fn times_since(&self, began: Option<DateTime<Utc>>) -> Option<Times> {
        began.zip(self.now()).map(|(began, ended)| Times { began: began.min(ended), ended })
    }

    /// Corrects the clock by a time that the database read between `sent` and `answered`. It changes no more than that
    /// demands: with each reading it comes closer, and a slow answer does no harm.
    fn correct(&self, sent: Instant, time: DateTime<Utc>, answered: Instant) {
        let mut reading = self.lock();
        let Some(reading) = reading.as_mut() else {
            *reading = Some(Reading { at: sent, time, told: time });
            return;
        };

        let (earliest, latest) = (reading.at(sent), reading.at(answered));
        if time < earliest {
            reading.time -= earliest - time;
        } else if time > latest {
            reading.time += time - latest;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Reading>> {
        // Nothing in here can leave it half-changed, so a poisoned lock is as good as a sound one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading {
    /// The time at an instant, which may be before the reading.
    fn at(&self, instant: Instant) -> DateTime<Utc> {
        let since = instant.saturating_duration_since(self.at);
        let before = self.at.saturating_duration_since(instant);
        let delta = |duration| TimeDelta::from_std(duration).unwrap_or_default();
        self.time + delta(since) - delta(before)
    }
}

impl Shift {
    /// Reads the database's clock. Without an answer the last reading stays good for a while.
    pub(super) async fn read_database_clock(&self, connection: &mut Connection) {
        let sent = Instant::now();
        match clock::now(connection).await {
            Ok(time) => self.0.database_clock.correct(sent, time, Instant::now()),
            Err(error) => log::debug!(error:%; "worker failed to read the database's clock"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ms(ms: i64) -> TimeDelta {
        TimeDelta::milliseconds(ms)
    }

    fn error(clock: &DatabaseClock, at: Instant, time: DateTime<Utc>) -> TimeDelta {
        clock.lock().as_ref().unwrap().at(at) - time
    }

    #[test]
    fn each_reading_corrects_by_no_more_than_it_must() {
        let (clock, start, time) = (DatabaseClock::default(), Instant::now(), Utc::now());
        let after = |ms| start + Duration::from_millis(ms);
        assert_eq!(clock.now(), None);

        // Read 40 ms after it was sent: ahead by that.
        clock.correct(start, time + ms(40), after(100));
        assert_eq!(error(&clock, start, time), ms(40));
        // Read 5 ms after it was sent: ahead by that.
        clock.correct(after(1_000), time + ms(1_005), after(1_300));
        assert_eq!(error(&clock, after(2_000), time + ms(2_000)), ms(5));
        // A slow answer, read somewhere in between, changes nothing.
        clock.correct(after(3_000), time + ms(3_700), after(4_000));
        assert_eq!(error(&clock, after(4_000), time + ms(4_000)), ms(5));
        // The database's clock was put forward by an hour.
        clock.correct(after(5_000), time + ms(3_605_001), after(5_002));
        assert!(error(&clock, after(5_000), time + ms(3_605_000)).abs() <= ms(1));
    }

    #[test]
    fn it_never_goes_back_unless_the_database_does() {
        let clock = DatabaseClock::default();
        let (sent, time) = (Instant::now(), Utc::now());
        clock.correct(sent, time + ms(500), sent + Duration::from_millis(900));
        let first = clock.now().unwrap();
        clock.correct(sent, time, sent);
        assert!(clock.now().unwrap() >= first);
        clock.correct(sent, time - ms(60_000), sent);
        assert!(clock.now().unwrap() < first - ms(50_000));
    }
}
