//! What each owner holds of the slots, and which task begins next.
//!
//! An owner alone may use all slots. What it holds beyond its share, which is half of them, does not count while others wait:
//! their tasks begin in addition. So nobody waits for tasks that run for a day, nothing that runs is interrupted, and at most
//! half as many tasks again run meanwhile. While others wait, no task of an owner that has its share begins.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{running::Running, shift::Desk};
use crate::domain::{UserId, attempt::Claim};

/// When nothing began or ended for that long, all slots taken, an owner without a slot gets one more.
const STALLED: Duration = Duration::from_millis(500);
/// One slot in so many is reserved for the service itself, and at least one.
const RESERVED: usize = 8;

/// In which way a claimed task comes to its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// In line, by priority and time.
    Line,
    /// Past the line: its owner holds less than its share.
    Share,
    /// Past the line while nothing moves: its owner holds nothing.
    Newcomer,
    /// Past the line: the service's own.
    Service,
}

/// What owners hold of the slots.
pub(super) struct Shares {
    running: HashMap<UserId, usize>,
    /// Tasks of nobody that run; the service's own among them.
    ownerless: usize,
    service: usize,
    /// When a task last began or ended.
    moved: Instant,
    /// Tasks of others wait for an owner that has its share.
    contended: bool,
    looks: Looks,
}

/// How tasks of others were looked for the last time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Looks {
    /// When.
    pub(super) last: Option<Instant>,
    /// The last owner that got something: the next look begins behind it.
    pub(super) after: Option<UserId>,
    /// Whether tasks without an owner came first. They and the others take turns.
    pub(super) ownerless_first: bool,
}

/// Tasks that one owner may hold while others wait.
pub(super) fn share(slots: usize) -> usize {
    slots.div_ceil(2).max(1)
}

impl Shares {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            running: HashMap::new(),
            ownerless: 0,
            service: 0,
            moved: now,
            contended: false,
            looks: Looks::default(),
        }
    }

    pub(super) fn began(&mut self, running: &Running) {
        match running.owner {
            Some(owner) => *self.running.entry(owner).or_default() += 1,
            None => self.ownerless += 1,
        }
        self.service += usize::from(running.lane == Lane::Service);
        self.moved = running.since;
    }

    pub(super) fn ended(&mut self, running: &Running, now: Instant) {
        match running.owner {
            None => self.ownerless = self.ownerless.saturating_sub(1),
            Some(owner) => {
                let left = self.of(owner).saturating_sub(1);
                if left == 0 {
                    self.running.remove(&owner);
                } else {
                    self.running.insert(owner, left);
                }
            }
        }
        self.service -= usize::from(running.lane == Lane::Service && self.service > 0);
        self.moved = now;
    }

    /// Returns how many tasks of this owner run.
    pub(super) fn of(&self, owner: UserId) -> usize {
        self.running.get(&owner).copied().unwrap_or(0)
    }

    /// Returns how many tasks run, of each owner no more than its share.
    fn counted(&self, share: usize) -> usize {
        self.ownerless + self.running.values().map(|running| *running.min(&share)).sum::<usize>()
    }

    /// Returns whether tasks of nobody run, apart from the service's own.
    pub(super) fn ownerless_run(&self) -> bool {
        self.ownerless > self.service
    }

    /// Returns whether tasks of others wait for an owner that has its share.
    pub(super) fn contended(&self) -> bool {
        self.contended
    }

    /// Records whether a look for tasks of others found some.
    pub(super) fn looked(&mut self, looks: Looks, found: bool) {
        (self.looks, self.contended) = (looks, found);
    }

    pub(super) fn looks(&self) -> Looks {
        self.looks
    }

    pub(super) fn is_stalled(&self, now: Instant) -> bool {
        now.duration_since(self.moved) >= STALLED
    }
}

impl Desk {
    /// Takes out the task that begins next, if one may.
    pub(super) fn next_to_begin(&mut self, slots: usize) -> Option<(Claim, Lane)> {
        let passing = self.waiting.passing().iter().position(|waiter| self.may_pass(waiter.lane, slots));
        if let Some(next) = passing.and_then(|index| self.waiting.pop_passing(index)) {
            return Some((next.claim, next.lane));
        }

        if self.running.len() >= slots || self.first_has_its_share(slots) {
            return None;
        }
        self.waiting.pop().map(|claim| (claim, Lane::Line))
    }

    fn may_pass(&self, lane: Lane, slots: usize) -> bool {
        match lane {
            Lane::Line => false,
            Lane::Share => self.free_for_others(slots) > 0,
            Lane::Newcomer => self.running.len() < 2 * slots,
            Lane::Service => self.running.len() < slots || self.shares.service < reserved(slots),
        }
    }

    /// Others wait, and the first of the line has an owner that holds enough.
    fn first_has_its_share(&self, slots: usize) -> bool {
        let owner = || self.waiting.first().and_then(|waiter| waiter.claim.created_by);
        self.shares.contended && owner().is_some_and(|owner| self.shares.of(owner) >= share(slots))
    }

    /// Returns how many tasks of others could begin now.
    pub(super) fn free_for_others(&self, slots: usize) -> usize {
        // One more than a share, so that with a single slot too there is one for others.
        let slots = slots.max(share(slots) + 1);
        slots.saturating_sub(self.shares.counted(share(slots)))
    }

    /// Returns how many tasks of the service itself could begin now.
    pub(super) fn free_for_service(&self, slots: usize) -> usize {
        let on_their_way = self.waiting.passing().iter().filter(|one| one.lane == Lane::Service).count();
        let reserved = reserved(slots).saturating_sub(self.shares.service);
        slots.saturating_sub(self.running.len()).max(reserved).saturating_sub(on_their_way)
    }

    /// Returns what each owner holds, begun or not.
    pub(super) fn held(&self) -> HashMap<UserId, usize> {
        let mut held = self.shares.running.clone();
        for owner in self.waiting.iter().filter_map(|waiter| waiter.claim.created_by) {
            *held.entry(owner).or_default() += 1;
        }
        held
    }
}

fn reserved(slots: usize) -> usize {
    (slots / RESERVED).max(1)
}

#[cfg(test)]
mod tests;
