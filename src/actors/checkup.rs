//! How the process is, as `/health` tells it.
//!
//! Anyone may ask, so asking must be cheap: all who ask while a look at the database is under way share the next.

use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    coalesce::{Batch, Coalesce, Limits, ReplyTo},
    vital::{State, Watched},
};
use crate::domain::{Error, Result};

/// The database has this long to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The change feed counts once it has proven itself, or after this long: a process that has just started is not degraded.
const FEED_GRACE: Duration = Duration::from_secs(10);
const ONE_LOOK: Limits = Limits { statements: 1, items: 1, waiting: 1 };

/// Asks the database how many migrations it lacks.
pub type PendingMigrations = Box<dyn Fn() -> BoxFuture<'static, Result<usize>> + Send + Sync>;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// As it should be.
    Ok,
    /// The service works, with less than it should have.
    Degraded,
    /// The service does not work.
    Down,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Checks {
    /// It answers.
    pub database: Condition,
    /// It has every migration of this program.
    pub migrations: Condition,
    /// LISTEN is proven to work; without it, nothing is remembered and tasks are found by polling.
    pub change_feed: Condition,
    /// Every actor runs.
    pub actors: Condition,
}

/// How the process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Health {
    /// The worst of the checks.
    pub status: Condition,
    /// Since the process started, seconds.
    pub uptime_secs: u64,
    /// Each of them.
    pub checks: Checks,
}

impl Health {
    /// It can serve requests: all is well but for the change feed, which it can do without.
    pub fn is_ready(&self) -> bool {
        self.checks.database == Condition::Ok
            && self.checks.migrations == Condition::Ok
            && self.checks.actors == Condition::Ok
    }
}

/// Looks.
#[derive(Clone)]
pub struct Checkup {
    started: Instant,
    database: Coalesce<DatabaseLook>,
    feed_is_live: Arc<dyn Fn() -> Option<bool> + Send + Sync>,
}

impl fmt::Debug for Checkup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkup").field("database", &self.database).finish_non_exhaustive()
    }
}

impl Checkup {
    /// `pending_migrations` asks the database, through a pool that slow requests cannot exhaust. `feed_is_live` is `None`
    /// until the feed was live for the first time.
    pub fn new(
        pending_migrations: PendingMigrations,
        feed_is_live: impl Fn() -> Option<bool> + Send + Sync + 'static,
    ) -> Self {
        Self {
            started: Instant::now(),
            database: Coalesce::new(DatabaseLook(pending_migrations), ONE_LOOK),
            feed_is_live: Arc::new(feed_is_live),
        }
    }

    /// Looks at everything, and tells `reply_to`.
    pub fn tell(&self, actors: Condition, reply_to: ReplyTo<Health>) {
        let this = self.clone();
        tokio::spawn(async move {
            let (database, migrations) = match this.database.ask((), ()).await {
                Ok(0) => (Condition::Ok, Condition::Ok),
                Ok(_) => (Condition::Ok, Condition::Down),
                Err(_) => (Condition::Down, Condition::Down),
            };
            let young = this.started.elapsed() < FEED_GRACE;
            let feed_is_live = (this.feed_is_live)().unwrap_or(young);
            let change_feed = if feed_is_live { Condition::Ok } else { Condition::Degraded };
            let checks = Checks { database, migrations, change_feed, actors };
            let status = database.max(migrations).max(change_feed).max(actors);
            let uptime_secs = this.started.elapsed().as_secs();
            let _gone = reply_to.send(Ok(Health { status, uptime_secs, checks }));
        });
    }
}

/// The condition of all that is watched.
pub fn of_all(roster: &[Arc<dyn Watched>]) -> Condition {
    let condition = |watched: &Arc<dyn Watched>| match watched.vitals().state() {
        State::Running => Condition::Ok,
        State::Restarting => Condition::Degraded,
        State::Stopped => Condition::Down,
    };
    roster.iter().map(condition).max().unwrap_or(Condition::Ok)
}

/// Counts the migrations that the database lacks.
struct DatabaseLook(PendingMigrations);

impl Batch for DatabaseLook {
    type Key = ();
    type Item = ();
    type Answer = usize;

    async fn run(&self, _: Vec<((), ())>) -> Result<HashMap<(), usize>> {
        let pending = tokio::time::timeout(PATIENCE, (self.0)())
            .await
            .unwrap_or_else(|_| Err(Error::unavailable("database", "no answer in time")))
            .inspect_err(|error| log::warn!(error:% = error; "the database does not answer"))?;
        Ok(HashMap::from([((), pending)]))
    }

    fn missing(&self) -> Result<usize> {
        Err(Error::unavailable("database", "no answer"))
    }
}
