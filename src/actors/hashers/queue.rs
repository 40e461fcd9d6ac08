//! The queue in front of the hashing threads: bounded, and shared so that a flood of registrations does not keep
//! people from logging in.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::domain::{Error, Result};

/// Which part of the queue a job waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Log-ins and whatever else somebody does who has an account.
    Accounts,
    /// Registration: anybody can start it, so it gets a small part.
    Registration,
}

/// How much may wait, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Jobs of [`Share::Accounts`].
    pub(super) accounts: usize,
    /// Jobs of [`Share::Registration`].
    pub(super) registration: usize,
    /// A job that waited longer is not begun.
    pub(super) patience: Duration,
}

impl Limits {
    pub(super) const USUAL: Self = Self { accounts: 64, registration: 16, patience: Duration::from_secs(2) };
}

/// Of this many jobs in a row, one is a registration if any waits.
const TURNS: u32 = 4;

/// Something to do on a hashing thread.
pub(super) trait Work<B>: Send {
    /// Nobody waits for it any more.
    fn is_abandoned(&self) -> bool;
    /// It is not done, and whoever waits is told so.
    fn refuse(self: Box<Self>, why: Error);
    /// Does it. Never panics.
    fn run(self: Box<Self>, bench: &mut B);
}

struct Job<B> {
    queued: Instant,
    work: Box<dyn Work<B>>,
}

/// What a thread is to do next.
pub(super) enum Next<B> {
    /// This.
    Work(Box<dyn Work<B>>),
    /// Nothing came for as long as it was willing to wait.
    Idle,
    /// End.
    Closed,
}

/// The queue.
pub(super) struct Queue<B> {
    limits: Limits,
    state: Mutex<State<B>>,
    wake: Condvar,
}

struct State<B> {
    accounts: VecDeque<Job<B>>,
    registration: VecDeque<Job<B>>,
    turn: u32,
    open: bool,
}

impl<B> State<B> {
    fn share(&mut self, share: Share) -> &mut VecDeque<Job<B>> {
        match share {
            Share::Accounts => &mut self.accounts,
            Share::Registration => &mut self.registration,
        }
    }

    fn take(&mut self) -> Option<Job<B>> {
        self.turn = (self.turn + 1) % TURNS;
        if self.turn == 0 || self.accounts.is_empty() {
            self.registration.pop_front().or_else(|| self.accounts.pop_front())
        } else {
            self.accounts.pop_front()
        }
    }
}

