//! What someone asks for who wants a task, and the rules that hold whatever the type.

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    JsonText, Violation,
    queue::QueueName,
    task::{Status, When},
    timestamp,
};

/// Most tasks that can be asked for at once.
pub const MAX_BATCH: usize = 1000;
/// Longest time that a task can be put off: ten years of 365 days.
const MAX_DELAY_SECS: f64 = 315_360_000.0;
/// Longest `unique_key`, in characters.
const MAX_KEY_CHARS: usize = 200;
/// Longest time that one attempt may be given: a day.
const MAX_TIMEOUT_SECS: i64 = 86_400;

/// A task as it is asked for, nothing checked yet.
#[derive(Debug, Clone, Default)]
pub struct TaskRequest {
    /// Which code shall run it.
    pub task_type: String,
    /// `None`: `{}`.
    pub payload: Option<JsonText>,
    /// `None`: its type's.
    pub queue: Option<String>,
    /// `None`: its type's.
    pub priority: Option<i64>,
    /// RFC 3339; not together with `delay_secs`.
    pub run_at: Option<String>,
    /// Not together with `run_at`.
    pub delay_secs: Option<f64>,
    /// `None`: its type's.
    pub max_attempts: Option<i64>,
    /// At most one unfinished task of the same owner has it.
    pub unique_key: Option<String>,
    /// `None`: its type's.
    pub timeout_secs: Option<i64>,
}

/// What of a [`TaskRequest`] is independent of its type, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// `None`: its type's.
    pub queue: Option<QueueName>,
    /// `None`: its type's.
    pub priority: Option<i16>,
    /// When it shall run.
    pub when: When,
    /// `None`: its type's.
    pub max_attempts: Option<i32>,
    /// `None`: its type's.
    pub timeout_secs: Option<i32>,
    /// At most one unfinished task of the same owner has it.
    pub unique_key: Option<String>,
}

impl TaskRequest {
    /// The terms, or everything that is wrong with them.
    ///
    /// # Errors
    /// All violations, with JSON pointers to the fields of the request.
    pub fn terms(&self, now: DateTime<Utc>) -> Result<Terms, Vec<Violation>> {
        let mut wrong = Vec::new();
        let terms = Terms {
            queue: note(&mut wrong, self.queue.as_deref().map(QueueName::for_tasks)),
            priority: note(&mut wrong, self.priority.map(priority)),
            when: self.when(now, &mut wrong),
            max_attempts: note(&mut wrong, self.max_attempts.map(max_attempts)),
            timeout_secs: note(&mut wrong, self.timeout_secs.map(timeout_secs)),
            unique_key: note(&mut wrong, self.unique_key.as_deref().map(unique_key)),
        };
        if wrong.is_empty() { Ok(terms) } else { Err(wrong) }
    }

    fn when(&self, now: DateTime<Utc>, wrong: &mut Vec<Violation>) -> When {
        if self.run_at.is_some() && self.delay_secs.is_some() {
            wrong.push(Violation::new("/delay_secs", "mutually_exclusive", "not together with run_at"));
        }
        let at = note(wrong, self.run_at.as_deref().map(|text| run_at(text, now)));
        let after = note(wrong, self.delay_secs.map(delay_secs));
        match (at, after) {
            (Some(at), _) => When::At(at),
            (None, Some(secs)) if secs > 0.0 => When::After(secs),
            (None, _) => When::Now,
        }
    }
}

fn note<T>(wrong: &mut Vec<Violation>, checked: Option<Result<T, Violation>>) -> Option<T> {
    checked?.map_err(|violation| wrong.push(violation)).ok()
}

fn whole<T: TryFrom<i64>>(
    field: &'static str,
    value: i64,
    range: std::ops::RangeInclusive<i64>,
) -> Result<T, Violation> {
    let out = || {
        let message = format!("{} to {}", range.start(), range.end());
        Violation::new(field, "out_of_range", message)
    };
    if !range.contains(&value) {
        return Err(out());
    }
    T::try_from(value).map_err(|_| out())
}

fn priority(value: i64) -> Result<i16, Violation> {
    whole("/priority", value, -100..=100)
}

fn max_attempts(value: i64) -> Result<i32, Violation> {
    whole("/max_attempts", value, 1..=100)
}

fn timeout_secs(value: i64) -> Result<i32, Violation> {
    whole("/timeout_secs", value, 1..=MAX_TIMEOUT_SECS)
}

fn delay_secs(secs: f64) -> Result<f64, Violation> {
    if (0.0..=MAX_DELAY_SECS).contains(&secs) {
        Ok(secs)
    } else {
        Err(Violation::new("/delay_secs", "out_of_range", "0 to 315360000 seconds"))
    }
}

