//! Queues: how full they are, pause and resume.

use actix::{Handler, Message};

use super::TaskDispatcher;
use crate::{
    actors::reply::Answer,
    db::{self, Pool},
    domain::{
        Error, Result,
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
pub struct PauseQueue(pub QueueName);

impl Handler<PauseQueue> for TaskDispatcher {
    type Result = Answer<Queue>;

    fn handle(&mut self, PauseQueue(name): PauseQueue, _: &mut Self::Context) -> Self::Result {
        let pool = self.0.pool.clone();
        Answer::from_future(async move {
            db::queues::pause(&mut *pool.get().await?, &name).await?;
            show(&pool, &name).await
        })
    }
}

/// Workers take from the queue again.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Queue>")]
pub struct ResumeQueue(pub QueueName);

impl Handler<ResumeQueue> for TaskDispatcher {
    type Result = Answer<Queue>;

    fn handle(&mut self, ResumeQueue(name): ResumeQueue, _: &mut Self::Context) -> Self::Result {
        let (pool, wake) = (self.0.pool.clone(), self.0.wake.clone());
        Answer::from_future(async move {
            db::queues::resume(&mut *pool.get().await?, &name).await?;
            wake.0.due();
            show(&pool, &name).await
        })
    }
}

async fn show(pool: &Pool, name: &QueueName) -> Result<Queue> {
    let all = db::queues::list(&mut *pool.get().await?).await?;
    all.into_iter().find(|queue| queue.name == name.as_str()).ok_or(Error::NotFound)
}
