//! Queues: how full they are, pause and resume.

use actix::{Handler, Message};

use super::{TaskDispatcher, acts};
use crate::{
    actors::reply::Answer,
    db::{self, Pool},
    domain::{
        Error, Result,
        audit::Actor,
        queue::{Queue, QueueName},
    },
};

/// Every queue, by name.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Vec<Queue>>")]
pub struct ListQueues;

impl Handler<ListQueues> for TaskDispatcher {
    type Result = Answer<Vec<Queue>>;

    fn handle(&mut self, _: ListQueues, _: &mut Self::Context) -> Self::Result {
        let pool = self.0.pool.clone();
        Answer::from_future(async move { db::queues::list(&mut *pool.get().await?).await })
    }
}

/// Workers leave the queue alone from now on; what runs goes on.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Queue>")]
pub struct PauseQueue {
    /// Which.
    pub queue: QueueName,
    /// By whom.
    pub by: Actor,
}

impl Handler<PauseQueue> for TaskDispatcher {
    type Result = Answer<Queue>;

    fn handle(&mut self, PauseQueue { queue, by }: PauseQueue, _: &mut Self::Context) -> Self::Result {
        let pool = self.0.pool.clone();
        Answer::from_future(async move {
            acts::pause_queue(&mut *pool.get().await?, &by, &queue).await?;
            show(&pool, &queue).await
        })
    }
}

/// Workers take from the queue again.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Queue>")]
pub struct ResumeQueue {
    /// Which.
    pub queue: QueueName,
    /// By whom.
    pub by: Actor,
}

impl Handler<ResumeQueue> for TaskDispatcher {
    type Result = Answer<Queue>;

    fn handle(&mut self, ResumeQueue { queue, by }: ResumeQueue, _: &mut Self::Context) -> Self::Result {
        let (pool, wake) = (self.0.pool.clone(), self.0.wake.clone());
        Answer::from_future(async move {
            acts::resume_queue(&mut *pool.get().await?, &by, &queue).await?;
            wake.0.due();
            show(&pool, &queue).await
        })
    }
}

async fn show(pool: &Pool, name: &QueueName) -> Result<Queue> {
    let all = db::queues::list(&mut *pool.get().await?).await?;
    all.into_iter().find(|queue| queue.name == name.as_str()).ok_or(Error::NotFound)
}
