//! Deleting what is old, in small steps: each locks little, and none waits for another's lock.

use std::time::Duration;

use diesel::sql_types::{BigInt, Double, Nullable, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};

use uuid::Uuid;

use super::statement::{Fixed, Statement};
use crate::domain::{Result, TaskId};

/// Deletes up to `$2` rows of a table that are older than `$1` seconds.
macro_rules! sweep {
    ($(#[$doc:meta])* $name:ident, $statement:ident, $sql:literal) => {
        struct $statement;

        impl Fixed for $statement {
            const SQL: &'static str = $sql;
            const REPLAN: bool = true;
            type Args = (Double, BigInt);
            type Row = ();
        }

        $(#[$doc])*
        ///
        /// # Errors
        /// As the database tells.
        pub async fn $name(
            connection: &mut AsyncPgConnection,
            older_than: Duration,
            limit: i64,
        ) -> Result<usize> {
            Ok(Statement::<$statement, _>::with((older_than.as_secs_f64(), limit)).execute(connection).await?)
        }
    };
}

/// Tasks that one step looks at.
const WINDOW: i64 = 20_000;

struct FinishedTasks;

impl Fixed for FinishedTasks {
    // In the order of the primary key: an index of times would be written for each task that ends, this is read bit by bit.
    const SQL: &'static str = "
        with look as (
            select id, finished_at from tasks where id > $2 order by id limit $3
        ), old as (
            select id from tasks
            where id = any(array(select id from look where finished_at < now() - make_interval(secs => $1)))
                and finished_at < now() - make_interval(secs => $1)
            order by id limit $4 for update skip locked
        ), gone as (
            delete from tasks where id = any(array(select id from old)) returning id
        )
        select (select count(*) from gone), case (select count(*) from old)
            when $4 then (select id from old order by id desc limit 1)
            else (select id from look order by id desc limit 1) end";
    const REPLAN: bool = true;
    type Args = (Double, SqlUuid, BigInt, BigInt);
    type Row = (BigInt, Nullable<SqlUuid>);
}

/// What a step of [`finished_tasks`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Tasks that were deleted.
    pub deleted: usize,
    /// Where the next step begins; `None`: all tasks have been looked at.
    pub reached: Option<TaskId>,
}

/// Looks at some tasks that come after `after`, and deletes those that finished longer ago than this, up to `limit`,
/// with their attempts.
///
/// # Errors
/// As the database tells.
pub async fn finished_tasks(
    connection: &mut AsyncPgConnection,
    older_than: Duration,
    after: Option<TaskId>,
    limit: i64,
) -> Result<Step> {
    let after = after.map_or(Uuid::nil(), |task| task.0);
    let values = (older_than.as_secs_f64(), after, WINDOW, limit);
    let (deleted, reached): (i64, Option<Uuid>) =
        Statement::<FinishedTasks, _>::with(values).get_result(connection).await?;
    Ok(Step { deleted: usize::try_from(deleted).unwrap_or(0), reached: reached.map(TaskId) })
}

sweep! {
    /// Deletes up to `limit` first answers that were kept for longer than this. Returns how many there were.
    idempotency_keys, IdempotencyKeys, "
        delete from idempotency_keys where ctid = any(array(
            select ctid from idempotency_keys where created_at < now() - make_interval(secs => $1)
            order by created_at limit $2 for update skip locked))"
}

sweep! {
    /// Deletes up to `limit` notes of which tasks ended together that are older than this. Returns how many there were.
    task_endings, TaskEndings, "
        delete from task_endings where id = any(array(
            select id from task_endings where at < now() - make_interval(secs => $1)
            order by at limit $2 for update skip locked))"
}

sweep! {
    /// Deletes up to `limit` events that are older than this. Returns how many there were.
    task_events, TaskEvents, "
        delete from task_events where id = any(array(
            select id from task_events where at < now() - make_interval(secs => $1)
            order by at limit $2 for update skip locked))"
}

/// Worth a vacuum.
const DEAD_ROWS: i64 = 20_000;

struct CountDead;

impl Fixed for CountDead {
    const SQL: &'static str =
        "select coalesce(max(n_dead_tup), 0) from pg_stat_user_tables where relname = 'tasks'";
    type Args = ();
    type Row = (BigInt,);
}

/// What a look at the table's dead rows came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vacuum {
    /// Dead rows that were left, as the next look wants to know.
    pub left: i64,
    /// Whether the table was vacuumed.
    pub done: bool,
}

/// Vacuums the table of tasks when there is enough to clear away: autovacuum looks once a minute, and a queue makes half a
/// million dead rows in that time. Rows that an open transaction may yet see stay, and to go through them again and
/// again would slow everybody down: there must be twice as many as were left the last time.
///
/// # Errors
/// As the database tells.
pub async fn vacuum_tasks(connection: &mut AsyncPgConnection, last: Vacuum) -> Result<Vacuum> {
    let dead = async |connection: &mut AsyncPgConnection| -> Result<i64> {
        let (dead,): (i64,) = Statement::<CountDead, _>::with(()).get_result(connection).await?;
        Ok(dead)
    };
    let now = dead(connection).await?;
    if now <= DEAD_ROWS.max(last.left.saturating_mul(2)) {
        return Ok(Vacuum { left: last.left.min(now), done: false });
    }
    // Takes as long as it takes. Truncating would need a lock that stops everybody.
    connection.batch_execute("set statement_timeout = 0").await?;
    let done = connection.batch_execute("vacuum (skip_locked, truncate off) tasks, task_claims").await;
    connection.batch_execute("reset statement_timeout").await?;
    done?;
    Ok(Vacuum { left: dead(connection).await?, done: true })
}
