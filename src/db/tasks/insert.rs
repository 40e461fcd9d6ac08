//! Putting tasks into the queue: any number of them with one statement.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};
use diesel::sql_types::{
    Array, BigInt, Double, Integer, Json, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use super::row::{TaskColumns, TaskRow, status, task_columns};
use crate::{
    db::{
        json::Written,
        statement::{Fixed, Statement},
    },
    domain::{
        Error, Result, TaskId,
        task::{Enqueued, NewTask, Task, When},
    },
};

/// How often a task is tried whose key is taken when it is inserted, and free when its holder is looked for. Each
/// time another task with that key was enqueued and finished in between.
const TRIES: usize = 50;

// One notification for all of them: the queues with due work ("*": too many to tell), "+" if some are for later.
macro_rules! insert_tasks {
    ($on_conflict:literal) => {
        concat!(
            "
        with given as (
            select *, greatest(statement_timestamp(),
                coalesce(at, statement_timestamp() + make_interval(secs => delay))) as run_at
            from unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) as new (
                id, task_type, queue, payload, priority, at, delay, max_attempts, timeout_secs,
                unique_key, unique_scope, created_by, request_id, schedule_id)
        ), added as (
            insert into tasks (
                id, task_type, queue, payload, priority, run_at, status, stage, max_attempts, timeout_secs,
                unique_key, held_key, unique_scope, created_by, request_id, schedule_id, created_at, updated_at)
            select id, task_type, queue, payload, priority, run_at,
                case when run_at <= statement_timestamp() then 'pending' else 'scheduled' end,
                case when run_at <= statement_timestamp() then 'due' else 'waiting' end,
                max_attempts, timeout_secs, unique_key, unique_key, unique_scope, created_by, request_id, schedule_id,
                statement_timestamp(), statement_timestamp()
            from given",
            $on_conflict,
            "
            returning id, queue, status, run_at, created_at
        )
        select id, status, run_at, created_at, (select pg_notify('starter_tasks', concat_ws(',',
            (select case when count(*) > 50 then '*' else string_agg(queue, ',' order by queue) end
                from (select distinct queue from added where status = 'pending') as due),
            (select '+' from added where status = 'scheduled' limit 1)))::text)
        from added"
        )
    };
}

type Columns = (
    Array<SqlUuid>,
    Array<Text>,
    Array<Text>,
    Array<Json>,
    Array<SmallInt>,
    Array<Nullable<Timestamptz>>,
    Array<Nullable<Double>>,
    Array<Integer>,
    Array<Integer>,
    Array<Nullable<Text>>,
    Array<Nullable<SqlUuid>>,
    Array<Nullable<SqlUuid>>,
    Array<Nullable<Text>>,
    Array<Nullable<SqlUuid>>,
);

struct InsertTasks;

impl Fixed for InsertTasks {
    // To be ready for a conflict costs a tenth, so none is looked for where there can be none.
    const SQL: &'static str = insert_tasks!("");
    type Args = Columns;
    type Row = (SqlUuid, Text, Timestamptz, Timestamptz, Text);
}

struct InsertKeyedTasks;

impl Fixed for InsertKeyedTasks {
    const SQL: &'static str = insert_tasks!(
        "
            on conflict (held_key, unique_scope) where held_key is not null do nothing"
    );
    type Args = Columns;
    type Row = (SqlUuid, Text, Timestamptz, Timestamptz, Text);
}

type Added = (Uuid, String, DateTime<Utc>, DateTime<Utc>, String);

struct FindHolders;

impl Fixed for FindHolders {
    const SQL: &'static str = concat!(
        "select unique_scope, ",
        task_columns!(),
        " from tasks
        where held_key = any($1) and unique_scope = any($2)"
    );
    type Args = (Array<Text>, Array<SqlUuid>);
    type Row = (Nullable<SqlUuid>, TaskColumns);
}

struct MeasureHolders;

impl Fixed for MeasureHolders {
    const SQL: &'static str = "
        select coalesce(sum(octet_length(payload::text) + coalesce(octet_length(last_error), 0)), 0)::bigint from tasks
        where held_key = any($1) and unique_scope = any($2)";
    type Args = (Array<Text>, Array<SqlUuid>);
    type Row = (BigInt,);
}

/// Bytes of payloads and errors of the tasks that hold keys, in the answer to many: a short request with the same key
/// many times is not answered with megabytes.
const HELD_BYTES: usize = 2 * 1024 * 1024;

/// As [`insert`], for one caller and in a transaction: keys whose holders make a large answer are refused.
///
/// # Errors
/// As [`insert`]; `/tasks` `answer_too_large`.
pub async fn insert_many(connection: &mut AsyncPgConnection, tasks: Vec<NewTask>) -> Result<Vec<Enqueued>> {
    let held_bytes = if tasks.len() > 1 { HELD_BYTES } else { usize::MAX };
    insert_within(connection, tasks, held_bytes).await
}

/// Enqueues `tasks`; the answers are in the same order.
///
/// A task whose `unique_key` is held by an unfinished task of the same owner (or by one before it in `tasks`) is not
/// enqueued: its answer is the holder. The holder may be running, and may have finished when the answer is read.
///
/// Workers are told by a notification that PostgreSQL sends when the transaction commits, so this may be called within any
/// transaction, and a rollback leaves nothing behind. It waits for other transactions that are about to enqueue the
/// same keys; who enqueues keyed tasks twice in one transaction should do so in the order of their keys.
///
/// # Errors
/// As the database tells; [`Error::Unavailable`] when a key changed hands too often.
pub async fn insert(connection: &mut AsyncPgConnection, tasks: Vec<NewTask>) -> Result<Vec<Enqueued>> {
    insert_within(connection, tasks, usize::MAX).await
}

