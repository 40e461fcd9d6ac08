//! `Idempotency-Key` for work that other actors do: the key is claimed before, and gets its answer after.

use actix::{Handler, Message};

use super::TaskDispatcher;
use crate::{
    actors::reply::Answer,
    db,
    domain::{
        Result,
        idempotency::{self, IdempotencyKey},
    },
};

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
            db::idempotency::claim(&mut connection, key.clone()).await?.replay(&key)
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
