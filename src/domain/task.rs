//! A task: work that is done in the background, at least once, with exactly one attempt that may end it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use derive_more::Display;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{JsonText, ScheduleId, TaskId, UserId};

/// Where a task is in its life. The moves are in `docs/queue.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Display, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[display(rename_all = "lowercase")]
pub enum Status {
    /// Due, waiting for a worker.
    Pending,
    /// Its time has not come.
    Scheduled,
    /// A worker holds its lease.
    Running,
    /// Failed before, waiting for its next attempt.
    Retrying,
    /// Done.
    Succeeded,
    /// Attempts used up, or refused for good: a dead letter.
    Failed,
    /// Called off.
    Cancelled,
}

impl Status {
    /// Every status, in the order of a task's life.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Scheduled,
        Self::Running,
        Self::Retrying,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// As it is stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Scheduled => "scheduled",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// It will not run again by itself.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// A task as users see it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Task {
    /// UUID v7.
    pub id: TaskId,
    /// Which code runs it.
    pub task_type: String,
    /// Which workers run it.
    pub queue: String,
    /// What it is told, a JSON object that fits its type.
    #[schema(value_type = Object)]
    pub payload: JsonText,
    /// Where it is in its life.
    pub status: Status,
    /// -100..=100, higher first.
    pub priority: i16,
    /// Not before this.
    pub run_at: DateTime<Utc>,
    /// The number of the attempt under way or last made; 0 before the first.
    pub attempt: i32,
    /// Attempts that it is given.
    pub max_attempts: i32,
    /// Attempts after the first.
    pub retry_count: i32,
    /// Why the last attempt failed.
    #[schema(required = true)]
    pub last_error: Option<String>,
    /// What its handler last said of its progress.
    #[schema(value_type = Option<Object>, required = true)]
    pub progress: Option<JsonText>,
    /// What its handler returned.
    #[schema(value_type = Option<Object>, required = true)]
    pub result: Option<JsonText>,
    /// At most one unfinished task of the same owner has it.
    #[schema(required = true)]
    pub unique_key: Option<String>,
    /// Who enqueued it; null for the system and for deleted users.
    #[schema(required = true)]
    pub created_by: Option<UserId>,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
    /// When anything of it last changed.
    pub updated_at: DateTime<Utc>,
    /// When the handler of the last attempt that ended began; of the attempt under way, when its worker claimed the task.
    #[schema(required = true)]
    pub started_at: Option<DateTime<Utc>>,
    /// When it succeeded, failed for good, or was cancelled.
    #[schema(required = true)]
    pub finished_at: Option<DateTime<Utc>>,
}

impl Task {
    /// Returns the size of the texts that may be long, in bytes.
    pub fn bytes(&self) -> usize {
        let json = |text: &Option<JsonText>| text.as_ref().map_or(0, JsonText::bytes);
        let error = self.last_error.as_ref().map_or(0, String::len);
        self.payload.bytes() + json(&self.progress) + json(&self.result) + error
    }
}

/// When a task shall run. The database's clock decides what "now" is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum When {
    /// As soon as a worker is free.
    #[default]
    Now,
    /// Not before this; a time that has passed is now.
    At(DateTime<Utc>),
    /// Not before this many seconds from now.
    After(f64),
}

/// A task to enqueue, checked against its type.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// Made by who enqueues, so that the answer finds its caller.
    pub id: TaskId,
    /// Which code runs it.
    pub task_type: String,
    /// Which workers run it.
    pub queue: String,
    /// A JSON object that fits its type.
    pub payload: JsonText,
    /// -100..=100, higher first.
    pub priority: i16,
    /// When.
    pub when: When,
    /// Attempts that it is given.
    pub max_attempts: i32,
    /// Seconds that one attempt may take.
    pub timeout_secs: i32,
    /// At most one unfinished task of the same owner has it.
    pub unique_key: Option<String>,
    /// Who enqueues it.
    pub created_by: Option<UserId>,
    /// The request that made it.
    pub request_id: Option<String>,
    /// The schedule whose tick it is.
    pub schedule_id: Option<ScheduleId>,
}

/// One attempt at a task, under way or ended.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Attempt)]
pub struct AttemptRecord {
    /// From 1.
    pub attempt: i32,
    /// `running`, or how it ended: `succeeded`, `failed`, `cancelled`, `snoozed`, `timed_out`, `lost` (its worker died),
    /// `interrupted` (its worker stopped and handed it back).
    pub outcome: String,
    /// The registration of the worker process.
    #[schema(required = true)]
    pub worker_id: Option<i64>,
    /// When its handler began; while it runs, and when its worker died, the time of the claim.
    #[schema(required = true)]
    pub started_at: Option<DateTime<Utc>>,
    /// When its handler ended.
    #[schema(required = true)]
    pub finished_at: Option<DateTime<Utc>>,
    /// Why it ended without success.
    #[schema(required = true)]
    pub error: Option<String>,
}

/// What came of a [`NewTask`].
#[derive(Debug, Clone)]
pub struct Enqueued {
    /// The new task, or the unfinished one that holds its `unique_key`; shared by all that it stands for.
    pub task: Arc<Task>,
    /// `false` for the one that was there already.
    pub is_new: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_one_name() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
            assert_eq!(status.to_string(), status.as_str());
        }
        assert_eq!(Status::parse("Pending"), None);
    }
}
