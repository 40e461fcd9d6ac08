//! What is known of the tasks at hand. It outlives the actor: attempts that run when the actor dies are not lost.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Bell, attempt,
    database_clock::DatabaseClock,
    fetch::Claiming,
    outbox::Outbox,
    payloads::Payloads,
    rate::Rate,
    report::Reports,
    running::Running,
    settings::Settings,
    shares::{Lane, Shares},
    stock::Stock,
    waiting::Waiting,
};
use crate::{
    actors::coalesce::Coalesce,
    db::{Pool, queue::Places},
    domain::attempt::{Claim, Leased, WorkerId},
    tasks::{Registry, Services},
};

/// How long the tasks that are claimed ahead may keep this worker busy.
const AHEAD: Duration = Duration::from_millis(200);
/// Tasks that are claimed ahead for each that runs, at most: nobody else runs them meanwhile.
const AHEAD_PER_SLOT: usize = 128;
const AHEAD_AT_MOST: usize = 2_000;
/// Outcomes that wait to be written, at most; past it, nothing is claimed.
const UNREPORTED_AT_MOST: usize = 5_000;

/// How much is at hand, and what was done since the process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Attempts under way.
    pub running: usize,
    /// Tasks claimed and not yet begun.
    pub waiting: usize,
    /// Outcomes that are not yet written.
    pub reporting: usize,
    /// Attempts that ended, in whatever way.
    pub ended: u64,
    /// Outcomes that were thrown away, because the task had been taken from this worker.
    pub stale: u64,
    /// How often the lease was lost.
    pub leases_lost: u64,
}

/// A process's work on tasks. Cheap to clone.
#[derive(Clone)]
pub struct Shift(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) pool: Pool,
    pub(super) registry: Registry,
    pub(super) services: Arc<Services>,
    pub(super) settings: Settings,
    pub(super) bell: Bell,
    pub(super) claiming: tokio::sync::Mutex<Claiming>,
    pub(super) reports: Reports,
    pub(super) outbox: Outbox,
    pub(super) payloads: Coalesce<Payloads>,
    pub(super) database_clock: DatabaseClock,
    /// Rung when there is room for more tasks.
    pub(super) room: Notify,
    /// Rung when an attempt or a report ended.
    pub(super) progress: Notify,
    /// It is over: nothing is claimed, nothing runs, the worker is not registered any more.
    pub(super) over: CancellationToken,
    desk: Mutex<Desk>,
}

pub(super) struct Desk {
    pub(super) registration: Option<Registration>,
    pub(super) waiting: Waiting,
    pub(super) running: HashMap<Leased, Running>,
    /// Whose outcomes are not yet written; and whether only so many of their type may run.
    pub(super) reporting: HashMap<Leased, bool>,
    pub(super) stock: Stock,
    pub(super) shares: Shares,
    pub(super) draining: bool,
    pub(super) standing: Standing,
    rate: Rate,
    /// Tasks to claim beyond those that can begin at once.
    pub(super) ahead: usize,
}

/// Under which the worker is known to the others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Registration {
    pub(super) id: WorkerId,
    /// When the last sign of life was sent that arrived, by this process's monotonic clock.
    pub(super) alive: Instant,
}

impl fmt::Debug for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shift")
            .field("settings", &self.0.settings)
            .field("standing", &self.standing())
            .finish()
    }
}

impl Shift {
    /// Nothing happens before a [`super::TaskWorker`] is on it. `pool` is for the queue's own statements: handlers must
    /// not be able to use it up, or they would silence their own worker.
    pub fn new(pool: Pool, registry: Registry, services: Arc<Services>, settings: Settings) -> Self {
        let now = Instant::now();
        let desk = Desk {
            registration: None,
            waiting: Waiting::default(),
            running: HashMap::new(),
            reporting: HashMap::new(),
            stock: Stock::new(now),
            shares: Shares::new(now),
            draining: false,
            standing: Standing::default(),
            rate: Rate::new(now),
            ahead: 0,
        };
        Self(Arc::new(Inner {
            reports: Reports::new(&pool),
            outbox: Outbox::default(),
            payloads: Payloads::of(&pool),
            database_clock: DatabaseClock::default(),
            pool,
            registry,
            services,
            settings,
            bell: Bell::default(),
            claiming: tokio::sync::Mutex::default(),
            room: Notify::new(),
            progress: Notify::new(),
            over: CancellationToken::new(),
            desk: Mutex::new(desk),
        }))
    }

    /// What wakes it.
    pub fn bell(&self) -> Bell {
        self.0.bell.clone()
    }

    /// How much is at hand.
    pub fn standing(&self) -> Standing {
        let desk = self.desk();
        let (running, waiting, reporting) = (desk.running.len(), desk.waiting.len(), desk.reporting.len());
        Standing { running, waiting, reporting, ..desk.standing }
    }

