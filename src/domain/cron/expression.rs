//! A whole expression, and the local times that it matches.

use chrono::{Datelike as _, NaiveDate, NaiveDateTime, NaiveTime, Timelike as _};

use super::field::{DAY, Field, HOUR, MINUTE, MONTH, Refusal, SECOND, WEEKDAY};

/// Longest expression.
const MAX_BYTES: usize = 200;
/// Months that are searched for a matching day. The calendar repeats itself after 400 years.
const MONTHS_SEARCHED: i32 = 400 * 12;

/// Shorthands of crontab(5). `@reboot` is none: a schedule has no boot.
const SHORTHANDS: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// A parsed expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expression {
    second: Field,
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

impl Expression {
    /// Parses an expression of 5 fields, or 6 with seconds first, or a shorthand.
    ///
    /// # Errors
    /// The reason for refusing it.
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        if text.len() > MAX_BYTES {
            return Err(format!("at most {MAX_BYTES} bytes"));
        }
        if let Some((_, fields)) = SHORTHANDS.iter().find(|(shorthand, _)| *shorthand == text) {
            return Self::parse(fields);
        }
        if text.starts_with('@') {
            return Err(format!("shorthands are {}", SHORTHANDS.map(|(shorthand, _)| shorthand).join(", ")));
        }

        let fields: Vec<&str> = text.split([' ', '\t']).filter(|field| !field.is_empty()).collect();
        let (second, [minute, hour, day, month, weekday]) = match fields[..] {
            [minute, hour, day, month, weekday] => ("0", [minute, hour, day, month, weekday]),
            [second, minute, hour, day, month, weekday] => (second, [minute, hour, day, month, weekday]),
            _ => return Err("5 fields (minute hour day month weekday), or 6 with seconds first".to_owned()),
        };

        let expression = Self {
            second: Field::parse(second, &SECOND)?,
            minute: Field::parse(minute, &MINUTE)?,
            hour: Field::parse(hour, &HOUR)?,
            day: Field::parse(day, &DAY)?,
            month: Field::parse(month, &MONTH)?,
            weekday: Field::parse(weekday, &WEEKDAY)?.with_one_sunday(),
        };
        // Any date will do: a day that does not come within one cycle of the calendar never comes.
        match expression.next_date(NaiveDate::default()) {
            Some(_) => Ok(expression),
            None => Err("no month has such a day".to_owned()),
        }
    }

    /// Whether it runs at intervals rather than at fixed times; Vixie's rule.
    pub(super) fn is_interval(&self) -> bool {
        self.minute.starts_with_star || self.hour.starts_with_star
    }

    /// The first matching time from `from` on, which has no fraction of a second.
    pub(super) fn next_from(&self, from: NaiveDateTime) -> Option<NaiveDateTime> {
        if self.has_date(from.date())
            && let Some(time) = self.next_time(from.time())
        {
            return Some(from.date().and_time(time));
        }
        let date = self.next_date(from.date().succ_opt()?)?;
        Some(date.and_time(self.next_time(NaiveTime::MIN)?))
    }

    fn next_time(&self, from: NaiveTime) -> Option<NaiveTime> {
        let (hour, minute, second) = (from.hour(), from.minute(), from.second());

        if self.hour.contains(hour) {
            if self.minute.contains(minute)
                && let Some(second) = self.second.next_from(second)
            {
                return NaiveTime::from_hms_opt(hour, minute, second);
            }
            if let Some(minute) = self.minute.next_from(minute + 1) {
                return NaiveTime::from_hms_opt(hour, minute, self.second.next_from(0)?);
            }
        }

        let hour = self.hour.next_from(hour + 1)?;
        NaiveTime::from_hms_opt(hour, self.minute.next_from(0)?, self.second.next_from(0)?)
    }

    fn next_date(&self, from: NaiveDate) -> Option<NaiveDate> {
        let mut first = from.with_day(1)?;
        // The days of the first month that have passed do not count.
        let mut passed = (1 << from.day()) - 1;

        for _ in 0..=MONTHS_SEARCHED {
            let days = self.days_of_month(first) & !passed;
            if days != 0 {
                return first.with_day(days.trailing_zeros());
            }
            passed = 0;
            first = first.checked_add_months(chrono::Months::new(1))?;
        }
        None
    }

    fn has_date(&self, date: NaiveDate) -> bool {
        date.with_day(1).is_some_and(|first| self.days_of_month(first) & (1 << date.day()) != 0)
    }

    /// The matching days of the month that begins on `first`, as bits from 1 on.
    fn days_of_month(&self, first: NaiveDate) -> u64 {
        const WEEKS: u64 = 1 | 1 << 7 | 1 << 14 | 1 << 21 | 1 << 28;
        if !self.month.contains(first.month()) {
            return 0;
        }

        // One week that begins with the weekday of the 1st, five times over.
        let ahead = first.weekday().num_days_from_sunday();
        let week = (self.weekday.bits() >> ahead | self.weekday.bits() << (7 - ahead)) & 0x7f;
        let by_weekday = (week * WEEKS) << 1;
        // Vixie's rule: either day field is enough, unless one of them begins with `*`.
        let by_both = if self.day.starts_with_star || self.weekday.starts_with_star {
            self.day.bits() & by_weekday
        } else {
            self.day.bits() | by_weekday
        };

        by_both & ((2 << u32::from(first.num_days_in_month())) - 2)
    }
}
