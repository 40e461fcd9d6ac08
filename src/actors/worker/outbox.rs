//! Successes on their way to the database. They are most of what there is to report, so no attempt waits for the answer to
//! its own: whoever writes a batch down tells the desk of all of it.

use std::{
    collections::{HashSet, VecDeque},
    panic::AssertUnwindSafe,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures_util::FutureExt as _;

use super::{report::Ending, shift::Shift};
use crate::{
    db::queue::{self, Success},
    domain::{
        Error, Result,
        attempt::{Leased, WorkerId},
    },
};

/// Two, so that one batch is written while the other's commit waits for the disk.
const WRITERS: usize = 2;
const BATCH: usize = 1_000;

type Report = (Leased, Success);

/// What waits to be written, the oldest first. The desk bounds it.
#[derive(Default)]
pub(super) struct Outbox(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    successes: VecDeque<(Report, WorkerId)>,
    writers: usize,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here can leave it half-changed, so a poisoned lock is as good as a sound one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By id, as everybody locks tasks. `None`: nothing waits, and the writer that asks is no more.
    fn next(&self) -> Option<Vec<(Report, WorkerId)>> {
        let mut batch: Vec<_> = {
            let mut waiting = self.lock();
            if waiting.successes.is_empty() {
                waiting.writers -= 1;
                return None;
            }
            let batch = waiting.successes.len().min(BATCH);
            waiting.successes.drain(..batch).collect()
        };
        batch.sort_unstable_by_key(|(((id, _), _), _)| *id);
        Some(batch)
    }
}

impl Shift {
    /// Has it written down that the task is done, with this result. Never waits.
    pub(super) fn succeeded(&self, leased: Leased, worker_id: WorkerId, success: Success) {
        {
            let mut waiting = self.0.outbox.lock();
            waiting.successes.push_back(((leased, success), worker_id));
            if waiting.writers >= WRITERS {
                return;
            }
            waiting.writers += 1;
        }
        tokio::spawn(write(self.clone()));
    }

    /// Has two connections ready for the first outcomes, while the worker is busy with its first claim: what a connection
    /// does for the first time takes ten times as long as later.
    pub(super) async fn warm_up(self) {
        let (one, other) = tokio::join!(self.write_successes(&[]), self.write_successes(&[]));
        if let Err(error) = one.and(other) {
            log::debug!(error:% = error; "connections could not be made ready");
        }
    }

    async fn write_successes(&self, successes: &[Report]) -> Result<Vec<Leased>> {
        queue::succeed_by(&mut *self.0.pool.get().await?, self.0.pool.plans(), successes).await
    }

    fn successes_written(&self, successes: Vec<Report>, written: Vec<Leased>) {
        let written: HashSet<Leased> = written.into_iter().collect();
        let outcomes = successes.into_iter().map(|(leased, _)| (leased, !written.contains(&leased)));
        self.reported(outcomes);
    }
}

/// Writes batch after batch until nothing waits. One that could not be written is tried again one by one.
async fn write(shift: Shift) {
    // Others that are ready to end go first.
    tokio::task::yield_now().await;
    while let Some(batch) = shift.0.outbox.next() {
        let (successes, workers): (Vec<Report>, Vec<WorkerId>) = batch.into_iter().unzip();
        let written = AssertUnwindSafe(shift.write_successes(&successes)).catch_unwind().await;
        match written.unwrap_or_else(|_| Err(Error::internal("writing successes panicked"))) {
            Ok(written) => shift.successes_written(successes, written),
            Err(error) => {
                for ((leased, success), worker_id) in successes.into_iter().zip(workers) {
                    let (shift, ending, error) = (shift.clone(), Ending::Succeeded(success), error.clone());
                    tokio::spawn(async move { shift.report_again(leased, worker_id, ending, error).await });
                }
            }
        }
    }
}
