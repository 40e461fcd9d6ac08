//! Claiming due tasks: as many as there is room for, and a few ahead.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use tokio::time::timeout;

use super::{
    bookmark::Bookmarks,
    relief::LOOK_EVERY,
    shares::Lane,
    shift::{Registration, Shift},
};
use crate::{
    db::{
        Connection, PooledConnection,
        queue::{self, Places, Wanted},
    },
    domain::{
        Result,
        attempt::{Claim, Lease, WorkerId},
    },
};

/// How often types with a limit are looked for while other tasks keep the worker busy.
const LIMITED_EVERY: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// One round of claims at a time; what the next must know of those before.
#[derive(Default)]
pub(super) struct Claiming {
    /// The queue to begin with, so that a full one does not starve the others.
    turn: usize,
    limited_at: Option<Instant>,
    /// Whether types with a limit came first when they were last overdue: they and the others take turns.
    limited_first: bool,
    bookmarks: Bookmarks,
}

/// Claims whenever there is room and reason to look, until the shift is over; the actor has it for as long as it lives.
pub(super) async fn keep_fetching(shift: Shift) {
    let (mut pause, poll) = (FIRST_PAUSE, shift.0.settings.poll);
    while !shift.0.over.is_cancelled() {
        // Armed before looking: whoever rings while the statement is under way makes it look again.
        let mut rung = pin!(shift.0.bell.hear_due());
        rung.as_mut().enable();
        if shift.room() == 0 && shift.relief().is_none() {
            // Not for ever: another loop, whose actor hung and came back, may hear of it in place of this one. And others
            // than those who have the slots may wait.
            let room = timeout(poll.min(LOOK_EVERY), shift.0.room.notified());
            shift.0.over.run_until_cancelled(room).await;
            // Others that are ready to end go first: one claim makes up for all of them.
            tokio::task::yield_now().await;
            continue;
        }
        // By itself, so that an answer is not lost with the actor.
        let round = tokio::spawn(round(shift.clone())).await;
        let next_look = match round {
            Ok(Ok(Found::Plenty)) => {
                pause = FIRST_PAUSE;
                continue;
            }
            Ok(Ok(Found::Little)) => {
                pause = FIRST_PAUSE;
                poll.mul_f64(0.75 + rand::random::<f64>() / 2.0)
            }
            Ok(Err(error)) => {
                log::warn!(error:% = error; "no tasks could be claimed");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
            Err(panic) => {
                log::error!(error:% = panic; "claiming tasks failed");
                LONGEST_PAUSE
            }
        };
        tokio::select! {
            () = rung => {}
            () = tokio::time::sleep(next_look) => {}
            () = shift.0.over.cancelled() => {}
        }
    }
    // The actor would end with this, and it still has the drain to answer for.
    std::future::pending().await
}

/// What a round of claims found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// As much as was asked for, which may have been nothing: there may be more.
    Plenty,
    /// Less.
    Little,
}

async fn round(shift: Shift) -> Result<Found> {
    let mut claiming = shift.0.claiming.lock().await;
    let registration = shift.desk().registration;
    let (room, relief) = (shift.room(), shift.relief());
    let Some(Registration { id: worker_id, .. }) = registration.filter(|_| room > 0 || relief.is_some())
    else {
        return Ok(Found::Plenty);
    };

    shift.take_stock_if_due(&mut claiming).await?;
    let mut connection = shift.0.pool.get().await?;
    shift.settle_if_worth_it(&mut claiming, &mut connection, worker_id).await?;
    let mut visit = Visit { shift: &shift, worker_id, connection, left: room };
    if let Some(relief) = relief {
        visit.relieve(claiming.turn, relief).await?;
        visit.left = shift.room();
        if visit.left == 0 {
            claiming.turn = claiming.turn.wrapping_add(1);
            return Ok(Found::Plenty);
        }
    }

    let overdue = claiming.limited_at.get_or_insert_with(Instant::now).elapsed() >= LIMITED_EVERY;
    claiming.limited_first ^= overdue;
    let limited_first = overdue && claiming.limited_first;
    claiming.turn = claiming.turn.wrapping_add(1);
    if limited_first {
        visit.limited(&mut claiming).await?;
    }
    visit.unlimited(&mut claiming).await?;
    if !limited_first && visit.left > 0 {
        visit.limited(&mut claiming).await?;
    }
    Ok(if visit.left == 0 { Found::Plenty } else { Found::Little })
}

