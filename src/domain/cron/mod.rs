//! Recurring times: cron expressions in a time zone. docs/schedules.md says what they mean.

mod expression;
mod field;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
mod zone;

use std::{fmt, str::FromStr};

use chrono::{DateTime, Datelike as _, SubsecRound as _, TimeDelta, Utc};
use chrono_tz::Tz;

use self::{expression::Expression, zone::Wall};
use super::Violation;

/// Changes of the clocks that one search passes; a year has two in most zones.
const MAX_GAPS: usize = 1_000;
/// Years that are written with four digits.
const YEARS: std::ops::RangeInclusive<i32> = 1..=9999;
const SECOND: TimeDelta = TimeDelta::seconds(1);

/// A cron expression as crontab(5) has it, with 5 fields, or 6 with seconds first, read in a time zone.
///
/// An expression whose minute or hour begins with `*` recurs at intervals: it follows the clock on the wall, so it has no
/// time while the clock skips, and twice its times where the clock is put back. Any other has fixed times: those that the
/// clock skips come once, right after the gap, and those that the clock shows twice come the first time only.
#[derive(Clone)]
pub struct Recurrence {
    text: String,
    expression: Expression,
    timezone: Tz,
}

impl Recurrence {
    /// Reads an expression and the IANA name of a time zone.
    ///
    /// # Errors
    /// `/cron` `invalid_cron`, also for one that never comes; `/timezone` `invalid_timezone`.
    pub fn parse(cron: &str, timezone: &str) -> Result<Self, Vec<Violation>> {
        let text = cron.trim_matches([' ', '\t']);
        let expression =
            Expression::parse(text).map_err(|reason| Violation::new("/cron", "invalid_cron", reason));
        let timezone = Tz::from_str(timezone).map_err(|_| {
            Violation::new(
                "/timezone",
                "invalid_timezone",
                "the IANA name of a time zone, such as Europe/Berlin",
            )
        });

        match (expression, timezone) {
            (Ok(expression), Ok(timezone)) => Ok(Self { text: text.to_owned(), expression, timezone }),
            (expression, timezone) => Err(expression.err().into_iter().chain(timezone.err()).collect()),
        }
    }

    /// Returns the first time after `at`; `None` from the year 9999 on.
    pub fn next_after(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if !YEARS.contains(&at.year()) {
            return None;
        }
        let at = at.trunc_subsecs(0);
        let next = if self.expression.is_interval() { self.next_interval(at) } else { self.next_fixed(at) };
        next.filter(|next| YEARS.contains(&next.year()))
    }

    /// Times are those at which the clock on the wall shows a matching time.
    fn next_interval(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut from = at.checked_add_signed(SECOND)?;
        for _ in 0..MAX_GAPS {
            let shown = zone::local(from, self.timezone);
            let next = self.expression.next_from(shown)?;

            // The clock is about to be put back: what it then shows again comes before later times.
            if let Some(repeat) = zone::repeat_around(shown, self.timezone)
                && from < repeat.changes_at
                && next >= repeat.until
            {
                from = repeat.changes_at;
                continue;
            }

            match zone::instants(next, self.timezone) {
                Wall::Once(time) => return Some(time),
                Wall::Twice(first, second) => return Some(if first >= from { first } else { second }),
                Wall::Never { until } => from = until?,
            }
        }
        None
    }

    /// Every matching local time has one time: the first at which the clock shows it, or else the end of the gap.
    fn next_fixed(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let shown = zone::local(at, self.timezone);
        let mut from = shown.checked_add_signed(SECOND)?;
        // The clock shows these times for the second time.
        if let Some(repeat) = zone::repeat_around(shown, self.timezone)
            && at >= repeat.changes_at
        {
            from = repeat.until;
        }

        for _ in 0..MAX_GAPS {
            let next = self.expression.next_from(from)?;
            let time = match zone::instants(next, self.timezone) {
                Wall::Once(time) | Wall::Twice(time, _) => time,
                Wall::Never { until } => until?,
            };
            if time > at {
                return Some(time);
            }
            from = next.checked_add_signed(SECOND)?;
        }
        None
    }

    /// Returns the last time before `at`; `None` when the 400 years before have none.
    pub fn last_before(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let longest = TimeDelta::days(400 * 366);
        let next_before = |from| self.next_after(from).filter(|next| *next < at);

        // Far enough back for some time in between.
        let mut back = SECOND;
        let mut low = at.checked_sub_signed(back)?;
        while next_before(low).is_none() {
            back = back.checked_mul(2).filter(|back| *back <= longest)?;
            low = at.checked_sub_signed(back)?;
        }

        // Then up to the last that still has one in between; times are whole seconds.
        let mut high = at;
        while high - low > SECOND {
            let middle = low + (high - low) / 2;
            if next_before(middle).is_some() { low = middle } else { high = middle }
        }
        next_before(low)
    }

    /// Returns the next `count` times after `at`.
    pub fn upcoming(&self, at: DateTime<Utc>, count: usize) -> Vec<DateTime<Utc>> {
        std::iter::successors(self.next_after(at), |last| self.next_after(*last)).take(count).collect()
    }

    /// The expression as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The IANA name of the time zone.
    pub fn timezone(&self) -> &'static str {
        self.timezone.name()
    }
}

impl fmt::Debug for Recurrence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recurrence({self})")
    }
}

impl fmt::Display for Recurrence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.timezone())
    }
}
