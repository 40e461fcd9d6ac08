//! Pages of tasks, bounded in number and in bytes.

use std::collections::HashMap;

use diesel::{
    ExpressionMethods, QueryDsl,
    dsl::sql,
    sql_types::{Array, BigInt, Bool, Json, Jsonb, Nullable, Uuid as SqlUuid},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use super::row::{TaskColumns, TaskRow};
use crate::{
    db::{
        json::Stored,
        schema::tasks,
        statement::{Fixed, Statement},
    },
    domain::{
        Part, Reach, Result, TaskId,
        part::fitting,
        task::{Status, Task},
        task_request::TaskFilter,
    },
};

/// Whether a text is short where it is stored, without reading it: a compressed one may be long.
macro_rules! short {
    ($column:literal) => {
        concat!("(pg_column_size(", $column, ") <= 4096 and pg_column_compression(", $column, ") is null)")
    };
}

/// The columns of a [`TaskRow`], without long payloads and results, and how long these are.
const COLUMNS: &str = concat!(
    "id, task_type, queue, case when ",
    short!("payload"),
    " then payload end, status, priority, run_at, attempt, max_attempts, retry_count, last_error, progress, case when ",
    short!("result"),
    " then result end, unique_key, created_by, created_at, updated_at, started_at, finished_at,
    case when ",
    short!("payload"),
    " then pg_column_size(payload) else octet_length(payload::text) end::bigint,
    case when result is null then 0 when ",
    short!("result"),
    " then pg_column_size(result) else octet_length(result::text) end::bigint,
    not ",
    short!("payload"),
    " or result is not null and not ",
    short!("result")
);

type Listed = (TaskColumns, BigInt, BigInt, Bool);

/// At most `fetch` tasks that fit `filter`, the newest first, those before the task `before`; fewer when they would be
/// too large together.
///
/// # Errors
/// As the database tells.
pub async fn page(
    connection: &mut AsyncPgConnection,
    reach: Reach,
    filter: &TaskFilter,
    before: Option<TaskId>,
    fetch: i64,
) -> Result<Part<Task>> {
    let mut query =
        tasks::table.select(sql::<Listed>(COLUMNS)).order(tasks::id.desc()).limit(fetch).into_boxed();
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
    let rows: Vec<Row> = query.load(connection).await?;
    complete(connection, rows).await
}

/// A task without its long texts, how long its payload and its result are, and whether one of them is missing.
type Row = (TaskRow, i64, i64, bool);

/// Returns the first of these that fit on a page, with their long texts.
async fn complete(connection: &mut AsyncPgConnection, mut rows: Vec<Row>) -> Result<Part<Task>> {
    let found = rows.len();
    let bytes = |(_, payload, result, _): &Row| usize::try_from(payload + result).unwrap_or(usize::MAX);
    rows.truncate(fitting(rows.iter().map(bytes)));
    let cut = rows.len() < found;

    let long: Vec<Uuid> = rows.iter().filter(|(.., long)| *long).map(|(row, ..)| row.id).collect();
    let mut texts = load(connection, long).await?;
    let rows = rows.into_iter().filter_map(|(mut row, .., long)| {
        let id = row.id;
        if long {
            // One that is gone by now is left out.
            (row.payload, row.result) = texts.remove(&id)?;
        }
        // One that cannot be read does not hide the others.
        let read = Task::try_from(row).inspect_err(|error| {
            log::error!(task_id:% = id, error:% = error; "database failed to decode a task");
        });
        read.ok()
    });
    Ok(Part { rows: rows.collect(), cut })
}

struct LongTexts;

impl Fixed for LongTexts {
    const SQL: &'static str = "select id, payload, result from tasks where id = any($1)";
    const REPLAN: bool = true;
    type Args = (Array<SqlUuid>,);
    type Row = (SqlUuid, Nullable<Json>, Nullable<Jsonb>);
}

type Texts = (Option<Stored>, Option<Stored>);

async fn load(connection: &mut AsyncPgConnection, ids: Vec<Uuid>) -> Result<HashMap<Uuid, Texts>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(Uuid, Option<Stored>, Option<Stored>)> =
        Statement::<LongTexts, _>::with((ids,)).get_results(connection).await?;
    Ok(rows.into_iter().map(|(id, payload, result)| (id, (payload, result))).collect())
}
