//! `Idempotency-Key` for work that other actors do: the key is claimed before, and gets its answer after.

use std::{collections::HashMap, sync::Arc};

use actix::{Handler, Message};

use super::TaskDispatcher;
use crate::{
    actors::reply::Answer,
    db,
    domain::{
        Error, Result,
        idempotency::{self, IdempotencyKey},
        task::{Enqueued, Task},
    },
};

/// Returns the tasks that a first answer showed, as they are now: for one that was too large to be kept. Those that were
/// deleted since are left out.
pub(super) async fn shown(
    connection: &mut db::Connection,
    answer: &idempotency::Answer,
) -> Result<Vec<Enqueued>> {
    let found = db::tasks::find_many(connection, &answer.tasks).await?;
    let found: HashMap<_, Arc<Task>> = found.into_iter().map(|task| (task.id, Arc::new(task))).collect();
    let is_new = answer.status == 201;
    let tasks = answer.tasks.iter().filter_map(|id| found.get(id));
    Ok(tasks.map(|task| Enqueued { task: Arc::clone(task), is_new }).collect())
}

/// Claims a key; `None`: it is new, and the request is to be carried out. Else what the first request was told.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Option<idempotency::Answer>>")]
pub struct ClaimKey(pub IdempotencyKey);

impl Handler<ClaimKey> for TaskDispatcher {
    type Result = Answer<Option<idempotency::Answer>>;

    fn handle(&mut self, ClaimKey(key): ClaimKey, _: &mut Self::Context) -> Self::Result {
        let pool = self.0.pool.clone();
        Answer::from_future(async move {
            let mut connection = pool.get().await?;
            let known = db::idempotency::claim(&mut connection, key.clone()).await?.replay(&key)?;
            match known {
                Some(answer) if answer.lacks_body() => {
                    let tasks = shown(&mut connection, &answer).await?;
                    let task = tasks.first().ok_or(Error::NotFound)?;
                    let body = serde_json::to_vec(&*task.task).map_err(Error::internal)?;
                    Ok(Some(idempotency::Answer { body, ..answer }))
                }
                known => Ok(known),
            }
        })
    }
}

/// Keeps the answer to the request that claimed the key; without one, frees the key.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<()>")]
pub struct FinishKey {
    /// As it was claimed.
    pub key: IdempotencyKey,
    /// `None`: the request failed and may be tried again.
    pub answer: Option<idempotency::Answer>,
}

impl Handler<FinishKey> for TaskDispatcher {
    type Result = Answer<()>;

    fn handle(&mut self, FinishKey { key, answer }: FinishKey, _: &mut Self::Context) -> Self::Result {
        let pool = self.0.pool.clone();
        Answer::from_future(async move {
            let mut connection = pool.get().await?;
            db::idempotency::finish(&mut connection, key, answer).await
        })
    }
}
