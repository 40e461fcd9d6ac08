//! A slow and obvious model of recurring times: it looks at every minute, or second, of a few days around changes of the
//! clocks. It knows expressions as the lists that the generator made them from, so it needs no parser.

use std::{collections::HashMap, sync::LazyLock};

use chrono::{DateTime, Datelike as _, NaiveDateTime, TimeDelta, TimeZone as _, Timelike as _, Utc};
use chrono_tz::Tz;
use proptest::{collection::vec, prelude::*};

use super::Recurrence;

/// Gaps of 30, 60 and 120 minutes and of a day, gaps at midnight, months without summer time, zones without changes.
const ZONES: [Tz; 11] = [
    Tz::UTC,
    Tz::Europe__Berlin,
    Tz::Europe__Dublin,
    Tz::America__New_York,
    Tz::America__Santiago,
    Tz::America__Havana,
    Tz::Australia__Lord_Howe,
    Tz::Antarctica__Troll,
    Tz::Africa__Cairo,
    Tz::Africa__Casablanca,
    Tz::Asia__Kathmandu,
];

/// A field as its text and the values that the text stands for.
#[derive(Debug, Clone)]
struct ModelField {
    text: String,
    /// Bit `n` stands for the value `n`.
    values: u64,
}

impl ModelField {
    fn has(&self, value: u32) -> bool {
        self.values >> value & 1 == 1
    }

    fn starts_with_star(&self) -> bool {
        self.text.starts_with('*')
    }
}

/// Second, minute, hour, day, month, weekday.
#[derive(Debug, Clone)]
struct ModelExpression([ModelField; 6]);

