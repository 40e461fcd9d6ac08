//! Reading tasks, and what users do to one.

use std::collections::HashMap;

use actix::{Handler, Message};

use super::{TaskDispatcher, acts};
use crate::{
    actors::{
        coalesce::{Batch, Limits},
        reply::Answer,
    },
    db::{self, Pool, Transactional as _},
    domain::{
        Error, Part, Reach, Result, TaskId,
        audit::Actor,
        mail_budget::MailBudget,
        task::{AttemptRecord, Task},
        task_request::TaskFilter,
        task_stats::Stats,
    },
};

/// Look-ups by id.
pub(super) const LOOK_UPS: Limits = Limits { statements: 2, items: 200, waiting: 5_000 };
/// All who ask for statistics at the same time get the same: one look at the tables at a time.
pub(super) const STATISTICS: Limits = Limits { statements: 1, items: 1, waiting: 1 };

/// One `SELECT` for many callers.
pub(super) struct LookUps {
    pub(super) pool: Pool,
}

impl Batch for LookUps {
    type Key = TaskId;
    type Item = ();
    type Answer = Task;

    async fn run(&self, items: Vec<(TaskId, ())>) -> Result<HashMap<TaskId, Task>> {
        let ids: Vec<TaskId> = items.into_iter().map(|(id, ())| id).collect();
        let found = db::tasks::find_many(&mut *self.pool.get().await?, &ids).await?;
        Ok(found.into_iter().map(|task| (task.id, task)).collect())
    }

    fn missing(&self) -> Result<Task> {
        Err(Error::NotFound)
    }
}

/// One look for many callers.
pub(super) struct Statistics {
    pub(super) pool: Pool,
}

impl Batch for Statistics {
    type Key = ();
    type Item = ();
    type Answer = Stats;

    async fn run(&self, _: Vec<((), ())>) -> Result<HashMap<(), Stats>> {
        let stats = db::tasks::stats(&mut *self.pool.get().await?).await?;
        Ok(HashMap::from([((), stats)]))
    }

    fn missing(&self) -> Result<Stats> {
        Err(Error::internal("statistics were not answered"))
    }
}

/// The task; [`Error::NotFound`] if it is not within reach.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Task>")]
pub struct FindTask {
    /// Which.
    pub id: TaskId,
    /// Which ones are there for the caller.
    pub reach: Reach,
}

impl Handler<FindTask> for TaskDispatcher {
    type Result = Answer<Task>;

    fn handle(&mut self, FindTask { id, reach }: FindTask, _: &mut Self::Context) -> Self::Result {
        let look_ups = self.0.look_ups.clone();
        Answer::from_future(async move {
            let task = look_ups.ask(id, ()).await?;
            match reach {
                Reach::Own(user) if task.created_by != Some(user) => Err(Error::NotFound),
                Reach::Own(_) | Reach::All => Ok(task),
            }
        })
    }
}

/// Tasks, the newest first; fewer than are asked for when they would be too large together.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Part<Task>>")]
pub struct ListTasks {
    /// Which ones are there for the caller.
    pub reach: Reach,
    /// Which ones he wants.
    pub filter: TaskFilter,
    /// Those before this one.
    pub before: Option<TaskId>,
    /// At most that many.
    pub fetch: i64,
}

impl Handler<ListTasks> for TaskDispatcher {
    type Result = Answer<Part<Task>>;

    fn handle(&mut self, list: ListTasks, _: &mut Self::Context) -> Self::Result {
        let pool = self.0.pool.clone();
        Answer::from_future(async move {
            let mut connection = pool.get().await?;
            db::tasks::page(&mut connection, list.reach, &list.filter, list.before, list.fetch).await
        })
    }
}

/// The attempts at a task; [`Error::NotFound`] if it is not within reach.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Vec<AttemptRecord>>")]
pub struct ListAttempts {
    /// At which.
    pub id: TaskId,
    /// Which ones are there for the caller.
    pub reach: Reach,
}

