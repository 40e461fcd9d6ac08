//! Taking stock: what the database takes for this worker's and the worker does not know of goes back to the queue.
//!
//! A claim may commit although its answer never came, also seconds after the worker gave it up, and a statement that
//! gives tasks back may fail. While the worker gives signs of life nobody else would touch these tasks; and once
//! its lease is over, they would count as its victims, though they never began.
//!
//! A claim is known here from its answer until no task of it is at hand. Then the database may forget it too.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use tokio::{sync::MutexGuard, time::timeout_at};

use super::{
    fetch::Claiming,
    shift::{Desk, Shift},
};
use crate::{
    db::{Connection, queue},
    domain::{
        Result,
        attempt::{Lease, Leased, WorkerId},
    },
};

const LONGEST_INTERVAL: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(100);
/// Claims that are over, for which it is worth a statement to say so: whoever looks for running tasks looks through
/// them.
const WORTH_SETTLING: usize = 16;

/// When stock was taken, and what is to go back with the next.
pub(super) struct Stock {
    /// `None`: it is to be taken now.
    taken: Option<Instant>,
    /// Tasks that were claimed, perhaps under an earlier registration, and not begun.
    unbegun: Vec<Leased>,
    /// Claims under the present registration that the database has not been told to forget.
    claims: Vec<Lease>,
}

impl Stock {
    /// Of a process that has claimed nothing yet.
    pub(super) fn new(now: Instant) -> Self {
        Self { taken: Some(now), unbegun: Vec::new(), claims: Vec::new() }
    }

    /// Something may have gone astray.
    pub(super) fn doubt(&mut self) {
        self.taken = None;
    }

    /// These are to go back.
    pub(super) fn put(&mut self, unbegun: impl IntoIterator<Item = Leased>) {
        self.unbegun.extend(unbegun);
    }

    /// The answer to this claim came.
    pub(super) fn note(&mut self, lease: Lease) {
        self.claims.push(lease);
    }

    /// The registration is lost, and its claims with it: the others rescue what runs of them.
    pub(super) fn lose_claims(&mut self) {
        self.claims.clear();
        self.doubt();
    }
}

impl Desk {
    /// What was not begun is to go back. Tells how much that is.
    pub(super) fn give_up_waiting(&mut self) -> usize {
        let waiting = self.waiting.len();
        self.stock.put(self.waiting.drain().map(|claim| claim.leased()));
        waiting
    }

    /// The claims of which a task is at hand.
    fn at_hand(&self) -> HashSet<Lease> {
        let waiting = self.waiting.iter().map(|waiter| waiter.claim.lease);
        let others = self.running.keys().chain(self.reporting.keys()).chain(&self.stock.unbegun);
        waiting.chain(others.map(|(_, lease)| *lease)).collect()
    }
}

impl Shift {
    /// Gives back what was not begun. When that fails it is tried again with the next stock.
    pub(super) async fn return_unbegun(&self) {
        if self.desk().stock.unbegun.is_empty() {
            return;
        }
        let done = async { self.try_return(&mut *self.0.pool.get().await?).await };
        if let Err(error) = done.await {
            log::warn!(error:% = error; "tasks could not be handed back");
            self.desk().stock.doubt();
        }
    }

    /// As [`Shift::return_unbegun`], for who has a connection.
    pub(super) async fn try_return(&self, connection: &mut Connection) -> Result<()> {
        let unbegun = self.desk().stock.unbegun.clone();
        if !unbegun.is_empty() {
            queue::hand_back(connection, &unbegun).await?;
            let returned: HashSet<_> = unbegun.into_iter().collect();
            self.desk().stock.unbegun.retain(|leased| !returned.contains(leased));
        }
        Ok(())
    }

    /// Has the database forget claims that are over, when there are many. Nothing is taken out of the desk's sight
    /// before the database has it in writing, so a claim of which nothing is at hand is over.
    pub(super) async fn settle_if_worth_it(
        &self,
        _none_under_way: &mut MutexGuard<'_, Claiming>,
        connection: &mut Connection,
        worker_id: WorkerId,
    ) -> Result<()> {
        let over: Vec<Lease> = {
            let desk = self.desk();
            if desk.stock.claims.len() < WORTH_SETTLING {
                return Ok(());
            }
            let at_hand = desk.at_hand();
            desk.stock.claims.iter().filter(|lease| !at_hand.contains(lease)).copied().collect()
        };
        if over.len() >= WORTH_SETTLING {
            queue::settle(connection, worker_id, &over).await?;
            self.desk().stock.claims.retain(|lease| !over.contains(lease));
        }
        Ok(())
    }

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
        let (registration, unbegun) = {
            let desk = self.desk();
            (desk.registration, !desk.stock.unbegun.is_empty())
        };
        if registration.is_none() && !unbegun {
            return Ok(());
        }
        let mut connection = self.0.pool.get().await?;
        self.try_return(&mut connection).await?;
        let Some(registration) = registration else { return Ok(()) };
        let (known, began): (Vec<Lease>, _) = {
            let mut desk = self.desk();
            let at_hand = desk.at_hand();
            desk.stock.claims.retain(|lease| at_hand.contains(lease));
            (at_hand.into_iter().collect(), Instant::now())
        };
        let strays = queue::take_back(&mut connection, registration.id, &known).await?;
        if strays > 0 {
            log::warn!(tasks = strays; "tasks that this worker held without knowing were handed back");
        }
        let mut desk = self.desk();
        if desk.stock.unbegun.is_empty() {
            desk.stock.taken = Some(began);
        }
        Ok(())
    }
}
