//! What the actors are measured against: the same work, one statement a request, through the same pool. Only
//! `benches/run` compiles it.

use std::sync::Arc;

use crate::{
    db::{self, Pool, tasks::insert},
    domain::{
        Caller, Error, Result,
        task::{NewTask, Task},
        token::TokenHash,
    },
};

/// Does at once, for one caller, what a store does for all who wait.
#[derive(Debug, Clone)]
pub struct OneStatement(Pool);

impl OneStatement {
    /// Through that pool.
    pub fn new(pool: Pool) -> Self {
        Self(pool)
    }

    /// Who has this session.
    ///
    /// # Errors
    /// `Unauthenticated`; `Unavailable` as the database tells.
    pub async fn resolve(&self, hash: TokenHash) -> Result<Arc<Caller>> {
        let found = db::sessions::find_valid(&mut *self.0.get().await?, &[hash]).await?;
        let one = found.into_iter().next().ok_or(Error::Unauthenticated { presented: true })?;
        Ok(Arc::new(one.caller))
    }

    /// Enqueues one task.
    ///
    /// # Errors
    /// As the database tells.
    pub async fn enqueue(&self, task: NewTask) -> Result<Task> {
        let enqueued = insert(&mut *self.0.get().await?, vec![task]).await?;
        enqueued.into_iter().next().map(|one| Arc::unwrap_or_clone(one.task)).ok_or(Error::NotFound)
    }
}
