//! Claiming for others, past the tasks of an owner who holds many slots.
//!
//! The ordinary claim takes the best tasks of a queue, whoever owns them. When an owner holds its share of the slots, here or
//! in line, the tasks of others are also looked for by themselves: five times a second while there are none, and as soon as
//! there is room for them while there are.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{
    fetch::Visit,
    shares::{Lane, Looks, share},
    shift::{Desk, Shift},
};
use crate::{
    db::{
        Connection,
        queue::{self, Others},
    },
    domain::{Result, UserId, attempt::Lease},
};

/// Between two looks for tasks of others, when the last one found none.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(200);
/// What has waited in line for that long behind an owner who has all slots goes back, to be claimed past the line.
const STUCK: Duration = Duration::from_millis(500);

/// How many tasks of others to claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Relief {
    at_most: usize,
    /// Of these, for tasks without an owner.
    ownerless: usize,
    /// What one owner may hold.
    share: usize,
    lane: Lane,
    /// What each owner held when it was decided to look for others. The tasks of an owner that ends many a second are no
    /// others' because some of them have ended since.
    held: HashMap<UserId, usize>,
}

impl Desk {
    /// Returns how many tasks of others to claim now, if it is time to look for them.
    fn relief(&self, slots: usize, now: Instant) -> Option<Relief> {
        let pause = if self.shares.contended() { Duration::ZERO } else { LOOK_EVERY };
        let too_soon = self.shares.looks().last.is_some_and(|last| now.duration_since(last) < pause);
        let on_their_way = self.waiting.passing().iter().any(|waiter| waiter.lane != Lane::Service);
        if too_soon || on_their_way || !self.may_claim() {
            return None;
        }

        let share = share(slots);
        let at_most = self.free_for_others(slots);
        let held = self.held();
        if at_most > 0 && held.iter().any(|(owner, held)| self.holds_much(*owner, *held, share)) {
            return Some(Relief { at_most, ownerless: at_most, share, lane: Lane::Share, held });
        }

        // Many owners with few slots each may have all of them, for as long.
        let stalled = (slots..2 * slots).contains(&self.running.len()) && self.shares.is_stalled(now);
        let ownerless = usize::from(!self.shares.ownerless_run());
        stalled.then_some(Relief { at_most: 1, ownerless, share: 1, lane: Lane::Newcomer, held })
    }

    /// Returns whether an owner has its share of the slots, or more than half of what is claimed ahead.
    fn holds_much(&self, owner: UserId, held: usize, share: usize) -> bool {
        let running = self.shares.of(owner);
        let waiting = held.saturating_sub(running);
        running >= share || (waiting >= share && 2 * waiting > self.waiting.len())
    }

    /// Returns whether tasks wait in line whose owners hold few slots, behind those of an owner who has all of them.
    fn is_stuck(&self, slots: usize) -> bool {
        let waits_long = self.waiting.first().is_some_and(|first| first.since.elapsed() >= STUCK);
        let few = |owner: Option<UserId>| owner.is_none_or(|owner| self.shares.of(owner) < share(slots));
        waits_long && self.running.len() >= slots && self.waiting.iter().any(|one| few(one.claim.created_by))
    }
}

impl Shift {
    /// Returns how many tasks of others to claim now, if it is time to look for them.
    pub(super) fn relief(&self) -> Option<Relief> {
        let desk = self.desk();
        if self.is_late(&desk) { None } else { desk.relief(self.0.settings.concurrency, Instant::now()) }
    }

    async fn return_line_if_stuck(&self, connection: &mut Connection) -> Result<()> {
        {
            let mut desk = self.desk();
            if !desk.is_stuck(self.0.settings.concurrency) {
                return Ok(());
            }
            desk.give_up_waiting();
        }
        self.try_return(connection).await.inspect_err(|_| self.desk().stock.doubt())
    }
}

impl Visit<'_> {
    /// Claims tasks of others from every queue, as long as there is room for them.
    pub(super) async fn relieve(&mut self, turn: usize, mut relief: Relief) -> Result<()> {
        self.shift.return_line_if_stuck(&mut self.connection).await?;

        let mut looks = self.shift.desk().shares.looks();
        looks.ownerless_first = !looks.ownerless_first;
        let mut found = false;
        for queue in self.queues(turn) {
            if relief.at_most > 0 {
                found |= self.claim_of_others(queue, &mut relief, &mut looks).await?;
            }
        }

        // What was held back for others goes on when there are none.
        let mut desk = self.shift.desk();
        looks.last = Some(Instant::now());
        desk.shares.looked(looks, found && relief.lane == Lane::Share);
        self.shift.fill_slots(&mut desk);
        Ok(())
    }

    /// Returns whether some were claimed, which are then no longer left to claim.
    async fn claim_of_others(&mut self, queue: &str, relief: &mut Relief, looks: &mut Looks) -> Result<bool> {
        let ownerless = if looks.ownerless_first { relief.ownerless } else { 0 };
        let mut tries = vec![(looks.after, ownerless)];
        // Once more from the first owner on, and for everybody, if that was not all.
        if looks.after.is_some() || ownerless == 0 {
            tries.push((None, relief.ownerless));
        }

        let types = self.shift.unlimited_types();
        for (after, ownerless) in tries {
            let places = self.shift.desk().waiting.reserve_passing(relief.at_most);
            let held: Vec<_> = relief.held.iter().map(|(owner, held)| (*owner, *held)).collect();
            let Relief { at_most, share, lane, .. } = *relief;
            let (held, task_types) = (held.as_slice(), types.as_slice());
            let others = Others { queue, task_types, at_most, ownerless, share, held, after, places };
            let claimed =
                queue::claim_of_others(&mut self.connection, self.worker_id, Lease::draw(), others).await;
            let claims = claimed.inspect_err(|_| self.shift.desk().stock.doubt())?;
            if claims.is_empty() {
                continue;
            }

            relief.at_most = at_most.saturating_sub(claims.len());
            for owner in claims.iter().filter_map(|claim| claim.created_by) {
                *relief.held.entry(owner).or_default() += 1;
            }
            looks.after = claims.iter().filter_map(|claim| claim.created_by).max();
            self.shift.take_or_return(&mut self.connection, claims, places, lane).await?;
            return Ok(true);
        }
        looks.after = None;
        Ok(false)
    }
}