impl<B> Queue<B> {
    pub(super) fn new(limits: Limits) -> Self {
        let state = State { accounts: VecDeque::new(), registration: VecDeque::new(), turn: 0, open: true };
        Self { limits, state: Mutex::new(state), wake: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when its share is full, [`Error::Unavailable`] after [`Self::close`].
    pub(super) fn push(&self, share: Share, work: Box<dyn Work<B>>) -> Result<()> {
        let mut state = self.state();
        self.place(&mut state, share)?.push_back(Job { queued: Instant::now(), work });
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Whether a job would be taken now.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub(super) fn has_room(&self, share: Share) -> Result<()> {
        self.place(&mut self.state(), share).map(drop)
    }

    /// Where the next job of this share goes.
    fn place<'a>(&self, state: &'a mut State<B>, share: Share) -> Result<&'a mut VecDeque<Job<B>>> {
        let bound = match share {
            Share::Accounts => self.limits.accounts,
            Share::Registration => self.limits.registration,
        };
        if !state.open {
            return Err(Error::Unavailable { what: "password hashing", cause: None });
        }
        let jobs = state.share(share);
        if jobs.len() >= bound {
            jobs.retain(|job| !job.work.is_abandoned());
        }
        if jobs.len() < bound { Ok(jobs) } else { Err(Error::Overloaded) }
    }

    /// Waits for something to do, at most `idle` if given. Jobs that nobody waits for are dropped, and those that waited
    /// too long are refused: an answer after that would only keep the queue long.
    pub(super) fn next(&self, idle: Option<Duration>) -> Next<B> {
        loop {
            match self.take(idle) {
                Err(nothing) => return nothing,
                Ok(job) if job.work.is_abandoned() => {}
                Ok(job) if job.queued.elapsed() > self.limits.patience => job.work.refuse(Error::Overloaded),
                Ok(job) => return Next::Work(job.work),
            }
        }
    }

    fn take(&self, idle: Option<Duration>) -> std::result::Result<Job<B>, Next<B>> {
        let mut state = self.state();
        let mut timed_out = false;
        loop {
            if let Some(job) = state.take() {
                return Ok(job);
            }
            if !state.open {
                return Err(Next::Closed);
            }
            if timed_out {
                return Err(Next::Idle);
            }
            match idle {
                None => state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(idle) => {
                    let woken = self.wake.wait_timeout(state, idle).unwrap_or_else(PoisonError::into_inner);
                    timed_out = woken.1.timed_out();
                    state = woken.0;
                }
            }
        }
    }

    /// Takes nothing more. What waits is still done, then the threads end.
    pub(super) fn close(&self) {
        self.state().open = false;
        self.wake.notify_all();
    }

    /// Jobs that wait.
    pub(super) fn waiting(&self) -> usize {
        let state = self.state();
        state.accounts.len() + state.registration.len()
    }

    /// Jobs that may wait.
    pub(super) fn capacity(&self) -> usize {
        self.limits.accounts + self.limits.registration
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use super::*;

    const LIMITS: Limits = Limits { accounts: 5, registration: 2, patience: Duration::from_secs(3600) };

    /// Writes its name down when run, "refused" when refused.
    struct Note {
        name: &'static str,
        abandoned: Arc<AtomicBool>,
        refused: Arc<AtomicBool>,
    }

    fn note(name: &'static str) -> Note {
        Note { name, abandoned: Arc::default(), refused: Arc::default() }
    }

    impl Work<Vec<&'static str>> for Note {
        fn is_abandoned(&self) -> bool {
            self.abandoned.load(Ordering::Relaxed)
        }
        fn refuse(self: Box<Self>, why: Error) {
            assert!(matches!(why, Error::Overloaded));
            self.refused.store(true, Ordering::Relaxed);
        }
        fn run(self: Box<Self>, notes: &mut Vec<&'static str>) {
            notes.push(self.name);
        }
    }

    fn drain(queue: &Queue<Vec<&'static str>>) -> Vec<&'static str> {
        let mut notes = Vec::new();
        while let Next::Work(work) = queue.next(Some(Duration::ZERO)) {
            work.run(&mut notes);
        }
        notes
    }

    #[test]
    fn each_share_is_bounded_by_itself() {
        let queue = Queue::new(LIMITS);
        for _ in 0..2 {
            queue.push(Share::Registration, Box::new(note("registration"))).unwrap();
        }
        let full = queue.push(Share::Registration, Box::new(note("registration")));
        assert!(matches!(full, Err(Error::Overloaded)));
        for _ in 0..5 {
            queue.push(Share::Accounts, Box::new(note("account"))).unwrap();
        }
        assert!(matches!(queue.push(Share::Accounts, Box::new(note("account"))), Err(Error::Overloaded)));
        assert_eq!((queue.waiting(), queue.capacity()), (7, 7));
    }

    #[test]
    fn registrations_get_every_fourth_turn_and_all_turns_that_nobody_else_wants() {
        let queue = Queue::new(LIMITS);
        for name in ["r1", "r2"] {
            queue.push(Share::Registration, Box::new(note(name))).unwrap();
        }
        for name in ["a1", "a2", "a3", "a4", "a5"] {
            queue.push(Share::Accounts, Box::new(note(name))).unwrap();
        }
        assert_eq!(drain(&queue), ["a1", "a2", "a3", "r1", "a4", "a5", "r2"]);
    }

    #[test]
    fn a_job_that_nobody_waits_for_is_skipped_and_makes_room() {
        let queue = Queue::new(LIMITS);
        let (first, second) = (note("gone"), note("gone too"));
        let gone = [Arc::clone(&first.abandoned), Arc::clone(&second.abandoned)];
        queue.push(Share::Registration, Box::new(first)).unwrap();
        queue.push(Share::Registration, Box::new(second)).unwrap();
        gone.iter().for_each(|flag| flag.store(true, Ordering::Relaxed));
        queue.push(Share::Registration, Box::new(note("new"))).unwrap();
        assert_eq!(drain(&queue), ["new"]);
    }

    #[test]
    fn a_job_that_waited_too_long_is_refused_instead_of_begun() {
        let queue = Queue::new(Limits { patience: Duration::ZERO, ..LIMITS });
        let late = note("late");
        let refused = Arc::clone(&late.refused);
        queue.push(Share::Accounts, Box::new(late)).unwrap();
        assert!(drain(&queue).is_empty());
        assert!(refused.load(Ordering::Relaxed));
    }

    #[test]
    fn a_closed_queue_takes_nothing_and_finishes_what_waits() {
        let queue = Queue::new(LIMITS);
        queue.push(Share::Accounts, Box::new(note("before"))).unwrap();
        queue.close();
        let after = queue.push(Share::Accounts, Box::new(note("after")));
        assert!(matches!(after, Err(Error::Unavailable { .. })));
        assert_eq!(drain(&queue), ["before"]);
        assert!(matches!(queue.next(None), Next::Closed));
    }
}
