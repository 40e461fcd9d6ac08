//! Schedules: tasks that recur.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{ScheduleId, UserId, Violation, cron::Recurrence, queue::QueueName};

/// Longest name, in characters.
const MAX_NAME_CHARS: usize = 100;

/// What becomes of ticks that passed while no worker was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// They are left out.
    Skip,
    /// One task makes up for all of them.
    RunOnce,
}

impl Missed {
    /// As it is stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::RunOnce => "run_once",
        }
    }

    /// The policy of that name.
    ///
    /// # Errors
    /// `/missed` `invalid_value`.
    pub fn parse(name: &str) -> Result<Self, Violation> {
        [Self::Skip, Self::RunOnce]
            .into_iter()
            .find(|missed| missed.as_str() == name)
            .ok_or_else(|| Violation::new("/missed", "invalid_value", "skip or run_once"))
    }
}

/// A recurring task as users see it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Schedule {
    /// UUID v7.
    pub id: ScheduleId,
    /// Unique.
    pub name: String,
    /// When, in cron's words.
    pub cron: String,
    /// IANA name.
    pub timezone: String,
    /// Of the tasks it makes.
    pub task_type: String,
    /// Of the tasks it makes.
    #[schema(value_type = Object)]
    pub payload: Value,
    /// Of the tasks it makes.
    pub queue: String,
    /// Whether it makes any.
    pub enabled: bool,
    /// What becomes of ticks that passed while no worker was there.
    pub missed: Missed,
    /// The next tick; null while it is disabled.
    pub next_run_at: Option<DateTime<Utc>>,
    /// The last tick that made a task.
    pub last_run_at: Option<DateTime<Utc>>,
    /// Who made it.
    pub created_by: Option<UserId>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

impl Schedule {
    /// The next `count` ticks; none while it is disabled.
    pub fn upcoming(&self, count: usize) -> Vec<DateTime<Utc>> {
        let Some(next) = self.next_run_at else { return Vec::new() };
        let Ok(recurrence) = Recurrence::parse(&self.cron, &self.timezone, next) else { return vec![next] };
        std::iter::once(next).chain(recurrence.upcoming(next, count.saturating_sub(1))).collect()
    }
}

/// A schedule as it is to be.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Unique.
    pub name: String,
    /// When.
    pub recurrence: Recurrence,
    /// Of the tasks it makes.
    pub task_type: String,
    /// Of the tasks it makes, checked against their type.
    pub payload: Value,
    /// Of the tasks it makes.
    pub queue: QueueName,
    /// Whether it makes any.
    pub enabled: bool,
    /// What becomes of ticks that passed while no worker was there.
    pub missed: Missed,
}

/// A schedule as it is asked for, or what shall change of one: nothing checked yet.
#[derive(Debug, Clone, Default)]
pub struct ScheduleRequest {
    /// Unique.
    pub name: Option<String>,
    /// When, in cron's words.
    pub cron: Option<String>,
    /// IANA name.
    pub timezone: Option<String>,
    /// Of the tasks it makes.
    pub task_type: Option<String>,
    /// Of the tasks it makes.
    pub payload: Option<Value>,
    /// Of the tasks it makes.
    pub queue: Option<String>,
    /// Whether it makes any.
    pub enabled: Option<bool>,
    /// What becomes of ticks that passed while no worker was there.
    pub missed: Option<String>,
}

impl ScheduleRequest {
    /// What is not asked for stays as `before` has it.
    #[must_use]
    pub fn over(self, before: &Schedule) -> Self {
        Self {
            name: self.name.or_else(|| Some(before.name.clone())),
            cron: self.cron.or_else(|| Some(before.cron.clone())),
            timezone: self.timezone.or_else(|| Some(before.timezone.clone())),
            task_type: self.task_type.or_else(|| Some(before.task_type.clone())),
            payload: self.payload.or_else(|| Some(before.payload.clone())),
            queue: self.queue.or_else(|| Some(before.queue.clone())),
            enabled: self.enabled.or(Some(before.enabled)),
            missed: self.missed.or_else(|| Some(before.missed.as_str().to_owned())),
        }
    }

    /// The plan. `check` judges the payload by its type.
    ///
    /// # Errors
    /// Everything that is wrong, with JSON pointers to the fields of the request.
    pub fn plan(
        self,
        now: DateTime<Utc>,
        check: impl FnOnce(&str, &Value) -> Result<(), Vec<Violation>>,
    ) -> Result<Plan, Vec<Violation>> {
        let mut wrong = Vec::new();
        let task_type = self.task_type.unwrap_or_default();
        let payload = self.payload.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        let name = name(&self.name.unwrap_or_default()).map_err(|violation| wrong.push(violation)).ok();
        let timezone = self.timezone.as_deref().unwrap_or("UTC");
        let recurrence = Recurrence::parse(&self.cron.unwrap_or_default(), timezone, now)
            .map_err(|violations| wrong.extend(violations))
            .ok();
        if let Err(violations) = check(&task_type, &payload) {
            wrong.extend(violations);
        }
        let queue = QueueName::parse(self.queue.as_deref().unwrap_or("default"))
            .map_err(|violation| wrong.push(violation))
            .ok();
        let missed = Missed::parse(self.missed.as_deref().unwrap_or("skip"))
            .map_err(|violation| wrong.push(violation))
            .ok();
        match (name, recurrence, queue, missed) {
            (Some(name), Some(recurrence), Some(queue), Some(missed)) if wrong.is_empty() => {
                let enabled = self.enabled.unwrap_or(true);
                Ok(Plan { name, recurrence, task_type, payload, queue, enabled, missed })
            }
            _ => Err(wrong),
        }
    }
}

fn name(text: &str) -> Result<String, Violation> {
    let name = text.trim();
    let chars = name.chars().take(MAX_NAME_CHARS + 1).count();
    if (1..=MAX_NAME_CHARS).contains(&chars) && !text.chars().any(char::is_control) {
        Ok(name.to_owned())
    } else {
        Err(Violation::new("/name", "invalid_name", "1 to 100 characters, no control characters"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> ScheduleRequest {
        ScheduleRequest {
            name: Some("nightly".into()),
            cron: Some("0 3 * * *".into()),
            task_type: Some("noop".into()),
            ..ScheduleRequest::default()
        }
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let plan = request().plan(Utc::now(), |_, _| Ok(())).unwrap();
        assert_eq!((plan.queue.as_str(), plan.enabled, plan.missed), ("default", true, Missed::Skip));
        assert_eq!((plan.recurrence.timezone(), plan.payload), ("UTC", serde_json::json!({})));
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let request = ScheduleRequest {
            name: Some(" ".into()),
            cron: Some("soon".into()),
            timezone: Some("Nowhere".into()),
            queue: Some("A".into()),
            missed: Some("maybe".into()),
            ..request()
        };
        let refuse = |_: &str, _: &Value| Err(vec![Violation::new("/payload/x", "unknown_field", "")]);
        let wrong = request.plan(Utc::now(), refuse).unwrap_err();
        let fields: Vec<_> = wrong.iter().map(|violation| violation.field.as_ref()).collect();
        assert_eq!(fields, ["/name", "/cron", "/timezone", "/payload/x", "/queue", "/missed"]);
    }
}
