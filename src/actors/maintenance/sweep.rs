//! Deleting what is old, and clearing away what deleting and working leave behind.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;

use super::upkeep::{ANSWERS_KEPT, ENDINGS_KEPT, EVENTS_KEPT, KNOWN_ADDRESSES_KEPT, Upkeep};
use crate::{
    db::{
        self, Connection, Transactional as _,
        sweep::{Step, Vacuum},
        turn::{self, Turn},
    },
    domain::{Error, Result, TaskId},
    tasks::services::Sweeper,
};

/// Rows deleted by one statement.
const STEP: i64 = 1_000;
/// Steps of a sweep that find no old task, after which it is enough for now: the table is gone through bit by bit.
const IDLE_STEPS: usize = 5;
/// Between two steps, so that others get their turn at the disk.
const PAUSE: Duration = Duration::from_millis(20);

/// How much was deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Finished tasks.
    pub tasks: usize,
    /// Sessions that ended by time.
    pub sessions: usize,
    /// One-time tokens that expired.
    pub one_time_tokens: usize,
    /// First answers to requests with an idempotency key.
    pub idempotency_keys: usize,
    /// Counts of failed tries.
    pub throttle: usize,
    /// Entries of the audit log.
    pub audit_log: usize,
    /// Events of tasks.
    pub task_events: usize,
    /// Notes of which tasks ended together.
    pub task_endings: usize,
    /// Files that tasks made.
    pub files: usize,
}

/// What can be deleted from the database.
#[derive(Debug, Clone, Copy)]
enum Old {
    Tasks { after: Option<TaskId> },
    Sessions,
    OneTimeTokens,
    IdempotencyKeys,
    Throttle,
    AuditLog,
    TaskEvents,
    TaskEndings,
}

/// Deletes for as long as the actor lives.
pub(super) async fn keep_small(upkeep: Upkeep) {
    loop {
        let wait = upkeep.0.settings.sweep.mul_f64(0.5 + rand::random::<f64>());
        tokio::time::sleep(wait).await;
        // On the runtime: it holds what another sweep waits for, and this thread may hang.
        let sweeping = upkeep.clone();
        let swept = tokio::spawn(async move { sweeping.sweep(IDLE_STEPS).await }).await;
        match swept.unwrap_or_else(|panic| Err(Error::internal(panic))) {
            Ok(swept) if swept == Swept::default() => {}
            Ok(swept) => log::info!(swept:? = swept; "old things were deleted"),
            Err(error) => log::warn!(error:% = error; "old things could not be deleted"),
        }
    }
}

/// Vacuums for as long as the actor lives.
pub(super) async fn keep_vacuumed(upkeep: Upkeep) {
    let mut last = Vacuum::default();
    loop {
        tokio::time::sleep(upkeep.0.settings.vacuum).await;
        let pool = upkeep.0.pool.clone();
        // On the runtime: cut short, it would leave a connection without its time limit.
        let vacuum =
            tokio::spawn(async move { db::sweep::vacuum_tasks(&mut *pool.get().await?, last).await });
        match vacuum.await.unwrap_or_else(|panic| Err(Error::internal(panic))) {
            Ok(now) => last = now,
            Err(error) => log::warn!(error:% = error; "the table of tasks could not be vacuumed"),
        }
        if last.done {
            log::debug!(left = last.left; "the table of tasks was vacuumed");
        }
    }
}

impl Upkeep {
    /// Deletes everything that is older than it is kept, in small steps. What another process is at is left to it.
    ///
    /// # Errors
    /// As the database tells, at the first step that fails.
    pub async fn sweep_all(&self) -> Result<Swept> {
        self.0.tasks_seen.lock().await.take();
        self.sweep(usize::MAX).await
    }

    /// As [`Upkeep::sweep_all`], but goes on through the tasks where it was the last time, until so many steps found nothing.
    async fn sweep(&self, idle_steps: usize) -> Result<Swept> {
        Ok(Swept {
            tasks: self.sweep_tasks(idle_steps).await?,
            sessions: self.sweep_one(Old::Sessions).await?,
            one_time_tokens: self.sweep_one(Old::OneTimeTokens).await?,
            idempotency_keys: self.sweep_one(Old::IdempotencyKeys).await?,
            throttle: self.sweep_one(Old::Throttle).await?,
            audit_log: self.sweep_one(Old::AuditLog).await?,
            task_events: self.sweep_one(Old::TaskEvents).await?,
            task_endings: self.sweep_one(Old::TaskEndings).await?,
            files: self.sweep_files().await?,
        })
    }

    async fn sweep_tasks(&self, idle_steps: usize) -> Result<usize> {
        let mut seen = self.0.tasks_seen.lock().await;
        let (mut all, mut idle) = (0, 0);
        while let Some(done) = self.step(Old::Tasks { after: *seen }).await? {
            all += done.deleted;
            idle += usize::from(done.deleted == 0);
            *seen = done.reached;
            if seen.is_none() || idle >= idle_steps {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(all)
    }

    async fn sweep_one(&self, old: Old) -> Result<usize> {
        let mut all = 0;
        while let Some(done) = self.step(old).await? {
            all += done.deleted;
            if i64::try_from(done.deleted).unwrap_or(0) < STEP {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(all)
    }

    /// `None`: another process is at it.
    async fn step(&self, old: Old) -> Result<Option<Step>> {
        let mut connection = self.0.pool.get().await?;
        let step = connection.transaction(async |connection| {
            if turn::take(connection, Turn::Sweep).await? {
                self.delete(connection, old).await.map(Some)
            } else {
                Ok(None)
            }
        });
        step.await
    }

    async fn delete(&self, connection: &mut Connection, old: Old) -> Result<Step> {
        let settings = &self.0.settings;
        let deleted = match old {
            Old::Tasks { after } => {
                return db::sweep::finished_tasks(connection, settings.tasks, after, STEP).await;
            }
            Old::Sessions => db::sessions::sweep(connection, STEP).await?,
            Old::OneTimeTokens => db::one_time_tokens::sweep(connection, STEP).await?,
            Old::IdempotencyKeys => db::sweep::idempotency_keys(connection, ANSWERS_KEPT, STEP).await?,
            Old::Throttle => {
                db::throttle::sweep(connection, settings.throttle, KNOWN_ADDRESSES_KEPT, STEP).await?
            }
            Old::AuditLog => db::audit::sweep(connection, settings.audit, STEP).await?,
            Old::TaskEvents => db::sweep::task_events(connection, EVENTS_KEPT, STEP).await?,
            Old::TaskEndings => db::sweep::task_endings(connection, ENDINGS_KEPT, STEP).await?,
        };
        Ok(Step { deleted, reached: None })
    }

    async fn sweep_files(&self) -> Result<usize> {
        match &self.0.files {
            Some(files) => files.sweep(self.0.settings.tasks).await.map_err(Error::internal),
            None => Ok(0),
        }
    }
}

impl Sweeper for Upkeep {
    fn sweep(&self) -> BoxFuture<'_, Result<Value>> {
        Box::pin(async move { serde_json::to_value(self.sweep_all().await?).map_err(Error::internal) })
    }
}
