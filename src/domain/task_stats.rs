//! The queue at one moment, and over the last hour.

use serde::Serialize;
use utoipa::ToSchema;

use super::task::Status;

/// Tasks that have the same status, type and queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Their status.
    pub status: Status,
    /// Their type.
    pub task_type: String,
    /// Their queue.
    pub queue: String,
    /// How many.
    pub count: u64,
}

/// Pending tasks that no live worker takes: none knows their type and serves their queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Unserved {
    /// Their type.
    pub task_type: String,
    /// Their queue.
    pub queue: String,
    /// How many.
    pub count: u64,
}

/// Unfinished tasks. Each of pending, waiting and running ones is counted up to a bound.
#[derive(Debug, Clone, Default)]
pub struct Depths {
    /// By status, type and queue.
    pub counts: Vec<Count>,
    /// A count stopped at its bound: there are that many, or more.
    pub bounded: bool,
}

/// How long something took, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, ToSchema)]
pub struct Percentiles {
    /// Half took at most this.
    pub p50: f64,
    /// 95 of 100.
    pub p95: f64,
    /// 99 of 100.
    pub p99: f64,
}

/// What finished within the last hour.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Recent {
    /// `None`: all types together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_type: Option<String>,
    /// Tasks that this is measured on: the last ones, at most a fixed number.
    pub sample: u64,
    /// Of these.
    pub succeeded: u64,
    /// Of these.
    pub failed: u64,
    /// Of these.
    pub cancelled: u64,
    /// From being due to the claim of the last attempt; of those that succeeded or failed, null when there are none.
    pub wait_secs: Option<Percentiles>,
    /// From the claim of the last attempt to its end; of the same ones.
    pub run_secs: Option<Percentiles>,
}

/// How much finished.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct Throughput {
    /// Tasks that finished within `window_secs`.
    pub finished: u64,
    /// An hour; less when that many finished that the count stopped.
    pub window_secs: f64,
    /// Finished tasks a second.
    pub per_second: f64,
}

/// Everything.
#[derive(Debug, Clone)]
pub struct Stats {
    /// Finished and unfinished ones.
    pub counts: Vec<Count>,
    /// Counts of finished tasks are scaled up from a sample.
    pub estimated: bool,
    /// Counts of unfinished tasks stopped at a bound.
    pub bounded: bool,
    /// What waits for a worker that is not there.
    pub unserved: Vec<Unserved>,
    /// Seconds since the oldest task became due that still waits.
    pub oldest_due_secs: Option<f64>,
    /// Over the last hour.
    pub throughput: Throughput,
    /// All types together first, then by type.
    pub recent: Vec<Recent>,
}
