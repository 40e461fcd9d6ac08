//! `ChangeFeed`: what other processes say, and the proof that all of it is heard.
//!
//! One connection listens. A heartbeat goes every 100 ms the way that revocations go, through the pool, and comes back
//! the way that they come, on that connection; PostgreSQL delivers notifications in the order of their commits. So when
//! heartbeat n is back, all that was committed before it was sent has been heard, and memory may answer until 250 ms
//! after that. No heartbeat comes back from a lost or stopped connection, from another database, from a standby, or
//! through a pooler that shares connections between transactions: then memory does not answer, and nothing else is
//! different. docs/sessions.md has the whole argument.

mod hearing;
mod heartbeat;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix::{Actor, Context};
use tokio::sync::{Notify, broadcast, watch};

use super::{boottime::Boottime, memory::Memory, presence::Presence, work::Work};
use crate::{
    db::{Pool, Target},
    domain::Forget,
};

/// What must be forgotten. Payloads are [`Forget`]s.
const CREDENTIALS: &str = "starter_credentials";
/// What happens to tasks.
pub const TASKS: &str = "starter_tasks";
/// Notices that a slow subscriber may be behind.
const BACKLOG: usize = 1_024;
/// Without a heartbeat for longer, it is not live.
const LIVE: Duration = Duration::from_secs(1);

/// What a subscriber is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A notification came, with this payload.
    Said(Arc<str>),
    /// Some may have been missed: the connection is a new one.
    Gap,
}

/// The feed as the rest of the process sees it. Cheap to clone; outlives the actor.
#[derive(Debug, Clone)]
pub struct Feed(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    target: Target,
    pool: Pool,
    memories: [Memory; 2],
    subscribers: HashMap<&'static str, broadcast::Sender<News>>,
    /// Where this process hears its own heartbeats.
    channel: String,
    rhythm: Mutex<Rhythm>,
    presence: watch::Sender<Presence>,
    /// Somebody needs a sample now.
    wanted: Notify,
}

#[derive(Debug, Default)]
struct Rhythm {
    /// Heartbeats that may come back, oldest first.
    sent: VecDeque<(i64, Boottime)>,
    /// The listening server process.
    backend: Option<i32>,
    /// When the last heartbeat came back.
    heard: Option<Boottime>,
}

impl Feed {
    /// A feed that is not connected yet. It listens at `target`, beats through `pool`, and tells `memories` what to
    /// forget. Subscribe to the `channels`.
    pub fn new(target: Target, pool: Pool, memories: [Memory; 2], channels: &[&'static str]) -> Self {
        let subscribers = channels.iter().map(|name| (*name, broadcast::Sender::new(BACKLOG))).collect();
        Self(Arc::new(Shared {
            target,
            pool,
            memories,
            subscribers,
            channel: format!("starter_pulse_{}", uuid::Uuid::new_v4().simple()),
            rhythm: Mutex::default(),
            presence: watch::Sender::default(),
            wanted: Notify::new(),
        }))
    }

    /// What is said on a channel from now on. `None` for a channel that it was not made with.
    pub fn subscribe(&self, channel: &str) -> Option<broadcast::Receiver<News>> {
        self.0.subscribers.get(channel).map(broadcast::Sender::subscribe)
    }

    /// Heartbeats come back.
    pub fn is_live(&self) -> bool {
        self.0.rhythm().heard.is_some_and(|heard| heard.elapsed() < LIVE)
    }

    /// As [`Self::is_live`]; `None` while none has come back yet.
    pub fn liveness(&self) -> Option<bool> {
        self.0.rhythm().heard.map(|heard| heard.elapsed() < LIVE)
    }

    /// Forgets it in this process, at once.
    pub(super) fn forget(&self, what: Forget) {
        self.0.forget(what);
    }

    /// A look at who else remembers, now and after each sample.
    pub(super) fn presence(&self) -> watch::Receiver<Presence> {
        self.0.presence.subscribe()
    }

    /// Asks for a sample at once.
    pub(super) fn look_now(&self) {
        self.0.wanted.notify_one();
    }
}

impl Shared {
    fn rhythm(&self) -> MutexGuard<'_, Rhythm> {
        self.rhythm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, what: Forget) {
        self.memories.iter().for_each(|memory| memory.forget(what));
    }

    fn remembers(&self) -> bool {
        self.memories.iter().any(Memory::is_on)
    }
}

/// The actor: keeps the feed connected.
#[derive(Debug)]
pub struct ChangeFeed {
    feed: Feed,
    work: Option<Work>,
}

impl ChangeFeed {
    /// One that goes on with this feed.
    pub fn new(feed: Feed) -> Self {
        Self { feed, work: None }
    }
}

impl Actor for ChangeFeed {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let shared = Arc::clone(&self.feed.0);
        self.work = Some(Work::begin(context, async move {
            tokio::join!(heartbeat::beat(&shared), hearing::hear(&shared));
        }));
    }
}

crate::vital!(ChangeFeed);