impl ModelExpression {
    fn text(&self, fields: usize) -> String {
        let Self(all) = self;
        all[6 - fields..].iter().map(|field| field.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    fn matches(&self, shown: &NaiveDateTime) -> bool {
        let Self([second, minute, hour, day, month, weekday]) = self;
        let by_day = day.has(shown.day());
        let sunday_first = shown.weekday().num_days_from_sunday();
        let by_weekday = weekday.has(sunday_first) || (sunday_first == 0 && weekday.has(7));
        let date = if day.starts_with_star() || weekday.starts_with_star() {
            by_day && by_weekday
        } else {
            by_day || by_weekday
        };
        minute.has(shown.minute())
            && hour.has(shown.hour())
            && second.has(shown.second())
            && month.has(shown.month())
            && date
    }

    fn is_interval(&self) -> bool {
        self.0[1].starts_with_star() || self.0[2].starts_with_star()
    }
}

/// Every step of some days in a zone.
struct Window {
    zone: Tz,
    /// Instants with what the clock shows.
    instants: Vec<(DateTime<Utc>, NaiveDateTime)>,
    /// Local times with the instant that a fixed time runs at.
    fixed: Vec<(DateTime<Utc>, NaiveDateTime)>,
}

impl Window {
    fn around(center: DateTime<Utc>, zone: Tz, half: TimeDelta, step: TimeDelta) -> Self {
        let steps = |first, count| (0..count).map(move |n| first + step * n);
        let count = i32::try_from((half * 2).num_seconds() / step.num_seconds()).unwrap();
        let shown = |at: DateTime<Utc>| at.with_timezone(&zone).naive_local();
        let instants: Vec<_> = steps(center - half, count).map(|at| (at, shown(at))).collect();

        // The first instant that shows a local time, or else the first that shows a later one.
        let mut first_shown = HashMap::new();
        for (at, shown) in &instants {
            first_shown.entry(*shown).or_insert(*at);
        }
        let (begin, end) = (instants[0].1, instants[instants.len() - 1].1);
        let mut fixed = Vec::new();
        let mut next = None;
        let mut local = end;
        while local >= begin {
            next = first_shown.get(&local).copied().or(next);
            fixed.push((next.unwrap(), local));
            local -= step;
        }
        fixed.reverse();
        Self { zone, instants, fixed }
    }

    fn times_after(&self, at: DateTime<Utc>, expression: &ModelExpression) -> Vec<DateTime<Utc>> {
        let candidates = if expression.is_interval() { &self.instants } else { &self.fixed };
        let matching = candidates.iter().filter(|(time, shown)| *time > at && expression.matches(shown));
        let mut times: Vec<_> = matching.map(|(time, _)| *time).collect();
        times.dedup();
        times
    }
}

fn changes_of(zone: Tz) -> Vec<DateTime<Utc>> {
    let offset = |at: DateTime<Utc>| at.with_timezone(&zone).naive_local() - at.naive_utc();
    let start = Utc.with_ymd_and_hms(2027, 1, 1, 0, 0, 0).unwrap();
    let hours = (0..24 * 365).map(|hour| start + TimeDelta::hours(hour));
    let changes: Vec<_> = hours.filter(|hour| offset(*hour) != offset(*hour - TimeDelta::hours(1))).collect();
    if changes.is_empty() { vec![start + TimeDelta::days(58)] } else { changes }
}

fn windows(half: TimeDelta, step: TimeDelta) -> Vec<Window> {
    let mut windows = Vec::new();
    for zone in ZONES {
        windows.extend(changes_of(zone).into_iter().map(|at| Window::around(at, zone, half, step)));
    }
    // The day that Samoa left out.
    let apia = Utc.with_ymd_and_hms(2011, 12, 30, 10, 0, 0).unwrap();
    windows.push(Window::around(apia, Tz::Pacific__Apia, half, step));
    windows
}

static BY_MINUTES: LazyLock<Vec<Window>> =
    LazyLock::new(|| windows(TimeDelta::hours(60), TimeDelta::minutes(1)));
static BY_SECONDS: LazyLock<Vec<Window>> =
    LazyLock::new(|| windows(TimeDelta::hours(3), TimeDelta::seconds(1)));

fn bits(values: impl Iterator<Item = u32>) -> u64 {
    values.fold(0, |bits, value| bits | 1 << value)
}

fn item(low: u32, high: u32) -> impl Strategy<Value = ModelField> {
    let star = (1..=high - low).prop_map(move |step| {
        let text = if step == 1 { "*".to_owned() } else { format!("*/{step}") };
        ModelField { text, values: bits((low..=high).step_by(step as usize)) }
    });
    let value = (low..=high).prop_map(|value| ModelField { text: value.to_string(), values: 1 << value });
    let range = (low..=high, low..=high, any::<prop::sample::Index>()).prop_map(|(one, other, step)| {
        let (first, last) = (one.min(other), one.max(other));
        let step = 1 + step.index((last - first).max(1) as usize);
        let text = if step == 1 { format!("{first}-{last}") } else { format!("{first}-{last}/{step}") };
        ModelField { text, values: bits((first..=last).step_by(step)) }
    });
    prop_oneof![1 => star, 3 => value, 2 => range]
}

fn field(low: u32, high: u32, stars: u32) -> impl Strategy<Value = ModelField> {
    let list = vec(item(low, high), 1..4).prop_map(|items| ModelField {
        text: items.iter().map(|item| item.text.as_str()).collect::<Vec<_>>().join(","),
        values: items.iter().fold(0, |values, item| values | item.values),
    });
    let all = ModelField { text: "*".to_owned(), values: bits(low..=high) };
    prop_oneof![stars => Just(all), 4 => list]
}

/// Hours at which clocks change are likelier than others, and so are expressions that recur within a few days.
fn expression() -> impl Strategy<Value = ModelExpression> {
    let near =
        field(0, 3, 1).prop_map(|hour| if hour.text.contains('*') { hour_of(hour.values) } else { hour });
    let hour = prop_oneof![near, field(0, 23, 1)];
    (field(0, 59, 1), field(0, 59, 1), hour, field(1, 31, 8), field(1, 12, 24), field(0, 7, 8)).prop_map(
        |(second, minute, hour, day, month, weekday)| {
            ModelExpression([second, minute, hour, day, month, weekday])
        },
    )
}

/// The same hours without a star, for fixed times.
fn hour_of(values: u64) -> ModelField {
    let hours = (0..24).filter(|hour| values >> hour & 1 == 1);
    ModelField { text: hours.map(|hour| hour.to_string()).collect::<Vec<_>>().join(","), values }
}

/// Compares the times after some moment of the window up to its end, at most `count`.
fn compare(
    window: &Window,
    expression: &ModelExpression,
    fields: usize,
    start: usize,
    count: usize,
) -> Result<(), TestCaseError> {
    let text = expression.text(fields);
    let Ok(recurrence) = Recurrence::parse(&text, window.zone.name()) else {
        // A day that no month has: the model agrees for the days that it knows.
        prop_assert!(window.instants.iter().all(|(_, shown)| !expression.matches(shown)), "{text}");
        return Ok(());
    };

    let (start, end) = (window.instants[start].0, window.fixed[window.fixed.len() - 1].0);
    let mut expected = window.times_after(start, expression);
    expected.retain(|time| *time < end);
    expected.truncate(count);
    let mut found = recurrence.upcoming(start, count);
    found.retain(|time| *time < end);
    prop_assert_eq!(&found, &expected, "{} from {}", recurrence, start);

    if let [first, second, ..] = found[..] {
        prop_assert_eq!(recurrence.last_before(second), Some(first), "{} before {}", recurrence, second);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn ten_thousand_expressions_agree_with_looking_at_every_minute(
        expression in expression(),
        window in any::<prop::sample::Index>(),
        // A third of the window at most is left out.
        start in 0..2_400_usize,
    ) {
        let mut expression = expression;
        expression.0[0] = ModelField { text: "0".to_owned(), values: 1 };
        compare(window.get(&BY_MINUTES), &expression, 5, start, 12)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn expressions_with_seconds_agree_with_looking_at_every_second(
        expression in expression(),
        window in any::<prop::sample::Index>(),
        start in 0..14_400_usize,
    ) {
        compare(window.get(&BY_SECONDS), &expression, 6, start, 40)?;
    }

    #[test]
    fn days_agree_with_looking_at_every_day(expression in expression(), offset in 0..3_000_i64) {
        let mut expression = expression;
        for at in 0..3 {
            expression.0[at] = ModelField { text: "0".to_owned(), values: 1 };
        }
        let text = expression.text(5);
        let start = Utc.with_ymd_and_hms(2090, 1, 1, 0, 0, 0).unwrap() + TimeDelta::days(offset);
        let mut days = (1..366 * 50).map(|day| start + TimeDelta::days(day));
        let expected = days.find(|day| expression.matches(&day.naive_utc()));
        let found = Recurrence::parse(&text, "UTC").ok().and_then(|recurrence| recurrence.next_after(start));
        prop_assert_eq!(found, expected, "{} from {}", text, start);
    }
}