    pub(super) fn desk(&self) -> MutexGuard<'_, Desk> {
        // Nothing in here can leave the desk half-changed, so a poisoned lock is as good as a sound one.
        self.0.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many tasks to claim now: none, unless that is worth a statement.
    pub(super) fn room(&self) -> usize {
        let slots = self.0.settings.concurrency;
        let mut desk = self.desk();
        desk.ahead = desk.rate.within(AHEAD, Instant::now()).min(slots * AHEAD_PER_SLOT).min(AHEAD_AT_MOST);
        if self.is_late(&desk) { 0 } else { desk.room(slots) }
    }

    /// No sign of life for so long that what is claimed now may be rescued before it ends.
    pub(super) fn is_late(&self, desk: &Desk) -> bool {
        let late = |now: Registration| now.alive.elapsed() >= self.0.settings.lease * 2 / 3;
        desk.registration.is_some_and(late)
    }

    /// How many tasks could begin at once.
    pub(super) fn free_slots(&self) -> usize {
        let desk = self.desk();
        self.0.settings.concurrency.saturating_sub(desk.running.len() + desk.waiting.len())
    }

    /// Begins what was claimed, or keeps it until a slot is free. Or tells that it is to go back.
    pub(super) fn take(&self, claims: Vec<Claim>, places: Places, lane: Lane) -> bool {
        let Some(first) = claims.first() else { return true };
        let (lease, worker_id) = (first.lease, first.worker_id);
        let mut desk = self.desk();
        let ours = desk.registration.is_some_and(|now| now.id == worker_id);
        if ours {
            desk.stock.note(lease);
        }
        if desk.draining || !ours {
            desk.stock.put(claims.iter().map(Claim::leased));
            return false;
        }
        let now = Instant::now();
        if desk.running.is_empty() {
            desk.rate.rested(now);
        }
        desk.waiting.push(claims, places, lane, now);
        self.fill_slots(&mut desk);
        true
    }

    pub(super) fn begin(&self, desk: &mut Desk, claim: Claim, lane: Lane) {
        let stop = CancellationToken::new();
        let (progress, seen) = watch::channel(None);
        let running = Running {
            worker_id: claim.worker_id,
            owner: claim.created_by,
            lane,
            since: Instant::now(),
            timeout: claim.timeout,
            limited: self.is_limited(&claim),
            stop: stop.clone(),
            reason: None,
            progress: seen,
        };
        desk.shares.began(&running);
        desk.running.insert(claim.leased(), running);
        attempt::begin(self.clone(), claim, stop, progress);
    }

    pub(super) fn is_limited(&self, claim: &Claim) -> bool {
        self.0.registry.get(&claim.task_type).is_some_and(|known| known.max_running.is_some())
    }

    /// The attempt is over, and its outcome about to be written. `None`: it was given up before.
    pub(super) fn leave(&self, leased: &Leased) -> Option<Running> {
        let (left, wanted) = {
            let mut desk = self.desk();
            let left = desk.running.remove(leased)?;
            desk.reporting.insert(*leased, left.limited);
            desk.shares.ended(&left, Instant::now());
            desk.standing.ended += 1;
            desk.rate.count();
            self.fill_slots(&mut desk);
            let wanted = desk.room(self.0.settings.concurrency) > 0 || desk.shares.contended();
            (left, wanted)
        };
        if wanted {
            self.0.room.notify_one();
        }
        if left.lane == Lane::Service {
            self.0.bell.service();
        }
        Some(left)
    }

    /// These outcomes are written, or never will be; and whether they came too late.
    pub(super) fn reported(&self, outcomes: impl IntoIterator<Item = (Leased, bool)>) {
        let (mut late, mut others_may_run) = (Vec::new(), false);
        let (was_full, draining) = {
            let mut desk = self.desk();
            let was_full = desk.reporting.len() >= UNREPORTED_AT_MOST;
            for (leased, stale) in outcomes {
                others_may_run |= desk.reporting.remove(&leased) == Some(true);
                if stale {
                    late.push(leased.0);
                }
            }
            desk.standing.stale += late.len() as u64;
            (was_full, desk.draining)
        };
        for task_id in late {
            log::warn!(task_id:%; "an outcome came too late");
        }
        if others_may_run {
            self.0.bell.due();
        }
        if was_full {
            self.0.room.notify_one();
        }
        if draining {
            self.0.progress.notify_one();
        }
    }
}

impl Desk {
    pub(super) fn may_claim(&self) -> bool {
        !self.draining && self.registration.is_some() && self.reporting.len() < UNREPORTED_AT_MOST
    }

    fn room(&self, slots: usize) -> usize {
        if !self.may_claim() {
            return 0;
        }
        let free = slots.saturating_sub(self.running.len());
        // What is claimed ahead keeps to half of that, while others wait.
        let ahead = if self.shares.contended() { self.ahead / 2 } else { self.ahead };
        let room = (free + ahead).saturating_sub(self.waiting.len());
        if room > ahead / 2 { room } else { 0 }
    }
}
