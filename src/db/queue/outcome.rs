//! What became of claimed tasks. Each statement takes many, and writes nothing about a task whose lease has changed.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, BigInt, Double, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use serde_json::Value;
use uuid::Uuid;

use super::{columns, leased};
use crate::{
    db::{
        Plans,
        statement::{Fixed, Statement},
    },
    domain::{
        Error, Result,
        attempt::{Leased, Stopped, Times},
        task::Status,
    },
};

// The times are the worker's account of the database's clock: an attempt neither begins before its claim nor ends after
// the statement that writes it down. Without them they are those of the claim and of the statement.
macro_rules! began {
    () => {
        "least(greatest(t.started_at, x.began), statement_timestamp())"
    };
}

macro_rules! ended {
    () => {
        "least(greatest(t.started_at, x.began, coalesce(x.ended, statement_timestamp())), statement_timestamp())"
    };
}

// No index has a column that changes here (but for held_key, of those who hold one), so the row stays on its page, and no
// index is written (a heap-only update). worker_id stays: the attempt that succeeded is told from the task's own row.
macro_rules! succeed {
    ($found:literal) => {
        concat!(
            "
        update tasks t set status = 'succeeded', lease = null, held_key = null, result = x.result, last_error = null,
            started_at = ",
            began!(),
            ", finished_at = ",
            ended!(),
            ", updated_at = statement_timestamp()
        from unnest($1, $2, $3, $4, $5) as x (id, lease, result, began, ended)
        where ",
            $found,
            "t.id = x.id and t.lease = x.lease
        returning t.id, x.lease"
        )
    };
}

type Succeeded = (
    Array<SqlUuid>,
    Array<BigInt>,
    Array<Nullable<Jsonb>>,
    Array<Nullable<Timestamptz>>,
    Array<Nullable<Timestamptz>>,
);

struct SucceedReplanned;

impl Fixed for SucceedReplanned {
    const SQL: &'static str = succeed!("t.id = any($1) and ");
    const REPLAN: bool = true;
    type Args = Succeeded;
    type Row = (SqlUuid, BigInt);
}

struct Succeed;

impl Fixed for Succeed {
    // In a plan that is kept, `any` would go through the whole list for each of its tasks.
    const SQL: &'static str = succeed!("");
    type Args = Succeeded;
    type Row = (SqlUuid, BigInt);
}

/// An attempt that succeeded.
#[derive(Debug, Clone, PartialEq)]
pub struct Success {
    /// What its handler returned.
    pub result: Option<Value>,
    /// When it began and ended; `None`: with its claim, and now.
    pub times: Option<Times>,
}

/// These are done, with these results. Returns those whose lease was good; nothing was written about the others.
///
/// # Errors
/// As the database tells.
pub async fn succeed(
    connection: &mut AsyncPgConnection,
    tasks: &[(Leased, Option<Value>)],
) -> Result<Vec<Leased>> {
    let success = |result: &Option<Value>| Success { result: result.clone(), times: None };
    let tasks: Vec<_> = tasks.iter().map(|(leased, result)| (*leased, success(result))).collect();
    succeed_by(connection, Plans::Fresh, &tasks).await
}

/// As [`succeed`].
///
/// # Errors
/// As the database tells.
pub async fn succeed_by(
    connection: &mut AsyncPgConnection,
    plans: Plans,
    tasks: &[(Leased, Success)],
) -> Result<Vec<Leased>> {
    let (ids, leases) = columns(tasks.iter().map(|(leased, _)| leased));
    let results: Vec<Option<&Value>> = tasks.iter().map(|(_, success)| success.result.as_ref()).collect();
    let (began, ended) = times(tasks.iter().map(|(_, success)| success.times));
    let values = (ids, leases, results, began, ended);
    let rows: Vec<(Uuid, i64)> = match plans {
        Plans::Kept => Statement::<Succeed, _>::with(values).get_results(connection).await?,
        Plans::Fresh => Statement::<SucceedReplanned, _>::with(values).get_results(connection).await?,
    };
    Ok(rows.into_iter().map(leased).collect())
}

struct Stop;

