//! What administrators do to queues, schedules and others' tasks, each with its entry in the audit log. The command-line tool
//! calls the same functions.

use std::sync::Arc;

use crate::{
    db::{self, Connection, Transactional as _, schedules::Check},
    domain::{
        Reach, Result, ScheduleId, TaskId, UserId,
        audit::{Act, Actor, Target},
        queue::QueueName,
        schedule::Schedule,
        schedule_request::ScheduleRequest,
        task::{NewTask, Task},
    },
};

/// Workers leave the queue alone from now on.
///
/// # Errors
/// As the database tells.
pub async fn pause_queue(conn: &mut Connection, actor: &Actor, name: &QueueName) -> Result<()> {
    conn.transaction(async |conn| {
        db::queues::pause(conn, name).await?;
        db::audit::append(conn, actor, of_queue("queue.pause", name)).await
    })
    .await
}

/// Workers take from the queue again, and are told.
///
/// # Errors
/// As the database tells.
pub async fn resume_queue(conn: &mut Connection, actor: &Actor, name: &QueueName) -> Result<()> {
    conn.transaction(async |conn| {
        db::queues::resume(conn, name).await?;
        db::audit::append(conn, actor, of_queue("queue.resume", name)).await
    })
    .await
}

fn of_queue(action: &'static str, name: &QueueName) -> Act {
    Act::done(action, Target { kind: "queue", id: None }).with("name", name.as_str())
}

/// Makes a schedule; see [`db::schedules::insert`].
///
/// # Errors
/// As there.
pub async fn create_schedule(
    conn: &mut Connection,
    actor: &Actor,
    request: ScheduleRequest,
    created_by: Option<UserId>,
    check: Check<'_>,
) -> Result<Schedule> {
    conn.transaction(async |conn| {
        let made = db::schedules::insert(conn, request, created_by, check).await?;
        let act = Act::done("schedule.create", made.id).with("name", made.name.as_str());
        db::audit::append(conn, actor, act).await?;
        Ok(made)
    })
    .await
}

/// Changes a schedule; see [`db::schedules::update`].
///
/// # Errors
/// As there.
pub async fn update_schedule(
    conn: &mut Connection,
    actor: &Actor,
    id: ScheduleId,
    request: ScheduleRequest,
    check: Check<'_>,
) -> Result<Schedule> {
    conn.transaction(async |conn| {
        let now = db::schedules::update(conn, id, request, check).await?;
        let act =
            Act::done("schedule.update", id).with("name", now.name.as_str()).with("enabled", now.enabled);
        db::audit::append(conn, actor, act).await?;
        Ok(now)
    })
    .await
}

/// Deletes a schedule. Tasks that it made stay.
///
/// # Errors
/// [`crate::domain::Error::NotFound`].
pub async fn delete_schedule(conn: &mut Connection, actor: &Actor, id: ScheduleId) -> Result<()> {
    conn.transaction(async |conn| {
        db::schedules::delete(conn, id).await?;
        db::audit::append(conn, actor, Act::done("schedule.delete", id)).await
    })
    .await
}

/// Enqueues a task at an administrator's wish.
///
/// # Errors
/// As the database tells.
pub async fn enqueue_task(conn: &mut Connection, actor: &Actor, task: NewTask) -> Result<Vec<Task>> {
    conn.transaction(async |conn| {
        let act = Act::done("task.create", task.id).with("task_type", task.task_type.as_str());
        let enqueued = db::tasks::insert(conn, vec![task]).await?;
        // An unfinished task with the same key stands for the one that was wanted.
        if enqueued.iter().any(|one| one.is_new) {
            db::audit::append(conn, actor, act).await?;
        }
        Ok(enqueued.into_iter().map(|one| Arc::unwrap_or_clone(one.task)).collect())
    })
    .await
}

/// Cancels a task; see [`db::tasks::cancel`].
///
/// # Errors
/// As there.
pub async fn cancel_task(conn: &mut Connection, actor: &Actor, id: TaskId, reach: Reach) -> Result<Task> {
    conn.transaction(async |conn| {
        let task = db::tasks::cancel(conn, id, reach).await?;
        append_if_anothers(conn, actor, "task.cancel", task).await
    })
    .await
}

/// What users do to their own tasks is everyday business, and shows in the tasks.
async fn append_if_anothers(
    conn: &mut Connection,
    actor: &Actor,
    action: &'static str,
    task: Task,
) -> Result<Task> {
    if actor.user.is_none() || actor.user != task.created_by {
        db::audit::append(conn, actor, Act::done(action, task.id)).await?;
    }
    Ok(task)
}

/// Has a failed or cancelled task run again; see [`db::tasks::retry`].
///
/// # Errors
/// As there.
pub async fn retry_task(conn: &mut Connection, actor: &Actor, id: TaskId, reach: Reach) -> Result<Task> {
    conn.transaction(async |conn| {
        let task = db::tasks::retry(conn, id, reach).await?;
        append_if_anothers(conn, actor, "task.retry", task).await
    })
    .await
}

/// Has failed tasks run again, at most `at_most`; tells how many there were.
///
/// # Errors
/// As the database tells.
pub async fn retry_failed(
    conn: &mut Connection,
    actor: &Actor,
    which: &db::tasks::Failed,
    at_most: i64,
) -> Result<usize> {
    conn.transaction(async |conn| {
        let retried = db::tasks::retry_failed(conn, which, at_most).await?.len();
        append_count(conn, actor, "task.retry", retried).await
    })
    .await
}

/// Cancels unfinished tasks of one owner, about `at_most`; running ones are asked to stop. Returns how many there were.
///
/// # Errors
/// As the database tells.
pub async fn cancel_tasks_of(
    conn: &mut Connection,
    actor: &Actor,
    owned: db::tasks::Owned,
    at_most: usize,
) -> Result<usize> {
    conn.transaction(async |conn| {
        let waiting = db::tasks::cancel_waiting_of(conn, owned, at_most).await?;
        let running = db::tasks::cancel_running_of(conn, owned).await?;
        append_count(conn, actor, "task.cancel", waiting + running).await
    })
    .await
}

/// Deletes finished tasks that were made after `after`, at most `at_most`; tells which.
///
/// # Errors
/// As the database tells.
pub async fn prune_tasks(
    conn: &mut Connection,
    actor: &Actor,
    which: &db::tasks::Prune,
    after: Option<TaskId>,
    at_most: i64,
) -> Result<Vec<TaskId>> {
    conn.transaction(async |conn| {
        let deleted = db::tasks::prune(conn, which, after, at_most).await?;
        append_count(conn, actor, "task.delete", deleted.len()).await?;
        Ok(deleted)
    })
    .await
}

async fn append_count(
    conn: &mut Connection,
    actor: &Actor,
    action: &'static str,
    count: usize,
) -> Result<usize> {
    if count > 0 {
        let act = Act::done(action, Target { kind: "task", id: None }).with("count", count);
        db::audit::append(conn, actor, act).await?;
    }
    Ok(count)
}

/// Deletes a task that has finished, with its attempts.
///
/// # Errors
/// [`crate::domain::Error::NotFound`], or a conflict if it has not finished.
pub async fn delete_task(conn: &mut Connection, actor: &Actor, id: TaskId) -> Result<()> {
    conn.transaction(async |conn| {
        db::tasks::delete(conn, id).await?;
        db::audit::append(conn, actor, Act::done("task.delete", id)).await
    })
    .await
}
