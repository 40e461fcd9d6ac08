//! Stopping in good order: nothing is claimed any more, what was not begun goes back, what runs may end, and what
//! does not end in time is interrupted and goes back too, without counting as a failure.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, timeout, timeout_at};

use super::{attempt::GRACE, running::Reason, shift::Shift};
use crate::db::queue;

/// For the last outcomes, when the limit is over.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// For what is only a courtesy to the other workers.
const GOODBYE: Duration = Duration::from_secs(1);

/// What stopping took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Drained {
    /// Tasks that had been claimed and not begun.
    pub handed_back: usize,
    /// Attempts that were interrupted.
    pub interrupted: usize,
    /// Attempts that did not even end then, or whose outcome could not be written: their tasks are rescued when the
    /// lease is over.
    pub abandoned: usize,
}

impl Shift {
    /// Stops claiming, lets attempts run for `limit`, interrupts the rest, writes all outcomes, and deregisters the
    /// worker. It gives signs of life until the end. Takes at most `limit` and 7 seconds. Nothing can be begun
    /// after it.
    pub async fn drain(&self, limit: Duration) -> Drained {
        let end = Instant::now() + limit;
        let handed_back = {
            let mut desk = self.desk();
            desk.draining = true;
            desk.give_up_waiting()
        };
        let mut drained = Drained { handed_back, ..Drained::default() };
        // What does not go back now does with the last stock.
        drop(timeout_at(end.max(Instant::now() + GOODBYE), self.return_unbegun()).await);
        // A claim that was under way hands back by itself what it got.
        drop(timeout_at(end, self.0.claiming.lock()).await);
        let mut last = Instant::now() + LAST_WORDS;
        if !self.quiet_by(end).await {
            drained.interrupted = self.interrupt_all();
            last = Instant::now() + GRACE + LAST_WORDS;
            self.quiet_by(last).await;
        }
        self.take_last_stock(last).await;
        let standing = self.standing();
        drained.abandoned = standing.running + standing.reporting;
        self.deregister().await;
        self.0.over.cancel();
        log::info!(interrupted = drained.interrupted, abandoned = drained.abandoned; "the worker has stopped");
        drained
    }

    /// Whether all attempts had ended and all outcomes were written by then.
    async fn quiet_by(&self, end: Instant) -> bool {
        let quiet = async {
            loop {
                let heard = self.0.progress.notified();
                let standing = self.standing();
                if standing.running + standing.reporting == 0 {
                    break;
                }
                heard.await;
            }
        };
        timeout_at(end, quiet).await.is_ok()
    }

    fn interrupt_all(&self) -> usize {
        let mut desk = self.desk();
        for running in desk.running.values_mut() {
            running.tell_to_stop(Reason::Interrupted);
        }
        desk.running.len()
    }

    async fn deregister(&self) {
        let Some(registration) = self.desk().registration.take() else { return };
        let done = async { queue::deregister(&mut *self.0.pool.get().await?, registration.id).await };
        match timeout(GOODBYE, done).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::warn!(error:% = error; "the worker could not be deregistered"),
            Err(_) => log::warn!("the worker could not be deregistered in time"),
        }
    }
}
