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

use super::shift::{Desk, Registration, Shift};
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
    place: i64,
}

/// First come, first served.
pub(super) struct Waiting {
    line: VecDeque<Waiter>,
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
        Self { line: VecDeque::new(), next_place: 1, begun_to: 0, noting: false, late: false, window: 1 }
    }
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.line.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiter> {
        self.line.iter()
    }

    pub(super) fn first(&self) -> Option<&Waiter> {
        self.line.front()
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

    pub(super) fn push(&mut self, claims: Vec<Claim>, places: Places, since: Instant) {
        self.begun_to = self.begun_to.max(places.begun_to);
        let waiters =
            claims.into_iter().zip(places.first..).map(|(claim, place)| Waiter { claim, since, place });
        self.line.extend(waiters);
    }

    /// The next that may begin.
    fn pop(&mut self) -> Option<Claim> {
        self.line.pop_front_if(|first| first.place <= self.begun_to).map(|first| first.claim)
    }

    pub(super) fn remove(&mut self, leased: Leased) -> Option<Claim> {
        let index = self.line.iter().position(|waiter| waiter.claim.leased() == leased)?;
        self.line.remove(index).map(|waiter| waiter.claim)
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Claim> {
        self.line.drain(..).map(|waiter| waiter.claim)
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
        while desk.running.len() < slots {
            let Some(claim) = desk.waiting.pop() else { break };
            self.begin(desk, claim);
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
mod tests {
    use super::*;

    const SLOTS: usize = 4;

    fn claims(count: usize, last_chance: bool) -> Vec<Claim> {
        let claim = || Claim { last_chance, ..Claim::example() };
        std::iter::repeat_with(claim).take(count).collect()
    }

    fn take(waiting: &mut Waiting, wanted: usize, free: usize, claims: Vec<Claim>) {
        let places = waiting.reserve(wanted, free);
        waiting.push(claims, places, Instant::now());
    }

    fn begin(waiting: &mut Waiting) -> usize {
        std::iter::from_fn(|| waiting.pop()).count()
    }

    fn noted(waiting: &mut Waiting, to: i64) {
        (waiting.noting, waiting.begun_to) = (false, to);
    }

    #[test]
    fn a_claim_begins_what_there_are_slots_for() {
        let mut waiting = Waiting::default();
        take(&mut waiting, 10, SLOTS, claims(2, false));
        assert_eq!(begin(&mut waiting), 2);
        // Places of tasks that did not come are not used again.
        assert_eq!(waiting.reserve(1, 1), Places { first: 11, begun_to: 11 });
        take(&mut waiting, 10, 2, claims(10, false));
        assert_eq!((begin(&mut waiting), waiting.len()), (2, 8));
        // Others come first.
        assert_eq!(waiting.reserve(5, 3), Places { first: 22, begun_to: 13 });
    }

    #[test]
    fn a_note_is_ahead_of_what_begins_and_goes_farther_when_it_came_too_late() {
        let mut waiting = Waiting::default();
        take(&mut waiting, 100, 0, claims(100, false));
        assert_eq!(waiting.due_note(SLOTS, 0), Some(4));
        assert_eq!((begin(&mut waiting), waiting.due_note(SLOTS, 0)), (0, None), "one at a time");
        noted(&mut waiting, 4);
        assert_eq!(waiting.due_note(SLOTS, 0), None, "enough for now");
        waiting.pop();
        waiting.pop();
        waiting.pop();
        assert_eq!(waiting.due_note(SLOTS, 0), Some(7));
        noted(&mut waiting, 7);
        assert_eq!(begin(&mut waiting), 4);
        assert_eq!(waiting.due_note(SLOTS, 1), Some(15), "a slot had to wait");
        noted(&mut waiting, 15);
        begin(&mut waiting);
        assert_eq!(waiting.due_note(SLOTS, 1), Some(15 + 16), "again");
        assert_eq!(waiting.due_note(SLOTS, 1), None, "a slot waits for the note that is on its way");
        noted(&mut waiting, 31);
        begin(&mut waiting);
        assert_eq!(waiting.due_note(4 * SLOTS, 0), Some(31 + 32));
        noted(&mut waiting, 63);
        assert_eq!((begin(&mut waiting), waiting.len()), (32, 37));
        assert_eq!(waiting.due_note(4 * SLOTS, 0), Some(63 + 31), "less far when it came in time");
        noted(&mut waiting, 94);
        begin(&mut waiting);
        take(&mut waiting, 100, 0, claims(100, false));
        assert_eq!(waiting.due_note(SLOTS, 1).map(|to| to - 94), Some(16), "nor much farther than it has to");
    }

    #[test]
    fn what_has_no_other_chance_is_noted_when_a_slot_is_free_for_it() {
        let mut waiting = Waiting::default();
        take(&mut waiting, 3, 0, claims(2, false));
        take(&mut waiting, 10, 0, claims(10, true));
        assert_eq!(waiting.due_note(SLOTS, 0), Some(2));
        noted(&mut waiting, 2);
        assert_eq!((begin(&mut waiting), waiting.due_note(SLOTS, 0)), (2, None));
        assert_eq!(waiting.due_note(SLOTS, 3), Some(6));
        noted(&mut waiting, 6);
        assert_eq!((begin(&mut waiting), waiting.window), (3, SLOTS));
    }

    #[test]
    fn nothing_is_noted_when_nothing_waits() {
        let mut waiting = Waiting::default();
        assert_eq!(waiting.due_note(SLOTS, SLOTS), None);
        take(&mut waiting, 10, SLOTS, claims(SLOTS, false));
        begin(&mut waiting);
        assert_eq!(waiting.due_note(SLOTS, 0), None);
    }
}
