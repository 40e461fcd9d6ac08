//! The dispatcher of one process, on a database of its own.

use std::{sync::Arc, time::Duration};

use starter::{
    actors::{
        change_feed::{ChangeFeed, Feed, TASKS},
        dispatcher::{Dispatch, Intake, TaskDispatcher},
        live::{Live, Reach},
        memory::Memory,
        task_events::{self, Events, TaskEvents},
        threads::Thread,
        worker::Bell,
    },
    db::{self, Limits},
    domain::{
        JsonText, TaskId,
        task::{NewTask, When},
    },
    tasks::Registry,
};
use tokio::{runtime::Runtime, sync::Notify};

use super::db::TestDatabase;

/// The dispatcher of one process.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) live: Live<TaskDispatcher>,
    pub(crate) dispatch: Dispatch,
    pub(crate) events: Live<TaskEvents>,
}

impl Desk {
    pub(crate) async fn open(database: &TestDatabase) -> Self {
        Self::with(database, task_events::Settings::default()).await
    }

    pub(crate) async fn with(database: &TestDatabase, settings: task_events::Settings) -> Self {
        Self::start(database, settings, 10_000).await
    }

    /// Where one user may have so many unfinished tasks.
    pub(crate) async fn limited_to(database: &TestDatabase, max_unfinished: usize) -> Self {
        Self::start(database, task_events::Settings::default(), max_unfinished).await
    }

    async fn start(database: &TestDatabase, settings: task_events::Settings, max_unfinished: usize) -> Self {
        let runtime = Arc::new(Runtime::new().unwrap());
        // Not to be dropped within an asynchronous test.
        std::mem::forget(Arc::clone(&runtime));
        let target = database.target();
        let limits =
            Limits { max_connections: 6, connect_timeout: Duration::from_secs(30), ..Limits::default() };
        let dial = async move { db::connect(&target, limits).await.unwrap() };
        let pool = runtime.spawn(dial).await.unwrap();
        let (thread, alarm) = (Thread::start("test", &runtime), Arc::new(Notify::new()));
        let dispatch = Dispatch::new(pool.clone(), Intake::new(Registry::builtin()), Bell::default())
            .limited_to(max_unfinished);
        let reach = Reach { name: "TaskDispatcher", capacity: 4_096, patience: Duration::from_secs(60) };
        let feed = Feed::new(database.target(), pool.clone(), [Memory::none(), Memory::none()], &[TASKS]);
        let (events, connected) = (Events::new(pool, feed.clone(), settings), feed);
        let feed_reach = Reach { name: "ChangeFeed", ..reach };
        // Lives as long as the actors' thread.
        std::mem::forget(Live::start(feed_reach, &thread, &alarm, move || {
            ChangeFeed::new(connected.clone())
        }));
        let events_reach = Reach { name: "TaskEvents", ..reach };
        let events = Live::start(events_reach, &thread, &alarm, move || TaskEvents::new(events.clone()));
        let made = dispatch.clone();
        let live = Live::start(reach, &thread, &alarm, move || TaskDispatcher::new(made.clone()));
        Self { live, dispatch, events }
    }
}

pub(crate) fn noop() -> NewTask {
    NewTask {
        id: TaskId::new(),
        task_type: "noop".into(),
        queue: "default".into(),
        payload: JsonText::empty_object(),
        priority: 0,
        when: When::Now,
        max_attempts: 3,
        timeout_secs: 60,
        unique_key: None,
        created_by: None,
        request_id: None,
        schedule_id: None,
    }
}

pub(crate) fn keyed(key: &str) -> NewTask {
    NewTask { unique_key: Some(key.into()), ..noop() }
}
