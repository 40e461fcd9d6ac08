//! Tasks that were claimed and wait here for a slot; and which of them may begin.
//!
//! When the process is killed, the database must know which of its tasks may have begun, for only these lost an attempt.
//! So a task begins when the database has in writing that it may: by its claim, if a slot was free then, else by a note of
//! the place up to which the worker begins. A note is written ahead of the tasks, so that none waits for it: so far
//! ahead that half of it lasts until the next is there. Only a task that has no other chance is never noted before a slot
//! is free for it: one that waited is not to fail because its worker was killed.

use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;

use super::{
    shares::Lane,
    shift::{Desk, Registration, Shift},
};
use crate::{
    db::queue::{self, Places},
    domain::{
        Error,
        attempt::{Claim, Leased, WorkerId},
    },
};

/// Notes for what is claimed ahead, at most: more of them would cost more than they spare a few tasks.
const NOTES_AHEAD: usize = 8;
/// How much farther ahead a note may go than it has to.
const FARTHER: usize = 4;
/// Tasks that may begin before they do, at most.
const WINDOW_AT_MOST: usize = 1_000;
const RETRY: Duration = Duration::from_millis(100);

/// A claimed task, and since when it waits.
pub(super) struct Waiter {
    pub(super) claim: Claim,
    pub(super) since: Instant,
    pub(super) lane: Lane,
    place: i64,
}

/// First come, first served, but for those who pass the line.
pub(super) struct Waiting {
    line: VecDeque<Waiter>,
    /// Those who do not wait in line: claimed when a slot was free for them, and noted as begun by their claim.
    passing: VecDeque<Waiter>,
    /// Where the next claim begins. Never goes back, whatever became of a claim, nor with a new registration.
    next_place: i64,
    /// Up to which place tasks may begin.
    begun_to: i64,
    /// A note is on its way.
    noting: bool,
    /// A slot was free since the last note, and its task waited for the next.
    late: bool,
    /// How many tasks a note is ahead.
    window: usize,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            line: VecDeque::new(),
            passing: VecDeque::new(),
            next_place: 1,
            begun_to: 0,
            noting: false,
            late: false,
            window: 1,
        }
    }
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.line.len() + self.passing.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiter> {
        self.passing.iter().chain(&self.line)
    }

    /// The first of the line.
    pub(super) fn first(&self) -> Option<&Waiter> {
        self.line.front()
    }

    pub(super) fn passing(&self) -> &VecDeque<Waiter> {
        &self.passing
    }

    /// Since when the one has waited that came first.
    pub(super) fn longest(&self) -> Option<Instant> {
        let passing = self.passing.front().map(|waiter| waiter.since);
        self.line.front().map(|waiter| waiter.since).into_iter().chain(passing).min()
    }

    /// Places for a claim of so many tasks, when so many slots are free.
    pub(super) fn reserve(&mut self, at_most: usize, free: usize) -> Places {
        let first = self.next_place;
        let place = |n: usize| first.saturating_add(i64::try_from(n).unwrap_or(i64::MAX));
        self.next_place = place(at_most);
        // Others come first, and not all of them may begin.
        let begun_to = if self.line.is_empty() { place(free.min(at_most)) - 1 } else { self.begun_to };
        Places { first, begun_to }
    }

    /// Places for a claim of so many tasks that pass the line. All of them may begin, which says nothing of the line.
    pub(super) fn reserve_passing(&mut self, at_most: usize) -> Places {
        let first = self.next_place;
        self.next_place = first.saturating_add(i64::try_from(at_most).unwrap_or(i64::MAX));
        Places { first, begun_to: self.next_place - 1 }
    }

    pub(super) fn push(&mut self, claims: Vec<Claim>, places: Places, lane: Lane, since: Instant) {
        let waiters =
            claims.into_iter().zip(places.first..).map(|(claim, place)| Waiter { claim, since, lane, place });
        if lane == Lane::Line {
            self.begun_to = self.begun_to.max(places.begun_to);
            self.line.extend(waiters);
        } else {
            self.passing.extend(waiters);
        }
    }

    /// The one at this place among those that pass the line.
    pub(super) fn pop_passing(&mut self, index: usize) -> Option<Waiter> {
        self.passing.remove(index)
    }

    /// The next of the line that may begin.
    pub(super) fn pop(&mut self) -> Option<Claim> {
        self.line.pop_front_if(|first| first.place <= self.begun_to).map(|first| first.claim)
    }

    pub(super) fn remove(&mut self, leased: Leased) -> Option<Claim> {
        [&mut self.passing, &mut self.line].into_iter().find_map(|waiters| {
            let index = waiters.iter().position(|waiter| waiter.claim.leased() == leased)?;
            waiters.remove(index).map(|waiter| waiter.claim)
        })
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Claim> {
        self.passing.drain(..).chain(self.line.drain(..)).map(|waiter| waiter.claim)
    }

    /// The place to note, if it is time for it: at least so many tasks ahead, when so many slots are free.
    fn due_note(&mut self, at_least: usize, free: usize) -> Option<i64> {
        self.late |= free > 0 && self.line.front().is_some_and(|first| !first.claim.last_chance);
        if self.noting {
            return None;
        }
        let may_begin = self.line.partition_point(|waiter| waiter.place <= self.begun_to);
        let window = if self.late { self.window * 2 } else { self.window - self.window / 32 };
        let window = window.clamp(at_least, at_least * FARTHER).min(WINDOW_AT_MOST);
        if may_begin > 0 && may_begin >= window / 2 {
            return None;
        }
        let with_a_slot = |index: usize| index < free;
        let (_, last) = (may_begin..)
            .zip(self.line.range(may_begin..))
            .take(free.max(window) - may_begin)
            .take_while(|(index, waiter)| with_a_slot(*index) || !waiter.claim.last_chance)
            .last()?;
        let to = last.place;
        (self.noting, self.late, self.window) = (true, false, window);
        Some(to)
    }
}