async fn insert_within(
    connection: &mut AsyncPgConnection,
    tasks: Vec<NewTask>,
    held_bytes: usize,
) -> Result<Vec<Enqueued>> {
    let order: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
    let mut left = tasks;
    // In the order of keys, so that two batches with the same keys wait for, and never block, each other.
    left.sort_by(|a, b| a.unique_key.cmp(&b.unique_key));
    let mut done = HashMap::with_capacity(left.len());
    for _ in 0..TRIES {
        left = add(connection, left, &mut done).await?;
        if !left.is_empty() {
            left = find_holders(connection, left, &mut done, held_bytes).await?;
        }
        if left.is_empty() {
            let lost = || Error::internal("a task was enqueued under another id");
            return order.iter().map(|id| done.remove(id).ok_or_else(lost)).collect();
        }
    }
    Err(Error::unavailable("database", "the holder of a unique key kept changing"))
}

/// Returns those that were not inserted.
async fn add(
    connection: &mut AsyncPgConnection,
    tasks: Vec<NewTask>,
    done: &mut HashMap<TaskId, Enqueued>,
) -> Result<Vec<NewTask>> {
    let values = (
        column(&tasks, |task| task.id.0),
        column(&tasks, |task| task.task_type.as_str()),
        column(&tasks, |task| task.queue.as_str()),
        column(&tasks, |task| Written(&task.payload)),
        column(&tasks, |task| task.priority),
        column(&tasks, |task| if let When::At(at) = task.when { Some(at) } else { None }),
        column(&tasks, |task| if let When::After(secs) = task.when { Some(secs) } else { None }),
        column(&tasks, |task| task.max_attempts),
        column(&tasks, |task| task.timeout_secs),
        column(&tasks, |task| task.unique_key.as_deref()),
        column(&tasks, |task| task.unique_key.as_ref().map(|_| scope(task))),
        column(&tasks, |task| task.created_by.map(|user| user.0)),
        column(&tasks, |task| task.request_id.as_deref()),
        column(&tasks, |task| task.schedule_id.map(|schedule| schedule.0)),
    );
    let added: Vec<Added> = if tasks.iter().any(|task| task.unique_key.is_some()) {
        Statement::<InsertKeyedTasks, _>::with(values).get_results(connection).await?
    } else {
        Statement::<InsertTasks, _>::with(values).get_results(connection).await?
    };
    let mut added: HashMap<_, _> = added.into_iter().map(|row| (TaskId(row.0), row)).collect();
    let mut left = Vec::new();
    for task in tasks {
        match added.remove(&task.id) {
            Some(row) => _ = done.insert(task.id, fresh(task, row)?),
            None => left.push(task),
        }
    }
    Ok(left)
}

fn column<'a, T>(tasks: &'a [NewTask], of: impl Fn(&'a NewTask) -> T) -> Vec<T> {
    tasks.iter().map(of).collect()
}

/// Whose keys the task's are compared with: its owner's, or the system's.
fn scope(task: &NewTask) -> Uuid {
    task.created_by.map_or(Uuid::nil(), |user| user.0)
}

/// What a row that was just inserted looks like: nothing happened to it yet.
fn fresh(task: NewTask, (_, stored, run_at, created_at, _): Added) -> Result<Enqueued> {
    let task = Task {
        id: task.id,
        task_type: task.task_type,
        queue: task.queue,
        payload: task.payload,
        status: status(&stored)?,
        priority: task.priority,
        run_at,
        attempt: 0,
        max_attempts: task.max_attempts,
        retry_count: 0,
        last_error: None,
        progress: None,
        result: None,
        unique_key: task.unique_key,
        created_by: task.created_by,
        created_at,
        updated_at: created_at,
        started_at: None,
        finished_at: None,
    };
    Ok(Enqueued { task: Arc::new(task), is_new: true })
}

/// Returns those whose key is free again.
async fn find_holders(
    connection: &mut AsyncPgConnection,
    tasks: Vec<NewTask>,
    done: &mut HashMap<TaskId, Enqueued>,
    at_most: usize,
) -> Result<Vec<NewTask>> {
    let keys: Vec<&str> = tasks.iter().filter_map(|task| task.unique_key.as_deref()).collect();
    let scopes: Vec<Uuid> = tasks.iter().map(scope).collect();

    // Their texts are measured before they are loaded.
    if at_most < usize::MAX {
        let (bytes,): (i64,) =
            Statement::<MeasureHolders, _>::with((&keys, &scopes)).get_result(connection).await?;
        spend(at_most, usize::try_from(bytes).unwrap_or(usize::MAX))?;
    }

    let rows: Vec<(Option<Uuid>, TaskRow)> =
        Statement::<FindHolders, _>::with((keys, scopes)).get_results(connection).await?;
    let mut holders = HashMap::with_capacity(rows.len());
    for (scope, row) in rows {
        let holder = Task::try_from(row)?;
        holders.insert((scope, holder.unique_key.clone()), Arc::new(holder));
    }

    // One holder may stand for many, and is in the answer as often.
    let (mut left, mut bytes_left) = (Vec::new(), at_most);
    for task in tasks {
        match holders.get(&(Some(scope(&task)), task.unique_key.clone())) {
            Some(holder) => {
                bytes_left = spend(bytes_left, holder.bytes())?;
                done.insert(task.id, Enqueued { task: Arc::clone(holder), is_new: false });
            }
            None => left.push(task),
        }
    }
    Ok(left)
}

fn spend(left: usize, bytes: usize) -> Result<usize> {
    let message =
        "the unfinished tasks that hold these keys are too large for one answer; send fewer at once";
    left.checked_sub(bytes).ok_or_else(|| Error::invalid("/tasks", "answer_too_large", message))
}
