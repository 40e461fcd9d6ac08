//! One attempt at a task: what a worker is given, and what it reports.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use derive_more::Display;

use super::{JsonText, TaskId, UserId};

/// A registration of a worker process. Never used again, so that a lost worker cannot come back under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Display)]
pub struct WorkerId(pub i64);

/// The fence: a random number drawn for each claim. Whoever reports on a task must show it; when the task was taken
/// away, it fits no more. Random and not a counter, because a counter repeats after a fail-over that lost commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease(pub i64);

impl Lease {
    /// A new one, 63 random bits.
    pub fn draw() -> Self {
        Self(i64::from_ne_bytes(rand::random::<[u8; 8]>()) & i64::MAX)
    }
}

/// A task, and the lease under which one worker has it.
pub type Leased = (TaskId, Lease);

/// A task that a worker has claimed.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The task.
    pub id: TaskId,
    /// Proves that it is this worker's.
    pub lease: Lease,
    /// Under which it was claimed.
    pub worker_id: WorkerId,
    /// Which code runs it.
    pub task_type: String,
    /// A JSON object; `None` for a large one, which is read when the attempt begins.
    pub payload: Option<JsonText>,
    /// The number of the attempt, from 1; never used again for this task.
    pub attempt: i32,
    /// Failed attempts before it.
    pub retry_count: i32,
    /// What it may take.
    pub timeout: Duration,
    /// The request that made the task.
    pub request_id: Option<Arc<str>>,
    /// Who enqueued it.
    pub created_by: Option<UserId>,
    /// Higher first.
    pub priority: i16,
    /// When it was due.
    pub run_at: DateTime<Utc>,
    /// If this attempt fails, or loses its worker, none follows.
    pub last_chance: bool,
}

impl Claim {
    /// The task and its lease.
    pub fn leased(&self) -> Leased {
        (self.id, self.lease)
    }

    /// For tests to vary.
    #[cfg(test)]
    pub(crate) fn example() -> Self {
        Self {
            id: TaskId::new(),
            lease: Lease(1),
            worker_id: WorkerId(1),
            task_type: "noop".into(),
            payload: None,
            attempt: 1,
            retry_count: 0,
            timeout: Duration::from_secs(1),
            request_id: None,
            created_by: None,
            priority: 0,
            run_at: Utc::now(),
            last_chance: false,
        }
    }
}

/// When an attempt began and ended, by the database's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// When its handler began.
    pub began: DateTime<Utc>,
    /// When its handler ended.
    pub ended: DateTime<Utc>,
}

/// In which way an attempt ended that did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display)]
#[display(rename_all = "snake_case")]
pub enum Stopped {
    /// An error or a panic; another attempt follows if one is left.
    Failed,
    /// As `Failed`, after its time was up.
    TimedOut,
    /// A failure for good.
    Refused,
    /// It was called off, and stopped.
    Cancelled,
    /// It asked to be run later; not counted as a failure.
    Snoozed,
    /// The worker had to stop; not counted as a failure, and due at once.
    Interrupted,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_never_negative_and_never_the_same() {
        let drawn: std::collections::HashSet<_> = (0..1000).map(|_| Lease::draw()).collect();
        assert_eq!(drawn.len(), 1000);
        assert!(drawn.iter().all(|lease| lease.0 >= 0));
    }

    #[test]
    fn stops_are_stored_in_snake_case() {
        assert_eq!(Stopped::TimedOut.to_string(), "timed_out");
    }
}
