//! What users do to one task.

use diesel::{
    OptionalExtension,
    sql_types::{Nullable, Text, Uuid as SqlUuid},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use super::{
    find::find,
    row::{TaskColumns, TaskRow, task_columns},
};
use crate::{
    db::statement::{Fixed, Statement},
    domain::{Conflict, Error, Reach, Result, TaskId, task::Task},
};

struct Cancel;

impl Fixed for Cancel {
    // A running task is its worker's: it is asked to stop. The notification names the worker.
    const SQL: &'static str = concat!(
        "update tasks set
            status = case when status = 'running' then status else 'cancelled' end,
            stage = case when status = 'running' then stage else 'cancelled' end,
            held_key = case when status = 'running' then held_key end,
            finished_at = case when status = 'running' then null else statement_timestamp() end,
            cancel_requested_at = coalesce(cancel_requested_at, statement_timestamp()),
            updated_at = statement_timestamp()
        where id = $1 and ($2::uuid is null or created_by = $2)
            and status in ('pending', 'scheduled', 'retrying', 'running')
        returning ",
        task_columns!(),
        ", case when status = 'running' then pg_notify('starter_tasks', '!' || worker_id)::text end"
    );
    type Args = (SqlUuid, Nullable<SqlUuid>);
    type Row = (TaskColumns, Nullable<Text>);
}

struct Retry;

impl Fixed for Retry {
    // The attempt's number goes on: it is part of the history's key. What counts against the task starts anew.
    const SQL: &'static str = concat!(
        "update tasks set status = 'pending', stage = 'due', held_key = unique_key, run_at = statement_timestamp(), retry_count = 0, crashes = 0,
            cancel_requested_at = null, finished_at = null, result = null, progress = null,
            updated_at = statement_timestamp()
        where id = $1 and ($2::uuid is null or created_by = $2) and status in ('failed', 'cancelled')
        returning ",
        task_columns!(),
        ", pg_notify('starter_tasks', queue)::text"
    );
    type Args = (SqlUuid, Nullable<SqlUuid>);
    type Row = (TaskColumns, Nullable<Text>);
}

struct Delete;

impl Fixed for Delete {
    const SQL: &'static str =
        "delete from tasks where id = $1 and status in ('succeeded', 'failed', 'cancelled') returning id";
    type Args = (SqlUuid,);
    type Row = (SqlUuid,);
}

/// Calls a task off: at once if it waits, else its worker is told, and the answer is still `running`.
///
/// # Errors
/// [`Error::NotFound`] for one that is not within `reach`, [`Error::Conflict`] for one that has finished.
pub async fn cancel(connection: &mut AsyncPgConnection, id: TaskId, reach: Reach) -> Result<Task> {
    let row: Option<(TaskRow, Option<String>)> =
        Statement::<Cancel, _>::with((id.0, owner(reach))).get_result(connection).await.optional()?;
    match row {
        Some((row, _)) => row.try_into(),
        None => Err(why_not(connection, id, reach, "the task has finished").await?),
    }
}

/// Gives a task that failed or was cancelled all its attempts again, from now on.
///
/// # Errors
/// [`Error::NotFound`] for one that is not within `reach`, [`Error::Conflict`] for one in another status, or when
/// another unfinished task has its `unique_key`.
pub async fn retry(connection: &mut AsyncPgConnection, id: TaskId, reach: Reach) -> Result<Task> {
    let row: Option<(TaskRow, Option<String>)> =
        Statement::<Retry, _>::with((id.0, owner(reach))).get_result(connection).await.optional()?;
    match row {
        Some((row, _)) => row.try_into(),
        None => {
            let why = "only a task that failed or was cancelled can be retried";
            Err(why_not(connection, id, reach, why).await?)
        }
    }
}

/// Deletes a task that has finished, with its attempts.
///
/// # Errors
/// [`Error::NotFound`], or [`Error::Conflict`] for one that has not finished.
pub async fn delete(connection: &mut AsyncPgConnection, id: TaskId) -> Result<()> {
    let gone: Option<(Uuid,)> =
        Statement::<Delete, _>::with((id.0,)).get_result(connection).await.optional()?;
    match gone {
        Some(_) => Ok(()),
        None => Err(why_not(connection, id, Reach::All, "the task has not finished").await?),
    }
}

fn owner(reach: Reach) -> Option<Uuid> {
    match reach {
        Reach::All => None,
        Reach::Own(user) => Some(user.0),
    }
}

async fn why_not(
    connection: &mut AsyncPgConnection,
    id: TaskId,
    reach: Reach,
    state: &'static str,
) -> Result<Error> {
    let there = find(connection, id, reach).await?.is_some();
    Ok(if there { Error::Conflict(Conflict::State(state)) } else { Error::NotFound })
}
