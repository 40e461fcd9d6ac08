//! What operators do to many tasks, a bounded number at a time so that nobody waits long for their locks.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, BigInt, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use crate::{
    db::{
        queue::ring,
        statement::{Fixed, Statement},
    },
    domain::{Result, TaskId, task::Status},
};

/// Which failed tasks are retried.
#[derive(Debug, Clone)]
pub struct Failed {
    /// Finished before this: those that are retried and fail again at once are not meant.
    pub before: DateTime<Utc>,
    /// Of this type.
    pub task_type: Option<String>,
    /// In this queue.
    pub queue: Option<String>,
}

struct RetryFailed;

impl Fixed for RetryFailed {
    // One whose key is held by another stays as it is, and so does all but the last of several with the same key.
    const SQL: &'static str = concat!(
        "
        with chosen as (
            select id from tasks t
            where stage = 'failed' and finished_at < $4 and ($1::text is null or task_type = $1) and ($2::text is null or queue = $2)
                and not exists (
                    select from tasks other
                    where other.unique_key = t.unique_key and other.unique_scope = t.unique_scope
                        and (other.held_key is not null or other.stage = 'failed' and other.id > t.id))
            order by id limit $3 for update skip locked
        ), again as (
            update tasks set status = 'pending', stage = 'due', held_key = unique_key, run_at = statement_timestamp(), retry_count = 0, crashes = 0,
                cancel_requested_at = null, finished_at = null, result = null, progress = null,
                updated_at = statement_timestamp()
            where id = any(array(select id from chosen))
            returning id, queue, status
        )
        select id, ",
        ring!("again"),
        " from again"
    );
    type Args = (Nullable<Text>, Nullable<Text>, BigInt, Timestamptz);
    type Row = (SqlUuid, Nullable<Text>);
}

/// Retries at most `at_most` of them, the oldest first.
///
/// # Errors
/// As the database tells.
pub async fn retry_failed(
    connection: &mut AsyncPgConnection,
    which: &Failed,
    at_most: i64,
) -> Result<Vec<TaskId>> {
    let Failed { before, task_type, queue } = which;
    let statement =
        Statement::<RetryFailed, _>::with((task_type.as_deref(), queue.as_deref(), at_most, *before));
    let rows: Vec<(Uuid, Option<String>)> = statement.get_results(connection).await?;
    Ok(rows.into_iter().map(|(id, _)| TaskId(id)).collect())
}

/// Which finished tasks go.
#[derive(Debug, Clone)]
pub struct Prune {
    /// In these statuses; those that are not finished are left alone.
    pub statuses: Vec<Status>,
    /// Finished before this.
    pub before: DateTime<Utc>,
    /// Of this type.
    pub task_type: Option<String>,
}

struct PruneTasks;

impl Fixed for PruneTasks {
    const SQL: &'static str = "
        delete from tasks where id = any(array(
            select id from tasks
            where id > $4 and finished_at < $1 and status = any($2) and ($3::text is null or task_type = $3)
            order by id limit $5 for update skip locked))
        returning id";
    type Args = (Timestamptz, Array<Text>, Nullable<Text>, SqlUuid, BigInt);
    type Row = (SqlUuid,);
}

/// Deletes at most `at_most` of them that were made after `after`, the oldest first.
///
/// # Errors
/// As the database tells.
pub async fn prune(
    connection: &mut AsyncPgConnection,
    which: &Prune,
    after: Option<TaskId>,
    at_most: i64,
) -> Result<Vec<TaskId>> {
    let statuses: Vec<&str> =
        which.statuses.iter().filter(|status| status.is_finished()).map(|status| status.as_str()).collect();
    let after = after.map_or(Uuid::nil(), |task| task.0);
    let values = (which.before, statuses, which.task_type.as_deref(), after, at_most);
    let gone: Vec<(Uuid,)> = Statement::<PruneTasks, _>::with(values).get_results(connection).await?;
    Ok(gone.into_iter().map(|(id,)| TaskId(id)).collect())
}
