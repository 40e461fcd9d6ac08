//! Times that recur: cron expressions in a time zone.

use std::{fmt, str::FromStr};

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::{Cron, parser::CronParser};

use super::Violation;

/// Longest expression.
const MAX_CHARS: usize = 200;

/// A cron expression with 5 fields, or 6 with seconds first; names, `@daily` and the like, `L`, `W` and `#` are known.
/// Read in a time zone: where its clocks are put forward, a time that is skipped moves to the next that exists; where they
/// are put back, a time that comes twice is taken once.
#[derive(Clone)]
pub struct Recurrence {
    text: String,
    /// Kilobytes.
    cron: Box<Cron>,
    timezone: Tz,
}

impl Recurrence {
    /// Reads an expression and the IANA name of a time zone.
    ///
    /// # Errors
    /// `/cron` `invalid_cron`, also for one that never comes again; `/timezone` `invalid_timezone`.
    pub fn parse(cron: &str, timezone: &str, now: DateTime<Utc>) -> Result<Self, Vec<Violation>> {
        let zone = Tz::from_str(timezone).map_err(|_| {
            Violation::new(
                "/timezone",
                "invalid_timezone",
                "the IANA name of a time zone, such as Europe/Berlin",
            )
        });
        let cron = read(cron).ok_or_else(|| {
            let message = "5 fields (minute hour day month weekday), or 6 with seconds first";
            Violation::new("/cron", "invalid_cron", message)
        });
        match (cron, zone) {
            (Ok((text, cron)), Ok(timezone)) => {
                let recurrence = Self { text, cron: Box::new(cron), timezone };
                if recurrence.next_after(now).is_some() {
                    Ok(recurrence)
                } else {
                    Err(vec![Violation::new("/cron", "invalid_cron", "never comes again")])
                }
            }
            (cron, zone) => Err(cron.err().into_iter().chain(zone.err()).collect()),
        }
    }

    /// The first time after `at`; `None` when there is none within reach of the calendar.
    pub fn next_after(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let local = at.with_timezone(&self.timezone);
        let next = self.cron.find_next_occurrence(&local, false).ok()?.with_timezone(&Utc);
        (next > at).then_some(next)
    }

    /// The last time before `at`; `None` when there is none within reach of the calendar.
    pub fn last_before(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // Fractions of a second are cut off: up, so that the second that has begun is among those before.
        let local = (at + TimeDelta::nanoseconds(999_999_999)).with_timezone(&self.timezone);
        let last = self.cron.find_previous_occurrence(&local, false).ok()?.with_timezone(&Utc);
        (last < at).then_some(last)
    }

    /// The next `count` times after `at`.
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

fn read(text: &str) -> Option<(String, Cron)> {
    if text.len() > MAX_CHARS || !text.is_ascii() || text.chars().any(char::is_control) {
        return None;
    }
    let text = text.trim();
    let cron = CronParser::builder().build().parse(text).ok()?;
    Some((text.to_owned(), cron))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn now() -> DateTime<Utc> {
        at("2030-01-01T00:00:00Z")
    }

    fn recurrence(cron: &str, timezone: &str) -> Recurrence {
        Recurrence::parse(cron, timezone, now()).unwrap()
    }

    #[test]
    fn the_next_time_lies_strictly_ahead() {
        let hourly = recurrence("0 * * * *", "UTC");
        assert_eq!(hourly.next_after(now()), Some(at("2030-01-01T01:00:00Z")));
        assert_eq!(hourly.next_after(at("2030-01-01T00:59:59.999Z")), Some(at("2030-01-01T01:00:00Z")));
        assert_eq!(hourly.last_before(now()), Some(at("2029-12-31T23:00:00Z")));
        assert_eq!(hourly.last_before(at("2030-01-01T00:00:00.001Z")), Some(now()));
        let each_second = recurrence("* * * * * *", "UTC");
        assert_eq!(each_second.next_after(now()), Some(at("2030-01-01T00:00:01Z")));
        assert_eq!(
            recurrence("@daily", "UTC").upcoming(now(), 2),
            [at("2030-01-02T00:00:00Z"), at("2030-01-03T00:00:00Z")]
        );
    }

    #[test]
    fn a_time_is_that_of_its_zone_through_both_changes_of_the_clocks() {
        let morning = recurrence("30 2 * * *", "Europe/Berlin");
        // 2030-03-31: 2:30 does not exist. 2030-10-27: it comes twice.
        assert_eq!(
            morning.upcoming(at("2030-03-29T12:00:00Z"), 3),
            [at("2030-03-30T01:30:00Z"), at("2030-03-31T01:00:00Z"), at("2030-04-01T00:30:00Z")]
        );
        assert_eq!(
            morning.upcoming(at("2030-10-26T12:00:00Z"), 2),
            [at("2030-10-27T00:30:00Z"), at("2030-10-28T01:30:00Z")]
        );
    }

    #[test]
    fn nonsense_is_refused_and_both_fields_are_told() {
        for cron in
            ["", "* * * *", "60 * * * *", "* * * * * * * *", "0 0 31 2 *", "hello", "0 0 * * mon\n", "é"]
        {
            let wrong = Recurrence::parse(cron, "UTC", now()).unwrap_err();
            assert_eq!(wrong[0].code, "invalid_cron", "{cron:?}");
        }
        let wrong = Recurrence::parse("x", "Mars/Olympus", now()).unwrap_err();
        assert_eq!(wrong.iter().map(|v| v.code).collect::<Vec<_>>(), ["invalid_cron", "invalid_timezone"]);
        assert!(Recurrence::parse("* * * * *", "", now()).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn whatever_is_taken_recurs(
            text in "([0-9*/,-]{1,4} ){4,5}[0-9*LW#/A-Z-]{1,5}|\\PC{0,30}",
            zone in proptest::sample::select(&["UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"][..]),
        ) {
            if let Ok(recurrence) = Recurrence::parse(&text, zone, now()) {
                let times = recurrence.upcoming(now(), 3);
                prop_assert!(!times.is_empty() && times.is_sorted());
            }
        }
    }
}
