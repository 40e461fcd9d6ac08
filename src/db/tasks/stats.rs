//! Counting tasks at a price that does not grow with their number.
//!
//! Unfinished ones are counted through their partial indexes, up to [`BOUND`] each, of which every queue has its share. The
//! age of the oldest due one is found by leaping from queue to queue and priority to priority in the index. Finished ones
//! are counted when the table is small, else scaled up from a sample of its pages.

use std::collections::HashMap;

use diesel::{
    OptionalExtension,
    sql_types::{Array, BigInt, Double, Nullable, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::{
    recent::{recent, throughput},
    row::status,
};
use crate::{
    db::{
        queue::running_tasks,
        statement::{Fixed, Statement},
    },
    domain::{
        Result,
        task::Status,
        task_stats::{Count, Depths, NAMED, OTHER, Stats, Unserved, largest},
    },
};

/// Unfinished tasks that are counted of each kind.
const BOUND: i64 = 100_000;
/// Rows that are looked at to estimate how many finished tasks there are of each kind.
const ROWS: f64 = 50_000.0;

struct CountUnfinished;

impl Fixed for CountUnfinished {
    const SQL: &'static str = concat!(
        "
        with recursive due (queue) as (
            (select queue from tasks where stage = 'due' order by queue limit 1)
            union all
            select (select queue from tasks where stage = 'due' and queue > due.queue order by queue limit 1)
            from due where due.queue is not null
        ), waiting (queue) as (
            (select queue from tasks where stage = 'waiting' order by queue limit 1)
            union all
            select (select queue from tasks where stage = 'waiting' and queue > waiting.queue order by queue limit 1)
            from waiting where waiting.queue is not null
        ), share as (
            select $1 / greatest((select count(queue) from (select queue from due limit 1000) one), 1) as due,
                $1 / greatest((select count(queue) from (select queue from waiting limit 1000) one), 1) as waiting
        ), unfinished as (
            (select t.* from (select queue from due limit 1000) one cross join lateral (
                select status, task_type, queue from tasks where stage = 'due' and queue = one.queue
                limit (select due from share)) t)
            union all
            (select t.* from (select queue from waiting limit 1000) one cross join lateral (
                select status, task_type, queue from tasks where stage = 'waiting' and queue = one.queue
                limit (select waiting from share)) t)
            union all
            (select t.status, t.task_type, t.queue ",
        running_tasks!(),
        " limit $1))
        select status, task_type, queue, count(*), case status when 'pending' then (select due from share)
            when 'running' then $1 else (select waiting from share) end
        from unfinished group by status, task_type, queue order by status, task_type, queue"
    );
    type Args = (BigInt,);
    type Row = (Text, Text, Text, BigInt, BigInt);
}

/// Unfinished tasks by status, type and queue.
///
/// # Errors
/// As the database tells.
pub async fn depths(connection: &mut AsyncPgConnection) -> Result<Depths> {
    let rows: Vec<(String, String, String, i64, i64)> =
        Statement::<CountUnfinished, _>::with((BOUND,)).get_results(connection).await?;
    let mut of_queues: HashMap<(&str, &str), (i64, i64)> = HashMap::new();
    for (status, _, queue, n, share) in &rows {
        // Scheduled and retrying ones share; running ones are counted over all queues.
        let (kind, queue) = match status.as_str() {
            "pending" => ("due", queue.as_str()),
            "running" => ("running", ""),
            _ => ("waiting", queue.as_str()),
        };
        let (counted, _) = of_queues.entry((kind, queue)).or_insert((0, *share));
        *counted += n;
    }
    let bounded = of_queues.values().any(|(counted, share)| counted >= share);
    let counts = rows.into_iter().map(|(status, task_type, queue, n, _)| count(&status, task_type, queue, n));
    Ok(Depths { counts: counts.collect::<Result<_>>()?, bounded })
}

fn count(stored: &str, task_type: String, queue: String, count: i64) -> Result<Count> {
    Ok(Count { status: status(stored)?, task_type, queue, count: u64::try_from(count).unwrap_or(0) })
}

struct LiveWorkers;

impl Fixed for LiveWorkers {
    const SQL: &'static str = "select task_types, queues from workers where lease_expires_at > now()";
    type Args = ();
    type Row = (Array<Text>, Array<Text>);
}

/// Of these counts, the pending tasks that no live worker takes.
async fn unserved(connection: &mut AsyncPgConnection, counts: &[Count]) -> Result<Vec<Unserved>> {
    let workers: Vec<(Vec<String>, Vec<String>)> =
        Statement::<LiveWorkers, _>::with(()).get_results(connection).await?;
    let takes = |count: &Count| {
        workers
            .iter()
            .any(|(types, queues)| types.contains(&count.task_type) && queues.contains(&count.queue))
    };
    let left = counts.iter().filter(|count| count.status == Status::Pending && !takes(count));
    Ok(largest_unserved(left.cloned().collect()))
}

/// The largest first; all beyond a number together.
fn largest_unserved(mut left: Vec<Count>) -> Vec<Unserved> {
    left.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.queue.cmp(&b.queue)));
    let others: u64 = left.iter().skip(NAMED).map(|count| count.count).sum();
    left.truncate(NAMED);
    let mut unserved: Vec<_> = left
        .into_iter()
        .map(|count| Unserved { task_type: count.task_type, queue: count.queue, count: count.count })
        .collect();
    if others > 0 {
        unserved.push(Unserved { task_type: OTHER.to_owned(), queue: OTHER.to_owned(), count: others });
    }
    unserved
}

struct OldestDue;

impl Fixed for OldestDue {
    const SQL: &'static str = "
        with recursive level as (
            (select queue, priority from tasks where stage = 'due' order by queue, priority desc limit 1)
            union all
            select next.queue, next.priority from level, lateral (
                (select 1 as rank, queue, priority from tasks
                 where stage = 'due' and queue = level.queue and priority < level.priority
                 order by priority desc limit 1)
                union all
                (select 2, queue, priority from tasks
                 where stage = 'due' and queue > level.queue order by queue, priority desc limit 1)
                order by rank limit 1) next
        )
        select queue, max(extract(epoch from statement_timestamp() - run_at))::float8
        from (select * from level limit 2000) level, lateral (
            select run_at from tasks
            where stage = 'due' and queue = level.queue and priority = level.priority
            order by run_at limit 1) first
        group by queue";
    type Args = ();
    type Row = (Text, Nullable<Double>);
}

/// How many seconds ago the oldest task became due that still waits, for each queue where one waits.
///
/// # Errors
/// As the database tells.
pub async fn oldest_due(connection: &mut AsyncPgConnection) -> Result<Vec<(String, f64)>> {
    let rows: Vec<(String, Option<f64>)> =
        Statement::<OldestDue, _>::with(()).get_results(connection).await?;
    Ok(rows.into_iter().map(|(queue, secs)| (queue, secs.unwrap_or(0.0).max(0.0))).collect())
}

struct TableSize;

impl Fixed for TableSize {
    const SQL: &'static str =
        "select greatest(reltuples, 0)::float8 from pg_class where oid = 'tasks'::regclass";
    type Args = ();
    type Row = (Double,);
}

struct CountFinished;

impl Fixed for CountFinished {
    const SQL: &'static str = "
        with counts as materialized (
            select status, task_type, queue, count(*) as tasks from tasks
            where finished_at is not null group by status, task_type, queue
        ), largest as (
            select queue from counts group by queue order by sum(tasks) desc, queue limit 200
        )
        select status, task_type, coalesce(largest.queue, 'other') as named, sum(tasks)::bigint
        from counts left join largest on largest.queue = counts.queue
        group by status, task_type, named order by status, task_type, named";
    type Args = ();
    type Row = (Text, Text, Text, BigInt);
}

struct EstimateFinished;

impl Fixed for EstimateFinished {
    // The sample tells the shares, the planner's statistics the whole.
    const SQL: &'static str = "
        with sample as materialized (
            select status, task_type, queue, finished_at from tasks tablesample system ($1::float8)
        ), whole as (
            select count(*) as rows from sample
        ), largest as (
            select queue from sample where finished_at is not null
            group by queue order by count(*) desc, queue limit 200
        )
        select status, task_type, coalesce(largest.queue, 'other') as named,
            round($2::float8 * count(*) / greatest((select rows from whole), 1))::bigint
        from sample left join largest on largest.queue = sample.queue
        where finished_at is not null
        group by status, task_type, named order by status, task_type, named";
    type Args = (Double, Double);
    type Row = (Text, Text, Text, BigInt);
}

/// Returns whether the counts are estimates.
async fn finished(connection: &mut AsyncPgConnection) -> Result<(Vec<Count>, bool)> {
    let size: Option<(f64,)> = Statement::<TableSize, _>::with(()).get_result(connection).await.optional()?;
    let size = size.map_or(0.0, |(size,)| size);
    let estimated = size > 2.0 * ROWS;
    let rows: Vec<(String, String, String, i64)> = if estimated {
        let percent = 100.0 * ROWS / size;
        Statement::<EstimateFinished, _>::with((percent, size)).get_results(connection).await?
    } else {
        Statement::<CountFinished, _>::with(()).get_results(connection).await?
    };
    let counts = rows.into_iter().map(|(status, task_type, queue, n)| count(&status, task_type, queue, n));
    Ok((counts.collect::<Result<_>>()?, estimated))
}

/// Everything that is told of the queue as a whole.
///
/// # Errors
/// As the database tells.
pub async fn stats(connection: &mut AsyncPgConnection) -> Result<Stats> {
    let depths = depths(connection).await?;
    let unserved = unserved(connection, &depths.counts).await?;
    let (finished, estimated) = finished(connection).await?;
    let oldest = oldest_due(connection).await?;
    Ok(Stats {
        counts: largest(depths.counts.into_iter().chain(finished).collect()),
        estimated,
        bounded: depths.bounded,
        unserved,
        oldest_due_secs: oldest.into_iter().map(|(_, secs)| secs).reduce(f64::max),
        throughput: throughput(connection).await?,
        recent: recent(connection).await?,
    })
}