impl Shift {
    /// Places for a claim of so many tasks.
    pub(super) fn places(&self, at_most: usize) -> Places {
        let mut desk = self.desk();
        let free = self.0.settings.concurrency.saturating_sub(desk.running.len());
        desk.waiting.reserve(at_most, free)
    }

    /// Begins what may begin while slots are free, and has noted what may begin next.
    pub(super) fn fill_slots(&self, desk: &mut Desk) {
        let slots = self.0.settings.concurrency;
        while let Some((claim, lane)) = desk.next_to_begin(slots) {
            self.begin(desk, claim, lane);
        }
        let Some(Registration { id, .. }) = desk.registration else { return };
        let free = slots.saturating_sub(desk.running.len());
        if let Some(to) = desk.waiting.due_note(slots.max(desk.ahead / NOTES_AHEAD), free) {
            tokio::spawn(note(self.clone(), id, to));
        }
    }
}

async fn note(shift: Shift, worker_id: WorkerId, to: i64) {
    let note = async { queue::note_begun(&mut *shift.0.pool.get().await?, worker_id, to).await };
    let noted = AssertUnwindSafe(note).catch_unwind().await;
    let noted = noted.unwrap_or_else(|_| Err(Error::internal("noting what begins panicked")));
    match &noted {
        Ok(true) => {}
        Ok(false) => shift.lose(worker_id, "it was given up by the others"),
        Err(error) => {
            log::warn!(error:% = error; "tasks cannot begin: that could not be noted");
            tokio::time::sleep(RETRY).await;
        }
    }
    let mut desk = shift.desk();
    desk.waiting.noting = false;
    if matches!(noted, Ok(true)) {
        desk.waiting.begun_to = desk.waiting.begun_to.max(to);
    }
    shift.fill_slots(&mut desk);
}

#[cfg(test)]
mod tests;
