//! Large payloads. They do not come with the claim, since a worker claims thousands of tasks ahead: each is read when its
//! attempt begins, in one statement with others that begin at the same time.

use std::{collections::HashMap, time::Duration};

use tokio_util::sync::CancellationToken;

use super::shift::Shift;
use crate::{
    actors::coalesce::{Batch, Coalesce, Limits},
    db::{Pool, queue},
    domain::{Error, JsonText, Result, attempt::Leased},
    tasks::Stop,
};

/// Payloads in one statement are few, for they are large.
const LIMITS: Limits = Limits { statements: 2, items: 16, waiting: 20_000 };
const RETRY: Duration = Duration::from_millis(500);

pub(super) struct Payloads(Pool);

impl Payloads {
    pub(super) fn of(pool: &Pool) -> Coalesce<Self> {
        Coalesce::new(Self(pool.clone()), LIMITS)
    }
}

impl Batch for Payloads {
    type Key = Leased;
    type Item = ();
    type Answer = Option<JsonText>;

    async fn run(&self, tasks: Vec<(Leased, ())>) -> Result<HashMap<Leased, Option<JsonText>>> {
        let tasks: Vec<Leased> = tasks.into_iter().map(|(leased, ())| leased).collect();
        let found = queue::payloads(&mut *self.0.get().await?, &tasks).await?;
        Ok(found.into_iter().collect())
    }

    fn missing(&self) -> Result<Option<JsonText>> {
        Err(Error::NotFound)
    }
}

impl Shift {
    /// Returns the payload of a claimed task. While the database is away it waits: the attempt has not begun.
    ///
    /// # Errors
    /// [`Stop::Cancelled`] when `stop` is cancelled, or when the task is another worker's by now; [`Stop::Refused`] for text
    /// that is not JSON to us.
    pub(super) async fn payload(&self, task: Leased, stop: &CancellationToken) -> Result<JsonText, Stop> {
        loop {
            match self.0.payloads.ask(task, ()).await {
                Ok(Some(payload)) => return Ok(payload),
                Ok(None) => return Err(Stop::refused("its payload cannot be read")),
                Err(Error::NotFound) => return Err(Stop::Cancelled),
                Err(error) => {
                    log::warn!(task_id:% = task.0, error:% = error; "worker failed to read a payload");
                    if stop.run_until_cancelled(tokio::time::sleep(RETRY)).await.is_none() {
                        return Err(Stop::Cancelled);
                    }
                }
            }
        }
    }
}