impl Fixed for Stop {
    // Whoever asked to cancel gets his way, unless the task was done before it noticed.
    const SQL: &'static str = concat!(
        "
        with told as (
            select t.id, t.lease, t.attempt, t.worker_id, x.how, x.why, x.delay, ",
        began!(),
        " as began, ",
        ended!(),
        " as ended,
                case when t.cancel_requested_at is not null or x.how = 'cancelled' then 'cancelled'
                     when x.how = 'interrupted' then 'pending'
                     when x.how = 'snoozed' then 'scheduled'
                     when x.how = 'refused' or t.retry_count + 1 >= t.max_attempts then 'failed'
                     else 'retrying' end as status
            from tasks t join unnest($1, $2, $3, $4, $5, $6, $7) as x (id, lease, how, why, delay, began, ended)
                on t.id = x.id and t.lease = x.lease
            where t.id = any($1)
            order by t.id
            for update of t
        ), moved as (
            update tasks t set status = told.status, lease = null, worker_id = null, started_at = told.began,
                stage = case when told.status = 'pending' then 'due'
                    when told.status in ('failed', 'cancelled') then told.status else 'waiting' end,
                held_key = case when told.status in ('failed', 'cancelled') then null else t.held_key end,
                retry_count = t.retry_count + (told.status = 'retrying')::int,
                run_at = case when told.status in ('pending', 'scheduled', 'retrying')
                    then statement_timestamp() + make_interval(secs => told.delay) else t.run_at end,
                last_error = coalesce(told.why, t.last_error),
                finished_at = case when told.status in ('failed', 'cancelled') then told.ended end,
                updated_at = statement_timestamp()
            from told where t.id = any($1) and t.id = told.id
            returning t.id, told.lease, told.status, t.queue
        ), history as (
            insert into task_attempts (task_id, attempt, worker_id, started_at, finished_at, outcome, error)
            select id, attempt, worker_id, began, ended, case how when 'refused' then 'failed' else how end, why from told
        )
        select id, lease, status, ",
        ring!("moved"),
        " from moved"
    );
    const REPLAN: bool = true;
    type Args = (
        Array<SqlUuid>,
        Array<BigInt>,
        Array<Text>,
        Array<Nullable<Text>>,
        Array<Double>,
        Array<Nullable<Timestamptz>>,
        Array<Nullable<Timestamptz>>,
    );
    type Row = (SqlUuid, BigInt, Text, Nullable<Text>);
}

/// How a task stopped without being done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopping {
    /// In which way.
    pub how: Stopped,
    /// Why, for the owner; without NUL.
    pub why: Option<String>,
    /// Before it may run again, if it may.
    pub delay: Duration,
    /// When it began and ended; `None`: with its claim, and now.
    pub times: Option<Times>,
}

/// These stopped without being done. Returns what became of those whose lease was good; nothing was written about
/// the others.
///
/// # Errors
/// As the database tells.
pub async fn stop(
    connection: &mut AsyncPgConnection,
    tasks: &[(Leased, Stopping)],
) -> Result<HashMap<Leased, Status>> {
    let (ids, leases) = columns(tasks.iter().map(|(leased, _)| leased));
    let (began, ended) = times(tasks.iter().map(|(_, stopping)| stopping.times));
    let statement = Statement::<Stop, _>::with((
        ids,
        leases,
        tasks.iter().map(|(_, stopping)| stopping.how.to_string()).collect::<Vec<_>>(),
        tasks.iter().map(|(_, stopping)| stopping.why.as_deref()).collect::<Vec<_>>(),
        tasks.iter().map(|(_, stopping)| stopping.delay.as_secs_f64()).collect::<Vec<_>>(),
        began,
        ended,
    ));
    let rows: Vec<(Uuid, i64, String, Option<String>)> = statement.get_results(connection).await?;
    rows.into_iter().map(|(id, lease, stored, _)| Ok((leased((id, lease)), status(&stored)?))).collect()
}

type OptionalTimes = Vec<Option<DateTime<Utc>>>;

fn times(all: impl Iterator<Item = Option<Times>>) -> (OptionalTimes, OptionalTimes) {
    all.map(|times| (times.map(|times| times.began), times.map(|times| times.ended))).unzip()
}

pub(super) fn status(stored: &str) -> Result<Status> {
    Status::parse(stored).ok_or_else(|| Error::internal(format!("a task has the status {stored}")))
}
