//! A time zone's clock on the wall: which instants show a local time, and which local times are shown twice.

use chrono::{DateTime, MappedLocalTime, NaiveDateTime, Offset as _, TimeDelta, TimeZone as _, Utc};
use chrono_tz::{GapInfo, Tz};

/// The instants at which the clock shows a local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wall {
    /// The usual case.
    Once(DateTime<Utc>),
    /// The clock is put back over it.
    Twice(DateTime<Utc>, DateTime<Utc>),
    /// The clock is put forward over it.
    Never {
        /// The first instant after the gap.
        until: Option<DateTime<Utc>>,
    },
}

/// A stretch of local times that the clock shows twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeat {
    /// The instant at which the clock is put back.
    pub(super) changes_at: DateTime<Utc>,
    /// The first local time after the stretch.
    pub(super) until: NaiveDateTime,
}

/// Returns what the clock shows at an instant.
pub(super) fn local(at: DateTime<Utc>, zone: Tz) -> NaiveDateTime {
    at.with_timezone(&zone).naive_local()
}

/// Returns the instants at which the clock shows `local`.
pub(super) fn instants(local: NaiveDateTime, zone: Tz) -> Wall {
    match zone.from_local_datetime(&local) {
        MappedLocalTime::Single(time) => Wall::Once(time.to_utc()),
        MappedLocalTime::Ambiguous(one, other) => {
            Wall::Twice(one.min(other).to_utc(), one.max(other).to_utc())
        }
        MappedLocalTime::None => {
            let gap = GapInfo::new(&local, &zone);
            Wall::Never { until: gap.and_then(|gap| gap.end).map(|end| end.to_utc()) }
        }
    }
}

/// Returns the repeated stretch that `local` lies in, if it lies in one.
pub(super) fn repeat_around(local: NaiveDateTime, zone: Tz) -> Option<Repeat> {
    let Wall::Twice(first, second) = instants(local, zone) else { return None };
    let offset = |at: DateTime<Utc>| zone.offset_from_utc_datetime(&at.naive_utc()).fix();

    // The clock is put back between the two: bisect for the first second with another offset.
    let (before, mut low, mut high) = (offset(first), first, second);
    while high - low > TimeDelta::seconds(1) {
        let middle = low + TimeDelta::seconds((high - low).num_seconds() / 2);
        if offset(middle) == before { low = middle } else { high = middle }
    }
    Some(Repeat { changes_at: high, until: high.naive_utc() + before })
}