/// A time that has passed is taken: the task is due at once.
fn run_at(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, Violation> {
    let at = timestamp::parse("/run_at", text)?;
    if at - now <= TimeDelta::seconds(315_360_000) {
        Ok(at)
    } else {
        Err(Violation::new("/run_at", "out_of_range", "at most ten years ahead"))
    }
}

fn unique_key(text: &str) -> Result<String, Violation> {
    let chars = text.chars().take(MAX_KEY_CHARS + 1).count();
    if (1..=MAX_KEY_CHARS).contains(&chars) && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        let message = "1 to 200 characters, no control characters";
        Err(Violation::new("/unique_key", "invalid_unique_key", message))
    }
}

/// Which tasks a list shows.
#[derive(Debug, Clone, Default)]
pub struct TaskFilter {
    /// In this status.
    pub status: Option<Status>,
    /// Of this type.
    pub task_type: Option<String>,
    /// In this queue.
    pub queue: Option<String>,
    /// Enqueued by this user.
    pub created_by: Option<super::UserId>,
    /// With this key.
    pub unique_key: Option<String>,
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;
    use proptest::prelude::*;

    use super::*;

    fn now() -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2030, 1, 1, 0, 0, 0).unwrap()
    }

    fn fields(request: &TaskRequest) -> Vec<String> {
        let wrong = request.terms(now()).unwrap_err();
        wrong.into_iter().map(|violation| violation.field.into_owned()).collect()
    }

    #[test]
    fn nothing_asked_for_is_nothing_decided() {
        let terms = TaskRequest::default().terms(now()).unwrap();
        assert_eq!(
            terms,
            Terms {
                queue: None,
                priority: None,
                when: When::Now,
                max_attempts: None,
                timeout_secs: None,
                unique_key: None
            }
        );
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let request = TaskRequest {
            queue: Some("No".into()),
            priority: Some(101),
            run_at: Some("soon".into()),
            delay_secs: Some(-1.0),
            max_attempts: Some(0),
            unique_key: Some(String::new()),
            timeout_secs: Some(0),
            ..TaskRequest::default()
        };
        assert_eq!(
            fields(&request),
            [
                "/queue",
                "/priority",
                "/delay_secs",
                "/run_at",
                "/delay_secs",
                "/max_attempts",
                "/timeout_secs",
                "/unique_key"
            ]
        );
    }

    #[test]
    fn a_time_and_a_delay_exclude_each_other() {
        let request = TaskRequest {
            run_at: Some("2030-01-01T00:00:00Z".into()),
            delay_secs: Some(1.0),
            ..TaskRequest::default()
        };
        assert_eq!(request.terms(now()).unwrap_err()[0].code, "mutually_exclusive");
    }

    #[test]
    fn a_time_lies_at_most_ten_years_ahead_and_may_lie_behind() {
        let at = |text: &str| TaskRequest { run_at: Some(text.into()), ..TaskRequest::default() };
        assert!(at("2039-12-01T00:00:00+01:00").terms(now()).is_ok());
        assert!(at("1999-12-01T00:00:00Z").terms(now()).is_ok());
        assert_eq!(fields(&at("2041-01-01T00:00:00Z")), ["/run_at"]);
    }

    proptest! {
        #[test]
        fn a_number_is_taken_exactly_when_it_is_in_its_range(
            priority in -200..200i64, attempts in -10..200i64, timeout in -10..200_000i64, delay in -1e9..1e9f64
        ) {
            let request = TaskRequest {
                priority: Some(priority),
                max_attempts: Some(attempts),
                timeout_secs: Some(timeout),
                delay_secs: Some(delay),
                ..TaskRequest::default()
            };
            let wrong: Vec<String> = request
                .terms(now())
                .map_or_else(|wrong| wrong.into_iter().map(|v| v.field.into_owned()).collect(), |_| Vec::new());
            let is_wrong = |field: &str| wrong.iter().any(|wrong| wrong == field);
            prop_assert_eq!(is_wrong("/priority"), !(-100..=100).contains(&priority));
            prop_assert_eq!(is_wrong("/max_attempts"), !(1..=100).contains(&attempts));
            prop_assert_eq!(is_wrong("/timeout_secs"), !(1..=86_400).contains(&timeout));
            prop_assert_eq!(is_wrong("/delay_secs"), !(0.0..=MAX_DELAY_SECS).contains(&delay));
        }

        #[test]
        fn no_text_makes_the_rules_panic(text in "\\PC{0,220}|[a-z0-9_.:TZ-]{0,70}") {
            let request = TaskRequest {
                queue: Some(text.clone()),
                run_at: Some(text.clone()),
                unique_key: Some(text.clone()),
                ..TaskRequest::default()
            };
            if let Err(wrong) = request.terms(now()) {
                for violation in wrong {
                    prop_assert!(text.len() < 8 || !violation.message.contains(&text));
                }
            }
        }
    }
}
