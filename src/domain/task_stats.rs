//! The queue at one moment, and over the last hour.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashSet},
};

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

/// Queues, and types, that are counted by name. Users choose the names of queues, and what is shown of them must not grow
/// without end.
pub const NAMED: usize = 200;
/// The name under which the smaller ones are counted together.
pub const OTHER: &str = "other";

/// Counts the largest queues and types by name, and all others as [`OTHER`].
pub fn largest(counts: Vec<Count>) -> Vec<Count> {
    let queues = largest_names(counts.iter().map(|count| (count.queue.as_str(), count.count)));
    let types = largest_names(counts.iter().map(|count| (count.task_type.as_str(), count.count)));
    let named = |name: String, known: &HashSet<String>| {
        if known.contains(&name) { name } else { OTHER.to_owned() }
    };

    let mut folded: Vec<Count> = Vec::new();
    let mut others: BTreeMap<(&str, String, String), Count> = BTreeMap::new();
    for Count { status, task_type, queue, count } in counts {
        let (task_type, queue) = (named(task_type, &types), named(queue, &queues));
        let key = (status.as_str(), task_type.clone(), queue.clone());
        let named = Count { status, task_type, queue, count };
        if named.task_type != OTHER && named.queue != OTHER {
            folded.push(named);
        } else if let Some(sum) = others.get_mut(&key) {
            sum.count += count;
        } else {
            others.insert(key, named);
        }
    }
    folded.extend(others.into_values());
    folded
}

fn largest_names<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> HashSet<String> {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, count) in counts {
        *sums.entry(name).or_default() += count;
    }
    let mut names: Vec<_> = sums.into_iter().collect();
    // Stable: of equal ones, the first by name stays, so that the same ones are shown each time.
    names.sort_by_key(|(_, count)| Reverse(*count));
    names.into_iter().take(NAMED).map(|(name, _)| name.to_owned()).collect()
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
    #[schema(required = true)]
    pub wait_secs: Option<Percentiles>,
    /// From the claim of the last attempt to its end; of the same ones.
    #[schema(required = true)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_queues_keep_their_names_and_no_task_is_lost() {
        let mut counts: Vec<Count> = (0..5_000)
            .map(|n| Count {
                status: if n % 2 == 0 { Status::Cancelled } else { Status::Pending },
                task_type: "noop".into(),
                queue: format!("q{n}"),
                count: 1,
            })
            .collect();
        counts.push(Count { status: Status::Pending, task_type: "noop".into(), queue: "z".into(), count: 9 });
        let folded = largest(counts);
        assert_eq!(folded.iter().map(|count| count.count).sum::<u64>(), 5_009);
        assert_eq!(folded.len(), NAMED + 2, "199 and `z`, and the others in two states");
        assert!(folded.iter().any(|count| count.queue == "z" && count.count == 9));

        let few =
            vec![Count { status: Status::Pending, task_type: "noop".into(), queue: "a".into(), count: 1 }];
        assert_eq!(largest(few.clone()), few);
    }
}
