//! Points in time that a request carries.

use chrono::{DateTime, Datelike as _, SubsecRound as _, Timelike as _, Utc};

use super::Violation;

/// Years that are taken. Outside of them RFC 3339, PostgreSQL and the clients' libraries disagree.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=9999;
/// Longest text that is read: far more than RFC 3339 needs.
const MAX_BYTES: usize = 64;

/// Reads an RFC 3339 time with any offset, to microseconds: what PostgreSQL keeps.
///
/// Leap seconds are refused: they would be stored as another second.
///
/// # Errors
/// `invalid_timestamp` at `field`, a JSON pointer.
pub fn parse(field: &str, text: &str) -> Result<DateTime<Utc>, Violation> {
    read(text).ok_or_else(|| {
        let message = "a time such as 2030-01-31T12:00:00Z (RFC 3339)";
        Violation::new(field.to_owned(), "invalid_timestamp", message)
    })
}

fn read(text: &str) -> Option<DateTime<Utc>> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let time = DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc);
    let usual = YEARS.contains(&time.year()) && time.nanosecond() < 1_000_000_000;
    usual.then(|| time.trunc_subsecs(6))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_time_with_an_offset_is_read_as_utc() {
        let read = parse("/run_at", "2030-01-31T12:00:00.1234567+02:00").unwrap();
        assert_eq!(read.to_rfc3339(), "2030-01-31T10:00:00.123456+00:00");
        assert!(parse("/run_at", "2030-01-31t12:00:00z").is_ok());
    }

    #[test]
    fn what_is_not_a_time_of_ours_is_refused() {
        let long = format!("2030-01-01T00:00:00.{}Z", "0".repeat(100));
        for text in [
            "",
            "tomorrow",
            "-1",
            "2030-01-31",
            "2030-01-31T12:00:00",
            "2026-02-30T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "+10000-01-01T00:00:00Z",
            "292278994-01-01T00:00:00Z",
            "2016-12-31T23:59:60Z",
            "2030-01-01T00:00:00+25:00",
            "infinity",
            "2030-01-01T00:00:00Z\0",
            &long,
        ] {
            let violation = parse("/run_at", text).unwrap_err();
            assert_eq!(
                (violation.field.as_ref(), violation.code),
                ("/run_at", "invalid_timestamp"),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn reading_never_fails_otherwise_and_what_is_read_is_written_the_same(text in "\\PC{0,40}|[0-9T:Z.+-]{10,35}") {
            if let Ok(time) = parse("/at", &text) {
                prop_assert_eq!(parse("/at", &time.to_rfc3339()).unwrap(), time);
            }
        }
    }
}
