//! Times as PostgreSQL has them, among them infinite ones: they are shown as the first or last time that RFC 3339 can
//! write, so that a row with one hides no other.

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use diesel::{
    deserialize::{self, FromSql, FromSqlRow},
    pg::{Pg, PgValue},
    sql_types::{BigInt, Timestamptz},
};

/// Microseconds from 1970, where Unix begins to count, to 2000, where PostgreSQL does.
const FROM_1970_TO_2000: i64 = 946_684_800_000_000;

/// A `timestamptz`, within the years 1 to 9999.
#[derive(Debug, Clone, Copy, FromSqlRow)]
pub(super) struct Moment(pub(super) DateTime<Utc>);

impl FromSql<Timestamptz, Pg> for Moment {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Self::at(<i64 as FromSql<BigInt, Pg>>::from_sql(value)?))
    }
}

impl Moment {
    /// So many microseconds after 2000.
    fn at(micros: i64) -> Self {
        let midnight = |year, month, day| {
            let date = NaiveDate::from_ymd_opt(year, month, day).unwrap_or_default();
            date.and_time(NaiveTime::MIN).and_utc()
        };
        let (first, last) = (midnight(1, 1, 1), midnight(9999, 12, 31));
        let beyond = if micros < 0 { first } else { last };
        let time = micros.checked_add(FROM_1970_TO_2000).and_then(DateTime::from_timestamp_micros);
        Self(time.unwrap_or(beyond).clamp(first, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_that_the_database_can_hold_is_one_that_can_be_shown() {
        let shown = |micros| Moment::at(micros).0.to_rfc3339();
        assert_eq!(shown(0), "2000-01-01T00:00:00+00:00");
        assert_eq!(shown(-FROM_1970_TO_2000 + 1), "1970-01-01T00:00:00.000001+00:00");
        for (micros, expected) in [
            (i64::MIN, "0001-01-01T00:00:00+00:00"),
            (-200_000_000_000_000_000, "0001-01-01T00:00:00+00:00"),
            (i64::MAX, "9999-12-31T00:00:00+00:00"),
            (9_000_000_000_000_000_000, "9999-12-31T00:00:00+00:00"),
        ] {
            assert_eq!(shown(micros), expected);
        }
    }
}
