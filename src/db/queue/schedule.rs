//! Ticks of schedules: each makes one task, however many processes look.

use chrono::{DateTime, Utc};
use diesel::{
    deserialize::Queryable,
    sql_types::{Array, BigInt, Bool, Double, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use uuid::Uuid;

use crate::{
    db::statement::{Fixed, Statement},
    domain::{Result, ScheduleId, TaskId},
};

struct DueTicks;

impl Fixed for DueTicks {
    // Two looks, so that neither kind, however many there are, keeps the other waiting.
    const SQL: &'static str = "
        (select id, cron, timezone, task_type, missed = 'run_once', next_run_at, statement_timestamp()
            from schedules where enabled and task_type = any($1) and next_run_at <= now()
            order by next_run_at limit $2)
        union all
        (select id, cron, timezone, task_type, missed = 'run_once', next_run_at, statement_timestamp()
            from schedules where enabled and task_type = any($1) and next_run_at is null limit $2)";
    type Args = (Array<Text>, BigInt);
    type Row = (SqlUuid, Text, Text, Text, Bool, Nullable<Timestamptz>, Timestamptz);
}

/// A schedule whose tick has come, or that does not know its next one yet.
#[derive(Debug, Clone, Queryable)]
pub struct DueTick {
    id: Uuid,
    /// When it recurs.
    pub cron: String,
    /// In which time zone, an IANA name.
    pub timezone: String,
    /// Of the task that it makes.
    pub task_type: String,
    /// One task makes up for ticks that were missed.
    pub make_up: bool,
    /// The tick; `None` for a schedule that was enabled by plain SQL, or that is over.
    pub tick: Option<DateTime<Utc>>,
    /// The database's clock.
    pub now: DateTime<Utc>,
}

impl DueTick {
    /// The schedule.
    pub fn schedule(&self) -> ScheduleId {
        ScheduleId(self.id)
    }
}

/// Schedules of these types whose tick has come, the longest overdue first, at most `at_most`, and as many of those that
/// have no next tick.
///
/// # Errors
/// As the database tells.
pub async fn due_ticks(
    connection: &mut AsyncPgConnection,
    task_types: &[&str],
    at_most: i64,
) -> Result<Vec<DueTick>> {
    Ok(Statement::<DueTicks, _>::with((task_types, at_most)).get_results(connection).await?)
}

struct NextTick;

impl Fixed for NextTick {
    const SQL: &'static str = "
        select extract(epoch from min(next_run_at) - clock_timestamp())::float8 from schedules
        where enabled and task_type = any($1)";
    type Args = (Array<Text>,);
    type Row = (Nullable<Double>,);
}

/// Seconds until the next tick of schedules of these types; negative when one is overdue, `None` without any.
///
/// # Errors
/// As the database tells.
pub async fn next_tick(connection: &mut AsyncPgConnection, task_types: &[&str]) -> Result<Option<f64>> {
    let (seconds,): (Option<f64>,) =
        Statement::<NextTick, _>::with((task_types,)).get_result(connection).await?;
    Ok(seconds)
}

struct Fire;

impl Fixed for Fire {
    // Whoever moves `next_run_at` from what it was makes the task; the key keeps one from being made twice even if
    // somebody moves it back. The task keeps the time of its tick.
    const SQL: &'static str = "
        with fired as (
            update schedules set next_run_at = $1, last_run_at = coalesce($2, last_run_at)
            where id = $3 and next_run_at is not distinct from $4 and enabled
            returning id, task_type, queue, payload, created_by,
                'schedule:' || id || ':' || extract(epoch from $2::timestamptz)::bigint as key
        ), made as (
            insert into tasks (
                id, task_type, queue, payload, run_at, max_attempts, timeout_secs, unique_key, held_key, unique_scope,
                created_by, schedule_id)
            select $5, task_type, queue, payload, $2, $6, $7,
                key, key, '00000000-0000-0000-0000-000000000000', created_by, id
            from fired where $2::timestamptz is not null
            on conflict (held_key, unique_scope) where held_key is not null do nothing
            returning id, queue
        )
        select id, pg_notify('starter_tasks', queue)::text from made";
    type Args = (
        Nullable<Timestamptz>,
        Nullable<Timestamptz>,
        SqlUuid,
        Nullable<Timestamptz>,
        SqlUuid,
        Integer,
        Integer,
    );
    type Row = (SqlUuid, Text);
}

/// What a tick leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Firing {
    /// The next tick; `None`: never again.
    pub next: Option<DateTime<Utc>>,
    /// The tick that a task is made for; `None`: for none, it was missed.
    pub tick: Option<DateTime<Utc>>,
    /// Attempts that the task is given.
    pub max_attempts: i32,
    /// Seconds that one attempt may take.
    pub timeout_secs: i32,
}

/// Moves a schedule on from `due`, and makes the task of the tick. Returns the task; `None` when none was to be made,
/// or when another process was quicker.
///
/// # Errors
/// As the database tells.
pub async fn fire(
    connection: &mut AsyncPgConnection,
    due: &DueTick,
    firing: Firing,
) -> Result<Option<TaskId>> {
    let id = TaskId::new().0;
    let Firing { next, tick, max_attempts, timeout_secs } = firing;
    let values = (next, tick, due.id, due.tick, id, max_attempts, timeout_secs);
    let rows: Vec<(Uuid, String)> = Statement::<Fire, _>::with(values).get_results(connection).await?;
    Ok(rows.into_iter().next().map(|(id, _)| TaskId(id)))
}

struct Disable;

impl Fixed for Disable {
    const SQL: &'static str = "
        update schedules set enabled = false, next_run_at = null, disabled_reason = $1
        where id = $2 and next_run_at is not distinct from $3 and enabled
        returning id";
    type Args = (Text, SqlUuid, Nullable<Timestamptz>);
    type Row = (SqlUuid,);
}

/// Disables a schedule that has no next tick. Returns whether it was still enabled and as `due` has it.
pub async fn disable(connection: &mut AsyncPgConnection, due: &DueTick, reason: &str) -> Result<bool> {
    let rows: Vec<(Uuid,)> =
        Statement::<Disable, _>::with((reason, due.id, due.tick)).get_results(connection).await?;
    Ok(!rows.is_empty())
}