impl Handler<ListAttempts> for TaskDispatcher {
    type Result = Answer<Vec<AttemptRecord>>;

    fn handle(&mut self, ListAttempts { id, reach }: ListAttempts, _: &mut Self::Context) -> Self::Result {
        let pool = self.0.pool.clone();
        Answer::from_future(async move {
            let mut connection = pool.get().await?;
            db::tasks::find(&mut connection, id, reach).await?.ok_or(Error::NotFound)?;
            db::tasks::attempts(&mut connection, id).await
        })
    }
}

/// Calls a task off; see [`db::tasks::cancel`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Task>")]
pub struct CancelTask {
    /// Which.
    pub id: TaskId,
    /// Which ones are there for the caller.
    pub reach: Reach,
    /// By whom.
    pub by: Actor,
}

impl Handler<CancelTask> for TaskDispatcher {
    type Result = Answer<Task>;

    fn handle(&mut self, CancelTask { id, reach, by }: CancelTask, _: &mut Self::Context) -> Self::Result {
        let (pool, wake) = (self.0.pool.clone(), self.0.wake.clone());
        Answer::from_future(async move {
            let task = acts::cancel_task(&mut *pool.get().await?, &by, id, reach).await?;
            wake.0.cancelled();
            Ok(task)
        })
    }
}

/// Gives a task all its attempts again; see [`db::tasks::retry`]. [`Error::QuotaExceeded`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Task>")]
pub struct RetryTask {
    /// Which.
    pub id: TaskId,
    /// Which ones are there for the caller.
    pub reach: Reach,
    /// The mail that it sends, where that is counted.
    pub budget: Option<MailBudget>,
    /// By whom.
    pub by: Actor,
}

impl Handler<RetryTask> for TaskDispatcher {
    type Result = Answer<Task>;

    fn handle(&mut self, retry: RetryTask, _: &mut Self::Context) -> Self::Result {
        let (pool, wake, quota) = (self.0.pool.clone(), self.0.wake.clone(), self.0.quota.clone());
        Answer::from_future(async move {
            // What an administrator has run again is not the owner's doing.
            let _grant = match retry.reach {
                Reach::Own(user) => Some(quota.reserve_one(user).await?),
                Reach::All => None,
            };
            let task = retry_counted(&mut *pool.get().await?, retry).await?;
            wake.0.due();
            Ok(task)
        })
    }
}

/// Counts the mail and retries the task, or does nothing of both.
async fn retry_counted(connection: &mut db::Connection, retry: RetryTask) -> Result<Task> {
    let RetryTask { id, reach, budget, by } = retry;
    connection
        .transaction(async |connection| {
            if let Some(budget) = budget {
                db::mail_quotas::reserve(connection, budget).await?;
            }
            acts::retry_task(connection, &by, id, reach).await
        })
        .await
}

/// Deletes a finished task; see [`db::tasks::delete`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<()>")]
pub struct DeleteTask {
    /// Which.
    pub id: TaskId,
    /// By whom.
    pub by: Actor,
}

impl Handler<DeleteTask> for TaskDispatcher {
    type Result = Answer<()>;

    fn handle(&mut self, DeleteTask { id, by }: DeleteTask, _: &mut Self::Context) -> Self::Result {
        let pool = self.0.pool.clone();
        Answer::from_future(async move { acts::delete_task(&mut *pool.get().await?, &by, id).await })
    }
}

/// The queue at this moment, and over the last hour.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Stats>")]
pub struct TaskStats;

impl Handler<TaskStats> for TaskDispatcher {
    type Result = Answer<Stats>;

    fn handle(&mut self, _: TaskStats, _: &mut Self::Context) -> Self::Result {
        let statistics = self.0.statistics.clone();
        Answer::later(move |reply_to| statistics.submit((), (), reply_to))
    }
}
