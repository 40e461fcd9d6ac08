//! The queue as a whole.

use std::collections::BTreeMap;

use actix_web::web;
use serde::Serialize;
use utoipa::ToSchema;

use super::Dispatcher;
use crate::{
    actors::dispatcher::TaskStats,
    domain::{
        Action,
        task::Status,
        task_stats::{Percentiles, Recent, Stats, Throughput, Unserved},
    },
    endpoint,
    http::{Endpoint, Problem},
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![endpoint!(stats, Action::ReadTaskStats)]
}

type ByStatus = BTreeMap<&'static str, u64>;

/// Tasks, counted three ways. What is not there is 0.
#[derive(Debug, Default, Serialize, ToSchema)]
struct Counts {
    /// By status; every status is there.
    #[schema(value_type = BTreeMap<String, u64>)]
    by_status: ByStatus,
    /// By type, then by status: the 200 largest, and all others as `other`.
    #[schema(value_type = BTreeMap<String, BTreeMap<String, u64>>)]
    by_type: BTreeMap<String, ByStatus>,
    /// By queue, then by status: the 200 largest, and all others as `other`.
    #[schema(value_type = BTreeMap<String, BTreeMap<String, u64>>)]
    by_queue: BTreeMap<String, ByStatus>,
}

/// The queue at this moment, and over the last hour.
#[derive(Debug, Serialize, ToSchema)]
struct TaskStatistics {
    counts: Counts,
    /// Counts of finished tasks were estimated from a sample, since there are many.
    estimated: bool,
    /// Unfinished tasks were counted up to a bound: there are that many, or more.
    bounded: bool,
    /// Pending tasks that no live worker takes, as none knows their type and serves their queue.
    unserved: Vec<Unserved>,
    /// Seconds since the oldest task became due that still waits; null when none does.
    #[schema(required = true)]
    oldest_due_secs: Option<f64>,
    throughput: Throughput,
    /// From being due to the start, over the last hour; null when nothing finished.
    #[schema(required = true)]
    wait_secs: Option<Percentiles>,
    /// From the start to the end, over the last hour; null when nothing finished.
    #[schema(required = true)]
    run_secs: Option<Percentiles>,
    /// The last hour, by type.
    recent: Vec<Recent>,
}

impl From<Stats> for TaskStatistics {
    fn from(stats: Stats) -> Self {
        let mut counts = Counts::default();
        counts.by_status.extend(Status::ALL.map(|status| (status.as_str(), 0)));
        for count in stats.counts {
            let status = count.status.as_str();
            *counts.by_status.entry(status).or_default() += count.count;
            *counts.by_type.entry(count.task_type).or_default().entry(status).or_default() += count.count;
            *counts.by_queue.entry(count.queue).or_default().entry(status).or_default() += count.count;
        }
        let (all, recent): (Vec<_>, Vec<_>) =
            stats.recent.into_iter().partition(|recent| recent.task_type.is_none());
        Self {
            counts,
            estimated: stats.estimated,
            bounded: stats.bounded,
            unserved: stats.unserved,
            oldest_due_secs: stats.oldest_due_secs,
            throughput: stats.throughput,
            wait_secs: all.first().and_then(|all| all.wait_secs),
            run_secs: all.first().and_then(|all| all.run_secs),
            recent,
        }
    }
}

/// Counts by status, type and queue, the oldest due task, throughput, waiting and running times.
///
/// Cheap however many tasks there are: large counts are estimates, and say so.
#[utoipa::path(
    get,
    path = "/api/v1/tasks/stats",
    tag = "tasks",
    security(("bearer" = [])),
    responses((status = 200, description = "At this moment", body = TaskStatistics))
)]
async fn stats(desk: Dispatcher) -> Result<web::Json<TaskStatistics>, Problem> {
    Ok(web::Json(desk.ask(TaskStats).await?.into()))
}
