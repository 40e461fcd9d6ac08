//! Reading tasks.

use chrono::{DateTime, Utc};
use diesel::{
    ExpressionMethods, OptionalExtension, QueryDsl, SelectableHelper,
    dsl::sql,
    sql_types::{Array, BigInt, Bool, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use super::row::{TaskColumns, TaskRow, task_columns};
use crate::{
    db::{
        schema::tasks,
        statement::{Fixed, Statement},
    },
    domain::{
        Reach, Result, TaskId,
        task::{AttemptRecord, Status, Task},
        task_request::TaskFilter,
    },
};

/// The task, if it is within `reach`.
///
/// # Errors
/// As the database tells.
pub async fn find(connection: &mut AsyncPgConnection, id: TaskId, reach: Reach) -> Result<Option<Task>> {
    let found = tasks::table.find(id.0).select(TaskRow::as_select()).first(connection).await.optional()?;
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

/// At most `fetch` tasks that fit `filter`, the newest first, those before the task `before`.
///
/// # Errors
/// As the database tells.
pub async fn page(
    connection: &mut AsyncPgConnection,
    reach: Reach,
    filter: &TaskFilter,
    before: Option<TaskId>,
    fetch: i64,
) -> Result<Vec<Task>> {
    let mut query =
        tasks::table.select(TaskRow::as_select()).order(tasks::id.desc()).limit(fetch).into_boxed();
    if let Reach::Own(user) = reach {
        query = query.filter(tasks::created_by.eq(user.0));
    }
    if let Some(user) = filter.created_by {
        query = query.filter(tasks::created_by.eq(user.0));
    }
    if let Some(status) = filter.status {
        query = query.filter(tasks::status.eq(status.as_str()));
        // No index has the status itself.
        query = match status {
            Status::Pending => query.filter(tasks::stage.eq("due")),
            Status::Scheduled | Status::Retrying => query.filter(tasks::stage.eq("waiting")),
            Status::Failed | Status::Cancelled => query.filter(tasks::stage.eq(status.as_str())),
            Status::Running => {
                query.filter(sql::<Bool>("id = any(array(select unnest(task_ids) from task_claims))"))
            }
            Status::Succeeded => query,
        };
    }
    if let Some(task_type) = &filter.task_type {
        query = query.filter(tasks::task_type.eq(task_type));
    }
    if let Some(queue) = &filter.queue {
        query = query.filter(tasks::queue.eq(queue));
    }
    if let Some(key) = &filter.unique_key {
        query = query.filter(tasks::unique_key.eq(key));
    }
    if let Some(before) = before {
        query = query.filter(tasks::id.lt(before.0));
    }
    let rows: Vec<TaskRow> = query.load(connection).await?;
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
