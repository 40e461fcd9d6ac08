//! Taking stock: what the database takes for this worker's and the worker does not know of goes back to the queue.
//!
//! A claim may commit although its answer never came, also seconds after the worker gave it up, and a statement that
//! gives tasks back may fail. While the worker gives signs of life nobody else would touch these tasks; and once
//! its lease is over, they would count as its victims, though they never began.

use std::time::{Duration, Instant};

use tokio::{sync::MutexGuard, time::timeout_at};

use super::{
    fetch::Claiming,
    shift::{Desk, Shift},
};
use crate::{
    db::queue,
    domain::{Result, attempt::Leased},
};

const LONGEST_INTERVAL: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(100);

/// When stock was taken, and what is to go back with the next.
#[derive(Default)]
pub(super) struct Stock {
    /// `None`: it is to be taken now.
    taken: Option<Instant>,
    /// Tasks that were claimed, perhaps under an earlier registration, and not begun.
    unbegun: Vec<Leased>,
}

impl Stock {
    /// Something may have gone astray.
    pub(super) fn doubt(&mut self) {
        self.taken = None;
    }

    /// These are to go back.
    pub(super) fn put(&mut self, unbegun: impl IntoIterator<Item = Leased>) {
        self.unbegun.extend(unbegun);
        self.doubt();
    }
}

impl Desk {
    fn known(&self) -> Vec<Leased> {
        let waiting = self.waiting.iter().map(|(claim, _)| claim.leased());
        waiting.chain(self.running.keys().copied()).chain(self.reporting.iter().copied()).collect()
    }
}

impl Shift {
    /// Takes stock, if that was not done for a while or something may have gone astray. No claim is under way
    /// meanwhile, whose tasks the desk does not have yet: the guard proves it.
    pub(super) async fn take_stock_if_due(
        &self,
        _none_under_way: &mut MutexGuard<'_, Claiming>,
    ) -> Result<()> {
        let interval = (self.0.settings.lease / 3).min(LONGEST_INTERVAL);
        let due = self.desk().stock.taken.is_none_or(|taken| taken.elapsed() >= interval);
        if due { self.take_stock().await } else { Ok(()) }
    }

    /// As [`Shift::take_stock_if_due`], unless a round of claims is under way, which does it itself.
    pub(super) async fn take_stock_between_claims(&self) {
        let Ok(mut claiming) = self.0.claiming.try_lock() else { return };
        if let Err(error) = self.take_stock_if_due(&mut claiming).await {
            log::warn!(error:% = error; "the worker could not take stock of its tasks");
        }
    }

    /// Takes stock for the last time; tries until it is done or this is over.
    pub(super) async fn take_last_stock(&self, end: tokio::time::Instant) {
        let work = async {
            let _none_under_way = self.0.claiming.lock().await;
            while let Err(error) = self.take_stock().await {
                log::warn!(error:% = error; "the worker could not take stock of its tasks");
                tokio::time::sleep(RETRY).await;
            }
        };
        if timeout_at(end, work).await.is_err() {
            log::warn!("the worker stops without having taken stock of its tasks");
        }
    }

    async fn take_stock(&self) -> Result<()> {
        let (worker_id, unbegun, known, began) = {
            let desk = self.desk();
            let Some(registration) = desk.registration else { return Ok(()) };
            (registration.id, desk.stock.unbegun.clone(), desk.known(), Instant::now())
        };
        let mut connection = self.0.pool.get().await?;
        if !unbegun.is_empty() {
            queue::hand_back(&mut connection, &unbegun).await?;
        }
        let strays = queue::hand_back_all_but(&mut connection, worker_id, &known).await?;
        if strays > 0 {
            log::warn!(tasks = strays; "tasks that this worker held without knowing were handed back");
        }
        let mut desk = self.desk();
        // Only put to the end meanwhile.
        desk.stock.unbegun.drain(..unbegun.len());
        if desk.stock.unbegun.is_empty() {
            desk.stock.taken = Some(began);
        }
        Ok(())
    }
}
