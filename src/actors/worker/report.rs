//! Writing down what became of attempts, until it is written or the task is somebody else's: whatever ends while a
//! statement is under way goes into the next one. Successes come here only when they could not be written at once.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::shift::Shift;
use crate::{
    actors::coalesce::{Batch, Coalesce, Limits},
    db::{
        Pool,
        queue::{self, Stopping, Success},
    },
    domain::{
        Error, Result,
        attempt::{Leased, Stopped, WorkerId},
        task::Status,
    },
};

/// Two, so that one is written while the other's commit waits for the disk.
const LIMITS: Limits = Limits { statements: 2, items: 1_000, waiting: 20_000 };
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often the database may refuse a result before that is taken for the result's fault.
const REFUSALS: u32 = 5;

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ending {
    /// Done.
    Succeeded(Success),
    /// It stopped without being done.
    Stopped(Stopping),
}

/// What waits to be written.
pub(super) struct Reports {
    successes: Coalesce<Successes>,
    stops: Coalesce<Stops>,
}

struct Successes(Pool);

struct Stops(Pool);

impl Batch for Successes {
    type Key = Leased;
    type Item = Success;
    type Answer = Option<Status>;

    async fn run(&self, mut tasks: Vec<(Leased, Success)>) -> Result<HashMap<Leased, Option<Status>>> {
        tasks.sort_unstable_by_key(|((id, _), _)| *id);
        let written = queue::succeed_by(&mut *self.0.get().await?, self.0.plans(), &tasks).await?;
        Ok(written.into_iter().map(|leased| (leased, Some(Status::Succeeded))).collect())
    }

    fn missing(&self) -> Result<Option<Status>> {
        Ok(None)
    }
}

impl Batch for Stops {
    type Key = Leased;
    type Item = Stopping;
    type Answer = Option<Status>;

    async fn run(&self, tasks: Vec<(Leased, Stopping)>) -> Result<HashMap<Leased, Option<Status>>> {
        let written = queue::stop(&mut *self.0.get().await?, &tasks).await?;
        Ok(written.into_iter().map(|(leased, status)| (leased, Some(status))).collect())
    }

    fn missing(&self) -> Result<Option<Status>> {
        Ok(None)
    }
}

impl Reports {
    pub(super) fn new(pool: &Pool) -> Self {
        Self {
            successes: Coalesce::new(Successes(pool.clone()), LIMITS),
            stops: Coalesce::new(Stops(pool.clone()), LIMITS),
        }
    }

    /// The task's new status; `None`: its lease has changed, nothing was written.
    async fn write(&self, leased: Leased, ending: Ending) -> Result<Option<Status>> {
        match ending {
            Ending::Succeeded(success) => self.successes.ask(leased, success).await,
            Ending::Stopped(stopping) => self.stops.ask(leased, stopping).await,
        }
    }
}

impl Shift {
    /// Writes down how the attempt ended, and tries again for as long as the task may still be this worker's.
    pub(super) async fn report(&self, leased: Leased, worker_id: WorkerId, ending: Ending) {
        match self.0.reports.write(leased, ending.clone()).await {
            Ok(written) => self.written(leased, written, written.is_none()),
            Err(error) => self.report_again(leased, worker_id, ending, error).await,
        }
    }

    /// As [`Shift::report`], after a try that failed.
    pub(super) async fn report_again(
        &self,
        leased: Leased,
        worker_id: WorkerId,
        ending: Ending,
        error: Error,
    ) {
        let written = self.write_until_settled(leased, worker_id, ending, error).await;
        if written.is_none() {
            // Perhaps by the first try, whose answer was lost.
            log::warn!(task_id:% = leased.0; "an outcome was written before, or came too late");
        }
        self.written(leased, written, false);
    }

    fn written(&self, leased: Leased, written: Option<Status>, stale: bool) {
        match written {
            Some(Status::Scheduled | Status::Retrying) => self.0.bell.scheduled(),
            Some(Status::Pending) => self.0.bell.due(),
            _ => {}
        }
        self.reported([(leased, stale)]);
    }

    async fn write_until_settled(
        &self,
        leased: Leased,
        worker_id: WorkerId,
        ending: Ending,
        mut error: Error,
    ) -> Option<Status> {
        let (began, mut pause, mut refusals) = (Instant::now(), FIRST_PAUSE, 0);
        loop {
            let ours = self.desk().registration.is_some_and(|now| now.id == worker_id);
            if !ours && began.elapsed() > self.0.settings.lease {
                return None;
            }
            log::warn!(task_id:% = leased.0, error:% = error; "an outcome could not be written yet");
            refusals += u32::from(!error.is_transient());
            if refusals >= REFUSALS
                && let Ending::Succeeded(Success { result: Some(_), times }) = ending
            {
                // Not if the database takes nothing at all, as on a full disk.
                let why = Some("its result cannot be stored".to_owned());
                let refused = Stopping { how: Stopped::Refused, why, delay: Duration::ZERO, times };
                if let Ok(written) = self.0.reports.write(leased, Ending::Stopped(refused)).await {
                    return written;
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            error = match self.0.reports.write(leased, ending.clone()).await {
                Ok(written) => return written,
                Err(error) => error,
            };
        }
    }

    /// Whether that is done with: written, or not to be written ever.
    pub(super) async fn write_progress(&self, tasks: &[(Leased, Value)]) -> bool {
        let written = async { queue::report_progress(&mut *self.0.pool.get().await?, tasks).await };
        match written.await {
            Ok(()) => true,
            Err(error) => {
                log::warn!(error:% = error; "progress could not be written");
                !error.is_transient()
            }
        }
    }
}
