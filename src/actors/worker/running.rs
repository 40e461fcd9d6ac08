//! An attempt under way, as the worker knows it.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::shares::Lane;
use crate::domain::{UserId, attempt::WorkerId};

/// An attempt under way.
pub(super) struct Running {
    pub(super) worker_id: WorkerId,
    pub(super) owner: Option<UserId>,
    pub(super) lane: Lane,
    pub(super) since: Instant,
    pub(super) timeout: Duration,
    /// Only so many of its type may run.
    pub(super) limited: bool,
    pub(super) stop: CancellationToken,
    /// Why `stop` was cancelled.
    pub(super) reason: Option<Reason>,
    pub(super) progress: watch::Receiver<Option<Value>>,
}

/// Why an attempt was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Somebody called the task off.
    CalledOff,
    /// The worker stops, or may not have the task any more.
    Interrupted,
}

impl Running {
    /// The first reason counts.
    pub(super) fn tell_to_stop(&mut self, reason: Reason) {
        self.reason.get_or_insert(reason);
        self.stop.cancel();
    }

    /// What the handler said last and nobody wrote down yet.
    pub(super) fn unwritten_progress(mut self) -> Option<Value> {
        // Not `Receiver::has_changed`: the sender is gone by now, which that takes for an error.
        let last = self.progress.borrow_and_update();
        if last.has_changed() { last.clone() } else { None }
    }
}
