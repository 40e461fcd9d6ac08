//! Schedules: tasks that recur.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{JsonText, ScheduleId, UserId, Violation, cron::Recurrence};

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
    pub payload: JsonText,
    /// Of the tasks it makes.
    pub queue: String,
    /// Whether it makes any.
    pub enabled: bool,
    /// Why the service disabled it; null while it is enabled, and when a person disabled it.
    #[schema(required = true)]
    pub disabled_reason: Option<String>,
    /// What becomes of ticks that passed while no worker was there.
    pub missed: Missed,
    /// The next tick; null while it is disabled.
    #[schema(required = true)]
    pub next_run_at: Option<DateTime<Utc>>,
    /// The last tick that made a task.
    #[schema(required = true)]
    pub last_run_at: Option<DateTime<Utc>>,
    /// Who made it.
    #[schema(required = true)]
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
        let Ok(recurrence) = Recurrence::parse(&self.cron, &self.timezone) else { return vec![next] };
        std::iter::once(next).chain(recurrence.upcoming(next, count.saturating_sub(1))).collect()
    }
}

/// A schedule as it is to be stored. What a change leaves alone is not judged again: rules may have become stricter since.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Unique.
    pub name: String,
    /// A cron expression.
    pub cron: String,
    /// IANA name.
    pub timezone: String,
    /// Of the tasks it makes.
    pub task_type: String,
    /// Of the tasks it makes, checked against their type.
    pub payload: JsonText,
    /// Of the tasks it makes.
    pub queue: String,
    /// Whether it makes any.
    pub enabled: bool,
    /// Why the service disabled it.
    pub disabled_reason: Option<String>,
    /// What becomes of ticks that passed while no worker was there.
    pub missed: Missed,
    /// The next tick.
    pub next_run_at: Option<DateTime<Utc>>,
}

impl From<&Schedule> for Plan {
    fn from(schedule: &Schedule) -> Self {
        let Schedule { name, cron, timezone, task_type, payload, queue, .. } = schedule.clone();
        let (enabled, disabled_reason) = (schedule.enabled, schedule.disabled_reason.clone());
        let (missed, next_run_at) = (schedule.missed, schedule.next_run_at);
        Self {
            name,
            cron,
            timezone,
            task_type,
            payload,
            queue,
            enabled,
            disabled_reason,
            missed,
            next_run_at,
        }
    }
}

/// Returns the next tick after `now`, or why there is none, in words for administrators.
///
/// # Errors
/// The reason to disable the schedule.
pub fn next_tick(
    recurrence: Result<Recurrence, Vec<Violation>>,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, String> {
    match recurrence {
        Ok(recurrence) => recurrence.next_after(now).ok_or_else(|| "cron: never comes again".to_owned()),
        Err(violations) => Err(reason(&violations)),
    }
}

fn reason(violations: &[Violation]) -> String {
    let line =
        |violation: &Violation| format!("{}: {}", violation.field.trim_start_matches('/'), violation.message);
    violations.iter().map(line).collect::<Vec<_>>().join("; ")
}
