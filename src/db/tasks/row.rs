//! A row of `tasks`, as users see it.

use diesel::{
    deserialize::Queryable,
    sql_types::{Integer, Json, Jsonb, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid},
};
use uuid::Uuid;

use crate::{
    db::{json::Stored, moment::Moment},
    domain::{
        Error, Result, TaskId, UserId,
        task::{Status, Task},
    },
};

/// The columns of a [`TaskRow`], for the text of statements.
macro_rules! task_columns {
    () => {
        "id, task_type, queue, payload, status, priority, run_at, attempt, max_attempts, retry_count, last_error, \
         progress, result, unique_key, created_by, created_at, updated_at, started_at, finished_at"
    };
}
pub(super) use task_columns;

/// Their types.
pub(super) type TaskColumns = (
    SqlUuid,
    Text,
    Text,
    Nullable<Json>,
    Text,
    SmallInt,
    Timestamptz,
    Integer,
    Integer,
    Integer,
    Nullable<Text>,
    Nullable<Jsonb>,
    Nullable<Jsonb>,
    Nullable<Text>,
    Nullable<SqlUuid>,
    Timestamptz,
    Timestamptz,
    Nullable<Timestamptz>,
    Nullable<Timestamptz>,
);

#[derive(Debug, Queryable)]
pub(super) struct TaskRow {
    pub(super) id: Uuid,
    task_type: String,
    queue: String,
    pub(super) payload: Option<Stored>,
    status: String,
    priority: i16,
    run_at: Moment,
    attempt: i32,
    max_attempts: i32,
    retry_count: i32,
    last_error: Option<String>,
    progress: Option<Stored>,
    pub(super) result: Option<Stored>,
    unique_key: Option<String>,
    created_by: Option<Uuid>,
    created_at: Moment,
    updated_at: Moment,
    started_at: Option<Moment>,
    finished_at: Option<Moment>,
}

/// A status as it is stored.
pub(super) fn status(stored: &str) -> Result<Status> {
    Status::parse(stored).ok_or_else(|| Error::internal(format!("a task has the status {stored}")))
}

impl TryFrom<TaskRow> for Task {
    type Error = Error;

    fn try_from(row: TaskRow) -> Result<Self> {
        Ok(Self {
            id: TaskId(row.id),
            task_type: row.task_type,
            queue: row.queue,
            payload: row.payload.ok_or_else(|| Error::internal("a task came without its payload"))?.read()?,
            status: status(&row.status)?,
            priority: row.priority,
            run_at: row.run_at.0,
            attempt: row.attempt,
            max_attempts: row.max_attempts,
            retry_count: row.retry_count,
            last_error: row.last_error,
            progress: row.progress.map(Stored::read).transpose()?,
            result: row.result.map(Stored::read).transpose()?,
            unique_key: row.unique_key,
            created_by: row.created_by.map(UserId),
            created_at: row.created_at.0,
            updated_at: row.updated_at.0,
            started_at: row.started_at.map(|time| time.0),
            finished_at: row.finished_at.map(|time| time.0),
        })
    }
}
