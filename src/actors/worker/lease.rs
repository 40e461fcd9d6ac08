//! Registering, and giving signs of life: one small statement for all that runs here.
//!
//! The database's clock decides when the lease ends; this process only measures how long ago its last sign of life was
//! sent. After two thirds of the lease without one that arrived it takes its tasks for lost, which leaves
//! it the last third to stop them before others begin them.

use std::time::{Duration, Instant};

use super::{
    running::Reason,
    shift::{Registration, Shift},
};
use crate::{
    db::queue,
    domain::{Error, Result, attempt::WorkerId},
};

const LONGEST_INTERVAL: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(500);

/// Keeps this worker registered until the shift is over.
pub(super) async fn keep(shift: Shift) {
    while !shift.0.over.is_cancelled() {
        let registration = shift.desk().registration;
        let pause = match registration {
            None => register(&shift).await,
            Some(registration) => beat(&shift, registration).await,
        };
        shift.0.over.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
}

fn interval(shift: &Shift) -> Duration {
    (shift.0.settings.lease / 6).min(LONGEST_INTERVAL)
}

async fn register(shift: &Shift) -> Duration {
    if shift.desk().draining {
        return RETRY;
    }
    let sent = Instant::now();
    match try_register(shift).await {
        Ok(id) => {
            log::info!(worker_id = id.0; "the worker is registered");
            // Unless an answer came to another keeper meanwhile, whose thread hung and came back.
            shift.desk().registration.get_or_insert(Registration { id, alive: sent });
            shift.0.room.notify_one();
            interval(shift)
        }
        Err(error) => {
            log::warn!(error:% = error; "the worker could not be registered");
            RETRY
        }
    }
}

async fn try_register(shift: &Shift) -> Result<WorkerId> {
    let settings = &shift.0.settings;
    let types: Vec<&str> = shift.0.registry.known().map(|known| known.task_type).collect();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let process = (host.as_str(), std::process::id());
    let mut connection = shift.0.pool.get().await?;
    // Before the first claim, and twice: the first statement of its kind on a connection takes longer than the next.
    for _ in 0..2 {
        shift.read_database_clock(&mut connection).await;
    }
    queue::register(&mut connection, process, &types, &settings.served(), settings.lease).await
}

async fn beat(shift: &Shift, registration: Registration) -> Duration {
    let sent = Instant::now();
    let patience = interval(shift);
    // By itself: a connection goes back to the pool when its statement is over, not before.
    let (on, id) = (shift.clone(), registration.id);
    let answer = tokio::time::timeout(patience, tokio::spawn(async move { try_beat(&on, id).await })).await;
    match answer.map(|answer| answer.unwrap_or_else(|panic| Err(Error::internal(panic)))) {
        Ok(Ok(true)) => {
            if let Some(now) = shift.desk().registration.as_mut().filter(|now| now.id == registration.id) {
                now.alive = sent;
            }
            // Apart from the heartbeat, which it must not delay.
            tokio::spawn(correct_clock(shift.clone()));
            return interval(shift);
        }
        Ok(Ok(false)) => {
            shift.lose(registration.id, "it was given up by the others");
            return Duration::ZERO;
        }
        Ok(Err(error)) => log::warn!(error:% = error; "no sign of life could be given"),
        Err(_) => log::warn!("a sign of life took too long"),
    }
    if registration.alive.elapsed() >= shift.0.settings.lease * 2 / 3 {
        shift.lose(registration.id, "no sign of life has arrived for too long");
        return Duration::ZERO;
    }
    RETRY.min(interval(shift))
}

async fn correct_clock(shift: Shift) {
    if let Ok(mut connection) = shift.0.pool.get().await {
        shift.read_database_clock(&mut connection).await;
    }
}

async fn try_beat(shift: &Shift, id: WorkerId) -> Result<bool> {
    let mut connection = shift.0.pool.get().await?;
    queue::beat(&mut connection, id, shift.0.settings.lease).await
}

impl Shift {
    /// This process may not have its tasks any more: they are told to stop, and what they still report is judged by
    /// the fence.
    pub(super) fn lose(&self, id: WorkerId, why: &str) {
        let mut desk = self.desk();
        if desk.registration.is_none_or(|now| now.id != id) {
            return;
        }
        desk.registration = None;
        desk.standing.leases_lost += 1;
        let waiting = desk.give_up_waiting();
        desk.stock.lose_claims();
        let mine = desk.running.values_mut().filter(|running| running.worker_id == id);
        let mut stopped = 0;
        for running in mine {
            running.tell_to_stop(Reason::Interrupted);
            stopped += 1;
        }
        log::error!(worker_id = id.0, running = stopped, waiting; "the worker lost its lease: {why}");
    }
}
