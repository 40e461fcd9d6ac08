//! What maintenance works with.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::observer::Observer;
use crate::{
    config::Config,
    db::Pool,
    domain::TaskId,
    tasks::{Registry, files::Files},
};

/// How long things are kept, and how often is looked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Between two looks at the queue.
    pub look: Duration,
    /// Between two rounds of deleting.
    pub sweep: Duration,
    /// Between two looks whether the table of tasks wants to be vacuumed.
    pub vacuum: Duration,
    /// Finished tasks, and the files that they made.
    pub tasks: Duration,
    /// Entries of the audit log.
    pub audit: Duration,
    /// Failed tries to log in.
    pub throttle: Duration,
}

const HOUR: u64 = 3600;
/// First answers to requests with an idempotency key (the contract).
pub(super) const ANSWERS_KEPT: Duration = Duration::from_secs(24 * HOUR);
/// Events of tasks, for listeners that come back.
pub(super) const EVENTS_KEPT: Duration = Duration::from_secs(HOUR);
/// Notes of which tasks ended together: figures are told of the last hour.
pub(super) const ENDINGS_KEPT: Duration = Duration::from_secs(HOUR);
/// Addresses that somebody logged in from.
pub(super) const KNOWN_ADDRESSES_KEPT: Duration = Duration::from_secs(90 * 24 * HOUR);

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        let auth = &config.auth;
        Self {
            look: Duration::from_secs(1),
            sweep: Duration::from_secs(60),
            vacuum: Duration::from_secs(10),
            tasks: Duration::from_secs(config.worker.retention_hours * HOUR),
            audit: Duration::from_secs(config.worker.audit_retention_hours * HOUR),
            // Letters are counted by the hour and by the day.
            throttle: Duration::from_secs((auth.login_window_secs + auth.login_lock_secs).max(48 * HOUR)),
        }
    }
}

/// What maintenance works with. Cheap to clone.
#[derive(Clone)]
pub struct Upkeep(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) pool: Pool,
    pub(super) registry: Registry,
    pub(super) files: Option<Files>,
    pub(super) settings: Settings,
    /// Up to where the tasks have been looked through for old ones.
    pub(super) tasks_seen: tokio::sync::Mutex<Option<TaskId>>,
    observer: Mutex<Observer>,
}

impl fmt::Debug for Upkeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upkeep").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

impl Upkeep {
    /// Of this database, of the schedules of types that are in `registry`, and of these files.
    pub fn new(pool: Pool, registry: Registry, files: Option<Files>, settings: Settings) -> Self {
        let (tasks_seen, observer) = (tokio::sync::Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { pool, registry, files, settings, tasks_seen, observer }))
    }

    /// What this process saw of the workers.
    pub(super) fn observer(&self) -> MutexGuard<'_, Observer> {
        self.0.observer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
