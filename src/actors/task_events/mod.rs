//! `TaskEvents`: what happens to tasks, for all who listen in this process.
//!
//! One look at the database feeds them all: when a notification says that something was recorded, and every second. Who
//! comes back with a bookmark is first told what he missed, then goes on with the others. When the actor dies, its
//! listeners wait for the next one, which goes on where it ended. docs/queue.md tells what the order of events is and
//! why none is lost.

mod hub;
mod listener;
mod places;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix::{Actor, Context, Handler, Message};
use tokio::sync::{Notify, broadcast, mpsc, watch};

pub use self::listener::{Listening, News};
use self::places::Places;
use super::{change_feed::Feed, reply::Answer, work::Work};
use crate::{
    db::Pool,
    domain::{
        Reach, Result, UserId,
        event_cursor::Cursor,
        task_event::{Bookmark, Changes},
    },
};

/// How long changes are recorded after the last look of a process with listeners: they may come back.
const RECORDED: Duration = Duration::from_secs(3_600);
/// How old a bookmark may be: less than that, since what is recorded is kept for as long.
const BOOKMARK_AGE: Duration = Duration::from_secs(3_000);
/// Without any event.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// Statements' changes that a slow listener may be behind before he has to read them from the database.
const BACKLOG: usize = 512;
/// What one listener has not taken yet.
const UNREAD: usize = 64;
/// When a stream that was refused may be tried again.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// How many may listen, and how slowly.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// In this process.
    pub streams: usize,
    /// Of one user in this process.
    pub streams_per_user: usize,
    /// How long a client may take nothing.
    pub patience: Duration,
}

impl Default for Settings {
    /// The contract's.
    fn default() -> Self {
        Self { streams: 1_000, streams_per_user: 10, patience: Duration::from_secs(60) }
    }
}

/// The events of one process. Cheap to clone; outlives the actor.
#[derive(Clone)]
pub struct Events(Arc<Shared>);

struct Shared {
    pool: Pool,
    feed: Feed,
    settings: Settings,
    places: Places,
    listeners: AtomicUsize,
    /// The first listener is there.
    arrived: Notify,
    live: broadcast::Sender<Live>,
    /// Everything before this was told; `None` while the hub does not look.
    reached: watch::Sender<Option<Reached>>,
}

/// How far the looks have come.
#[derive(Debug, Clone)]
struct Reached {
    /// For clients: everything before it was told.
    mark: Bookmark,
    /// For this process: exactly what was told.
    cursor: Cursor,
}

/// What one statement changed, and the look that found it.
#[derive(Clone)]
struct Live {
    changes: Arc<Changes>,
    /// Behind it.
    cursor: Cursor,
    /// Transactions before this one had ended then.
    horizon: i64,
    /// Seconds since 1970, by the database's clock.
    at: i64,
}

impl Events {
    /// Of the tasks in the database of `pool`. `feed` tells when to look.
    pub fn new(pool: Pool, feed: Feed, settings: Settings) -> Self {
        Self(Arc::new(Shared {
            pool,
            feed,
            settings,
            places: Places::default(),
            listeners: AtomicUsize::new(0),
            arrived: Notify::new(),
            live: broadcast::Sender::new(BACKLOG),
            reached: watch::Sender::new(None),
        }))
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.0.listeners.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("listeners", &self.listeners()).finish_non_exhaustive()
    }
}

/// The actor: looks while somebody listens.
#[derive(Debug)]
pub struct TaskEvents {
    events: Events,
    work: Option<Work>,
}

impl TaskEvents {
    /// One that goes on with these.
    pub fn new(events: Events) -> Self {
        Self { events, work: None }
    }
}

impl Actor for TaskEvents {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let shared = Arc::clone(&self.events.0);
        self.work = Some(Work::begin(context, async move { hub::run(&shared).await }));
    }
}

crate::vital!(TaskEvents);

/// Listens from now on, or from a bookmark on.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Listening>")]
pub struct Listen {
    /// To the events of which tasks.
    pub reach: Reach,
    /// Where the caller was before.
    pub after: Option<Bookmark>,
    /// The caller.
    pub user: UserId,
}

impl Handler<Listen> for TaskEvents {
    type Result = Answer<Listening>;

    fn handle(&mut self, Listen { reach, after, user }: Listen, _: &mut Self::Context) -> Self::Result {
        let shared = Arc::clone(&self.events.0);
        let Settings { streams, streams_per_user, .. } = shared.settings;
        let place = match shared.places.take(user, streams_per_user, streams) {
            Ok(place) => place,
            Err(error) => return Answer::Now(Err(error)),
        };

        let (tell, told) = mpsc::channel(UNREAD);
        tokio::spawn(listener::serve(shared, reach, after, tell));
        Answer::Now(Ok(Listening::new(told, place)))
    }
}