/// Whether a queue may have more than a claim brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// It did not begin at the front.
    Again,
    Done,
}

/// One round of claims.
pub(super) struct Visit<'a> {
    pub(super) shift: &'a Shift,
    pub(super) worker_id: WorkerId,
    pub(super) connection: PooledConnection<'a>,
    left: usize,
}

impl<'a> Visit<'a> {
    /// Another one first each time.
    pub(super) fn queues(&self, turn: usize) -> impl Iterator<Item = &'a String> + use<'a> {
        let queues = self.shift.0.settings.users_queues();
        let count = queues.len();
        queues.cycle().skip(turn % count.max(1)).take(count)
    }

    async fn unlimited(&mut self, claiming: &mut Claiming) -> Result<()> {
        let types = self.shift.unlimited_types();
        for queue in self.queues(claiming.turn) {
            if self.left == 0 {
                break;
            }
            while self.left > 0 && self.look(claiming, queue, &types).await? == Look::Again {}
        }
        Ok(())
    }

    /// One claim, from the bookmark or from the front.
    async fn look(&mut self, claiming: &mut Claiming, queue: &str, types: &[&str]) -> Result<Look> {
        let (lease, wanted, began) = (Lease::draw(), self.left, Instant::now());
        let whence = claiming.bookmarks.whence(queue, began);
        let (connection, worker_id) = (&mut self.connection, self.worker_id);
        let places = self.shift.places(wanted);
        let what = Wanted { queue, task_types: types, limited: None, at_most: wanted, whence, places };
        let plans = self.shift.0.pool.plans();
        let claimed = queue::claim_from(connection, plans, worker_id, lease, what).await;
        match &claimed {
            Ok(claims) if claims.len() == wanted => {
                claiming.bookmarks.put(queue, whence, claims, began, Instant::now());
            }
            _ => claiming.bookmarks.remove(queue),
        }
        self.keep(claimed, places).await?;
        Ok(if whence.is_some() { Look::Again } else { Look::Done })
    }

    async fn limited(&mut self, claiming: &mut Claiming) -> Result<()> {
        let shift = self.shift;
        let limits = |name: &str| shift.0.registry.get(name).and_then(|known| known.max_running);
        let known = shift.0.registry.known().map(|known| known.task_type);
        let types: Vec<&str> = known.filter(|name| limits(name).is_some()).collect();
        claiming.limited_at = Some(Instant::now());
        if types.is_empty() {
            return Ok(());
        }
        for queue in self.queues(claiming.turn) {
            let mut found = queue::peek(&mut self.connection, queue, &types).await?;
            let first = claiming.turn % found.len().max(1);
            found.rotate_left(first);
            for found in found {
                let Some(limit) = limits(&found).filter(|_| self.left > 0) else { continue };
                let (lease, limited) = (Lease::draw(), (found.as_str(), limit));
                let (connection, worker_id) = (&mut self.connection, self.worker_id);
                // What waits here counts as running, and keeps others from it.
                let at_most = self.left.min(shift.free_slots().max(1));
                let places = self.shift.places(at_most);
                let claimed =
                    queue::claim_limited(connection, worker_id, lease, queue, limited, at_most, places).await;
                self.keep(claimed, places).await?;
            }
        }
        Ok(())
    }

    /// A claim whose answer never came may have been made all the same.
    async fn keep(&mut self, claimed: Result<Vec<Claim>>, places: Places) -> Result<()> {
        let claims = claimed.inspect_err(|_| self.shift.desk().stock.doubt())?;
        self.left = self.left.saturating_sub(claims.len());
        self.shift.take_or_return(&mut self.connection, claims, places, Lane::Line).await
    }
}

impl Shift {
    /// The types that any number of may run.
    pub(super) fn unlimited_types(&self) -> Vec<&'static str> {
        let known = self.0.registry.known();
        known.filter(|known| known.max_running.is_none()).map(|known| known.task_type).collect()
    }

    /// Takes what was claimed, or gives it back at once where it may not be begun here.
    pub(super) async fn take_or_return(
        &self,
        connection: &mut Connection,
        claims: Vec<Claim>,
        places: Places,
        lane: Lane,
    ) -> Result<()> {
        if !self.take(claims, places, lane) {
            self.try_return(connection).await.inspect_err(|_| self.desk().stock.doubt())?;
        }
        Ok(())
    }
}
