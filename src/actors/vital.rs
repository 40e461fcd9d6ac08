//! Signs of life: what the watchdog asks of everything it watches, and what it writes down.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use actix::Message;
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use serde::Serialize;
use utoipa::ToSchema;

/// Asks an actor for a sign of life.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Ping;

/// Makes an actor panic, so that tests can prove that it is healed.
#[cfg(feature = "fault-injection")]
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Crash;

/// Makes an actor hold its thread, so that tests can prove what its callers are told.
#[cfg(feature = "fault-injection")]
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Stall(pub Duration);

/// Lets the watchdog watch these actors.
#[macro_export]
#[doc(hidden)]
macro_rules! vital {
    ($($actor:ty),+ $(,)?) => {$(
        impl actix::Handler<$crate::actors::vital::Ping> for $actor {
            type Result = ();
            fn handle(&mut self, _: $crate::actors::vital::Ping, _: &mut Self::Context) {}
        }

        #[cfg(feature = "fault-injection")]
        impl actix::Handler<$crate::actors::vital::Crash> for $actor {
            type Result = ();
            fn handle(&mut self, _: $crate::actors::vital::Crash, _: &mut Self::Context) {
                panic!("told to crash");
            }
        }

        #[cfg(feature = "fault-injection")]
        impl actix::Handler<$crate::actors::vital::Stall> for $actor {
            type Result = ();
            fn handle(&mut self, stall: $crate::actors::vital::Stall, _: &mut Self::Context) {
                std::thread::sleep(stall.0);
            }
        }
    )+};
}

/// How an actor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ActorState)]
pub enum State {
    /// It answers.
    Running,
    /// It died or fell silent, and is being replaced.
    Restarting,
    /// It ended and will not be replaced: at shutdown, or past the restart budget.
    Stopped,
}

/// Why there was no sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// It is gone.
    Dead,
    /// It is there and does not answer.
    Mute,
}

/// A thing that the watchdog watches: an actor behind its [`super::live::Live`], or a pool of threads.
pub trait Watched: Send + Sync {
    /// Its name, as `/health/actors` shows it.
    fn name(&self) -> &'static str;
    /// Requests that it is at work on.
    fn depth(&self) -> usize;
    /// Requests that it takes at once; more are refused.
    fn capacity(&self) -> usize;
    /// Asks for a sign of life; waits at most `patience`.
    fn ping(&self, patience: Duration) -> BoxFuture<'_, Result<(), Silence>>;
    /// Puts a new one in its place.
    fn replace(&self, why: Silence);
    /// What is known of its health.
    fn vitals(&self) -> &Vitals;
}

/// What the watchdog knows of one actor; outlives the actor, and the watchdog too.
#[derive(Debug)]
pub struct Vitals(Mutex<Record>);

#[derive(Debug)]
struct Record {
    state: State,
    restarts: u64,
    recent_restarts: Vec<Instant>,
    last_reply: Option<Instant>,
    /// Somebody is replacing it.
    healing: bool,
    started: Instant,
    started_at: DateTime<Utc>,
    last_error: Option<&'static str>,
}

/// One row of `/health/actors`.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Its name.
    pub name: &'static str,
    /// How it is.
    pub state: State,
    /// How often it was replaced since the process started.
    pub restarts: u64,
    /// Requests that it is at work on.
    pub mailbox_depth: usize,
    /// Requests that it takes at once; more are refused.
    pub mailbox_capacity: usize,
    /// Milliseconds since its last sign of life; null before the first.
    pub last_reply_ms: Option<u64>,
    /// When the present one was started, by this machine's clock.
    pub started_at: DateTime<Utc>,
    /// Why the last one was replaced.
    pub last_error: Option<&'static str>,
}

impl Default for Vitals {
    fn default() -> Self {
        Self(Mutex::new(Record {
            state: State::Running,
            restarts: 0,
            recent_restarts: Vec::new(),
            last_reply: None,
            healing: false,
            started: Instant::now(),
            started_at: Utc::now(),
            last_error: None,
        }))
    }
}

impl Vitals {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it is.
    pub fn state(&self) -> State {
        self.record().state
    }

    /// It answered.
    pub fn answered(&self) {
        let mut record = self.record();
        record.last_reply = Some(Instant::now());
        if record.state == State::Restarting {
            record.state = State::Running;
        }
    }

    /// How long it has been silent, since its last answer or its start.
    pub fn silent_for(&self) -> Duration {
        let record = self.record();
        record.last_reply.unwrap_or(record.started).elapsed()
    }

    /// How often it was replaced: which one is being asked.
    pub fn restarts(&self) -> u64 {
        self.record().restarts
    }

    /// The one that `restarts` tells is gone or silent. Whoever is told how often it was replaced within
    /// `window` is to replace it; nobody else is, nor those who met one that was replaced since.
    pub fn failed(&self, restarts: u64, why: Silence, window: Duration) -> Option<usize> {
        let mut record = self.record();
        if record.healing || record.restarts != restarts || record.state == State::Stopped {
            return None;
        }
        record.healing = true;
        record.state = State::Restarting;
        record.last_error = Some(match why {
            Silence::Dead => "ended unexpectedly",
            Silence::Mute => "did not answer",
        });
        record.recent_restarts.retain(|at| at.elapsed() < window);
        Some(record.recent_restarts.len())
    }

    /// A new one was put in its place.
    pub fn replaced(&self) {
        let mut record = self.record();
        record.restarts += 1;
        record.recent_restarts.push(Instant::now());
        record.healing = false;
        record.last_reply = None;
        record.started = Instant::now();
        record.started_at = Utc::now();
    }

    /// It ended for good.
    pub fn stopped(&self) {
        self.record().state = State::Stopped;
    }
}

impl fmt::Debug for dyn Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.name()).finish()
    }
}

impl dyn Watched {
    /// Its row of `/health/actors`.
    pub fn report(&self) -> Report {
        let record = self.vitals().record();
        Report {
            name: self.name(),
            state: record.state,
            restarts: record.restarts,
            mailbox_depth: self.depth(),
            mailbox_capacity: self.capacity(),
            last_reply_ms: record
                .last_reply
                .map(|at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)),
            started_at: record.started_at,
            last_error: record.last_error,
        }
    }
}
