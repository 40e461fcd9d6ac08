//! Reading tasks.

use chrono::{DateTime, Utc};
use diesel::{
    OptionalExtension,
    sql_types::{Array, BigInt, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use super::row::{TaskColumns, TaskRow, task_columns};
use crate::{
    db::statement::{Fixed, Statement},
    domain::{
        Reach, Result, TaskId,
        task::{AttemptRecord, Task},
    },
};

struct FindTask;

impl Fixed for FindTask {
    const SQL: &'static str = concat!("select ", task_columns!(), " from tasks where id = $1");
    type Args = (SqlUuid,);
    type Row = TaskColumns;
}

/// The task, if it is within `reach`.
///
/// # Errors
/// As the database tells.
pub async fn find(connection: &mut AsyncPgConnection, id: TaskId, reach: Reach) -> Result<Option<Task>> {
    let statement = Statement::<FindTask, _>::with((id.0,));
    let found: Option<TaskRow> = statement.get_result(connection).await.optional()?;
    let task: Option<Task> = found.map(Task::try_from).transpose()?;
    Ok(task.filter(|task| match reach {
        Reach::All => true,
        Reach::Own(user) => task.created_by == Some(user),
    }))
}

struct FindTasks;

impl Fixed for FindTasks {
    const SQL: &'static str = concat!("select ", task_columns!(), " from tasks where id = any($1)");
    type Args = (Array<SqlUuid>,);
    type Row = TaskColumns;
}

/// The tasks with these ids, as far as there are any, in no order.
///
/// # Errors
/// As the database tells.
pub async fn find_many(connection: &mut AsyncPgConnection, ids: &[TaskId]) -> Result<Vec<Task>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows: Vec<TaskRow> = Statement::<FindTasks, _>::with((ids,)).get_results(connection).await?;
    rows.into_iter().map(Task::try_from).collect()
}

struct FindAttempts;

impl Fixed for FindAttempts {
    // The one under way, and the one that succeeded, are in the task itself.
    const SQL: &'static str = "
        select attempt, outcome, worker_id, started_at, finished_at, error
        from task_attempts where task_id = $1
        union all
        select attempt, status, worker_id, started_at, finished_at, null
        from tasks where id = $1 and status in ('running', 'succeeded') and attempt > 0
        order by attempt";
    type Args = (SqlUuid,);
    type Row =
        (Integer, Text, Nullable<BigInt>, Nullable<Timestamptz>, Nullable<Timestamptz>, Nullable<Text>);
}

type AttemptRow = (i32, String, Option<i64>, Option<DateTime<Utc>>, Option<DateTime<Utc>>, Option<String>);

/// The attempts at a task, the first one first.
///
/// # Errors
/// As the database tells.
pub async fn attempts(connection: &mut AsyncPgConnection, id: TaskId) -> Result<Vec<AttemptRecord>> {
    let id: Uuid = id.0;
    let rows: Vec<AttemptRow> = Statement::<FindAttempts, _>::with((id,)).get_results(connection).await?;
    let record = |(attempt, outcome, worker_id, started_at, finished_at, error)| AttemptRecord {
        attempt,
        outcome,
        worker_id,
        started_at,
        finished_at,
        error,
    };
    Ok(rows.into_iter().map(record).collect())
}
