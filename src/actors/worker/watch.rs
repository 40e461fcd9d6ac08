//! Looking after what runs: whether somebody called it off, how far it is, whether its handler hangs.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    attempt::GRACE,
    report::Ending,
    running::{Reason, Running},
    shift::Shift,
};
use crate::{
    db::queue::{self, Interference, Stopping},
    domain::{
        Result,
        attempt::{Leased, Stopped},
    },
};

/// A task that is called off hears of it within this, also when no notification comes.
const INTERVAL: Duration = Duration::from_millis(400);
/// Attempts that end sooner are not worth a question.
const WORTH_ASKING: Duration = Duration::from_millis(200);
/// A task that was claimed ahead and did not begin within this goes back: another worker may be free.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// A handler that takes this long beyond its time and its grace does not yield to others; it is given up.
const HANGS: Duration = Duration::from_secs(10);

/// Watches until the shift is over.
pub(super) async fn keep_watch(shift: Shift) {
    while !shift.0.over.is_cancelled() {
        let mut rung = pin!(shift.0.bell.hear_cancelled());
        rung.as_mut().enable();
        let rings = tokio::select! {
            () = rung => true,
            () = tokio::time::sleep(INTERVAL) => false,
            () = shift.0.over.cancelled() => break,
        };
        let at_least = if rings { Duration::ZERO } else { WORTH_ASKING };
        if let Err(error) = ask(&shift, at_least).await {
            log::warn!(error:% = error; "running tasks could not be looked after");
        }
        let progress = shift.new_progress();
        if !progress.is_empty() && shift.write_progress(&progress).await {
            shift.progress_is_written(&progress);
        }
        shift.return_what_waits_too_long().await;
        // By itself: it keeps others from claiming, which it must not do for as long as this thread may hang.
        let stock = shift.clone();
        if let Err(panic) = tokio::spawn(async move { stock.take_stock_between_claims().await }).await {
            log::error!(error:% = panic; "taking stock failed");
        }
        shift.give_up_what_hangs();
    }
}

/// Asks the database about tasks that run or wait here for at least this long.
async fn ask(shift: &Shift, at_least: Duration) -> Result<()> {
    let leased: Vec<Leased> = {
        let (desk, now) = (shift.desk(), Instant::now());
        let old = |since: Instant| now.duration_since(since) >= at_least;
        let running =
            desk.running.iter().filter(|(_, running)| running.reason.is_none() && old(running.since));
        let waiting =
            desk.waiting.iter().filter(|waiter| old(waiter.since)).map(|waiter| waiter.claim.leased());
        running.map(|(leased, _)| *leased).chain(waiting).collect()
    };
    if leased.is_empty() {
        return Ok(());
    }
    let told = queue::watch(&mut *shift.0.pool.get().await?, &leased).await?;
    for (leased, interference) in told {
        shift.interfere(leased, interference);
    }
    Ok(())
}

impl Shift {
    /// Tells the attempt to stop, or does not begin it.
    fn interfere(&self, leased: Leased, interference: Interference) {
        let mut desk = self.desk();
        log::info!(task_id:% = leased.0, interference:?; "a task is told to stop");
        if let Some(running) = desk.running.get_mut(&leased) {
            running.tell_to_stop(match interference {
                Interference::CancelRequested => Reason::CalledOff,
                Interference::TakenAway => Reason::Interrupted,
            });
            return;
        }
        let Some(claim) = desk.waiting.remove(leased) else { return };
        if interference == Interference::CancelRequested {
            desk.reporting.insert(leased, self.is_limited(&claim));
            let (shift, how) = (self.clone(), Stopped::Cancelled);
            let ending = Ending::Stopped(Stopping { how, why: None, delay: Duration::ZERO, times: None });
            tokio::spawn(async move { shift.report(leased, claim.worker_id, ending).await });
        }
    }

    /// It stays new until it is written: an attempt that ends in between writes it itself.
    fn new_progress(&self) -> Vec<(Leased, Value)> {
        let desk = self.desk();
        let changed =
            desk.running.iter().filter(|(_, running)| running.progress.has_changed().unwrap_or(false));
        let seen = changed.map(|(leased, running)| (*leased, running.progress.borrow().clone()));
        let mut new: Vec<_> = seen.filter_map(|(leased, value)| Some((leased, value?))).collect();
        new.sort_unstable_by_key(|((id, _), _)| *id);
        new
    }

    fn progress_is_written(&self, written: &[(Leased, Value)]) {
        let mut desk = self.desk();
        for (leased, value) in written {
            let Some(running) = desk.running.get_mut(leased) else { continue };
            let newer = running.progress.borrow_and_update().as_ref() != Some(value);
            if newer {
                running.progress.mark_changed();
            }
        }
    }

    async fn return_what_waits_too_long(&self) {
        {
            let mut desk = self.desk();
            if desk.waiting.longest().is_none_or(|since| since.elapsed() < LONGEST_WAIT) {
                return;
            }
            desk.give_up_waiting();
        }
        self.return_unbegun().await;
    }

    /// Its thread is held by a loop or a blocking call, which nothing can end. What it may yet return is ignored.
    fn give_up_what_hangs(&self) {
        let now = Instant::now();
        let hangs = |running: &Running| now.duration_since(running.since) > running.timeout + GRACE + HANGS;
        let given_up: Vec<_> = {
            let desk = self.desk();
            desk.running.iter().filter(|(_, running)| hangs(running)).map(|(leased, _)| *leased).collect()
        };
        for leased in given_up {
            let Some(running) = self.leave(&leased) else { continue };
            log::error!(task_id:% = leased.0; "a handler hangs; its attempt is given up, its thread is not free");
            let why = Some("its handler hangs".to_owned());
            let delay = running.timeout;
            let began = self.0.database_clock.now().map(|now| now - running.since.elapsed());
            let times = self.0.database_clock.times_since(began);
            let ending = Ending::Stopped(Stopping { how: Stopped::TimedOut, why, delay, times });
            let shift = self.clone();
            tokio::spawn(async move { shift.report(leased, running.worker_id, ending).await });
        }
    }
}
