//! Enqueueing: what arrives while a statement is under way becomes the next statement.

use std::collections::HashMap;

use actix::{Handler, Message};

use super::{TaskDispatcher, Wake};
use crate::{
    actors::{
        coalesce::{Batch, Limits},
        reply::Answer,
    },
    db::{self, Pool, Transactional as _},
    domain::{
        Error, Result, TaskId,
        task::{Enqueued, NewTask},
    },
};

/// Of one kind of enqueues. Two statements: one is written while the other is on its way to the disk.
pub(super) const ENQUEUES: Limits = Limits { statements: 2, items: 500, waiting: 20_000 };

/// Of those with a key: fewer, since the answer to each may be a task with a large payload.
pub(super) const KEYED: Limits = Limits { items: 100, ..ENQUEUES };

/// One `INSERT` for many callers.
pub(super) struct Enqueues {
    pub(super) pool: Pool,
    pub(super) wake: Wake,
}

impl Batch for Enqueues {
    type Key = TaskId;
    type Item = NewTask;
    type Answer = Enqueued;

    async fn run(&self, items: Vec<(TaskId, NewTask)>) -> Result<HashMap<TaskId, Enqueued>> {
        let (ids, tasks): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        let mut connection = self.pool.get().await?;
        let enqueued = db::tasks::insert(&mut connection, tasks).await?;
        self.wake.after(&enqueued);
        Ok(ids.into_iter().zip(enqueued).collect())
    }

    fn missing(&self) -> Result<Enqueued> {
        Err(Error::internal("an enqueued task was not answered"))
    }
}

/// Enqueues a task, in one statement with others that come at the same time.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Enqueued>")]
pub struct EnqueueTask(pub NewTask);

impl Handler<EnqueueTask> for TaskDispatcher {
    type Result = Answer<Enqueued>;

    fn handle(&mut self, EnqueueTask(task): EnqueueTask, _: &mut Self::Context) -> Self::Result {
        let way = if task.unique_key.is_some() { &self.0.keyed } else { &self.0.plain };
        let way = way.clone();
        if task.created_by.is_none() {
            return Answer::later(move |reply_to| way.submit(task.id, task, reply_to));
        }

        let quota = self.0.quota.clone();
        Answer::later(move |mut reply_to| {
            tokio::spawn(async move {
                let grant = quota.reserve(std::slice::from_ref(&task)).await;
                let answer = match &grant {
                    Err(error) => Err(error.clone()),
                    Ok(_) => tokio::select! {
                        answer = way.ask(task.id, task) => answer,
                        // A caller who went away takes no part in the next statement.
                        () = reply_to.closed() => return,
                    },
                };
                let _gone = reply_to.send(answer);
            });
        })
    }
}

/// Enqueues all of these or none, in a statement of their own.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Vec<Enqueued>>")]
pub struct EnqueueTasks(pub Vec<NewTask>);

impl Handler<EnqueueTasks> for TaskDispatcher {
    type Result = Answer<Vec<Enqueued>>;

    fn handle(&mut self, EnqueueTasks(tasks): EnqueueTasks, _: &mut Self::Context) -> Self::Result {
        let (pool, wake, quota) = (self.0.pool.clone(), self.0.wake.clone(), self.0.quota.clone());
        Answer::from_future(async move {
            let _grant = quota.reserve(&tasks).await?;
            let mut pooled = pool.get().await?;
            let connection: &mut db::Connection = &mut pooled;
            let enqueued = if tasks.iter().any(|task| task.unique_key.is_some()) {
                // Keys that are held take a second statement.
                connection
                    .transaction(async |connection| db::tasks::insert_many(connection, tasks).await)
                    .await?
            } else {
                db::tasks::insert(connection, tasks).await?
            };
            wake.after(&enqueued);
            Ok(enqueued)
        })
    }
}
