//! Starts all actors, watches them, stops them in order.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use tokio::{
    runtime::Runtime,
    sync::{
        Notify,
        broadcast::{self, error::RecvError},
    },
};
use tokio_util::sync::CancellationToken;

use super::{
    accounts::{Accounts, Tools},
    api_keys::{ApiKeyVerifier, ApiKeys},
    change_feed::{ChangeFeed, Feed, News, TASKS},
    checkup::Checkup,
    dispatcher::{Dispatch, Intake, TaskDispatcher},
    figures::{self, Figures},
    hashers::Hashers,
    live::{Live, Living, Reach},
    maintenance::{Maintenance, Upkeep},
    memory::Memory,
    revocation::Revoker,
    sessions::{SessionStore, Sessions},
    task_events::{self, Events, TaskEvents},
    threads::Thread,
    vital::Watched,
    watchdog::{self, Patience, Roster, Watchdog},
    worker::{self, Bell, Shift, TaskWorker},
};
use crate::{
    config::Config,
    db::{Pool, Target, health, sessions::Lifetime},
    domain::Result,
    tasks::{Registry, Services},
};

/// Requests that an actor takes at once. Each is small, and most share a statement with many others.
const CAPACITY: usize = 4_096;
/// Above the statement time-out, so that a caller learns what the database says.
const MARGIN: Duration = Duration::from_secs(5);

/// What the actors stand on. Made before them, because making it can fail and starting an actor must not.
#[derive(Debug, Clone)]
pub struct Ground {
    /// As configured.
    pub config: Arc<Config>,
    /// Statements, connection drivers and tasks run on it.
    pub runtime: Arc<Runtime>,
    /// Verified credentials are remembered. A process that few callers speak to does better without: as long as nobody
    /// else remembers anything, revocations need not wait.
    pub remembers: bool,
    /// For recognising callers, so that slow requests cannot keep people from being recognised.
    pub credentials: Pool,
    /// For the worker's own statements, so that handlers cannot silence it; without it, no worker is started.
    pub queue: Option<Pool>,
    /// For everything else.
    pub pool: Pool,
    /// The database itself, for LISTEN.
    pub direct: Target,
    /// Hash passwords.
    pub hashers: Hashers,
    /// What stories about accounts need; used before the actors are there, to make the first admin.
    pub accounts: Arc<Tools>,
    /// The types of tasks.
    pub registry: Registry,
    /// What their handlers may use of the world outside.
    pub services: Arc<Services>,
    /// What maintenance works with.
    pub upkeep: Upkeep,
}

/// Every actor of this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Actors {
    /// Sessions.
    pub sessions: Live<SessionStore>,
    /// API keys.
    pub api_keys: Live<ApiKeyVerifier>,
    /// Users.
    pub accounts: Live<Accounts>,
    /// Tasks.
    pub dispatcher: Live<TaskDispatcher>,
    /// What happens to tasks, for those who listen.
    pub task_events: Live<TaskEvents>,
    /// Checks requests for tasks.
    pub intake: Intake,
    /// What drains the queue, in the modes that do.
    pub worker: Option<Live<TaskWorker>>,
    /// What hears of changes.
    pub change_feed: Live<ChangeFeed>,
    /// What must happen once for all processes.
    pub maintenance: Live<Maintenance>,
    /// All of them.
    pub watchdog: Live<Watchdog>,
    /// Takes rights away for good.
    pub revoker: Revoker,
    /// For `benches/run`.
    #[cfg(feature = "bench-routes")]
    pub one_statement: super::one_statement::OneStatement,
    /// What other processes say; subscribe to it.
    pub feed: Feed,
    /// What `/metrics` shows of them.
    pub figures: Figures,
    /// Cancelled when an actor keeps dying: the process is to end with an error.
    pub given_up: CancellationToken,
    shift: Option<Shift>,
    hashers: Hashers,
    threads: Vec<Thread>,
    roster: Roster,
    stopping: CancellationToken,
}

/// Starts actors of one process, and notes who is to be watched and what is to be shown.
struct Stage<'a> {
    ground: &'a Ground,
    alarm: Arc<Notify>,
    store: Thread,
    work: Thread,
    roster: Vec<Arc<dyn Watched>>,
    figures: Vec<figures::Source>,
}

impl Stage<'_> {
    fn start<A: Living>(
        &mut self,
        name: &'static str,
        thread: &Thread,
        make: impl Fn() -> A + Send + Sync + 'static,
    ) -> Live<A> {
        let patience = Duration::from_secs(self.ground.config.database.statement_timeout_secs) + MARGIN;
        let reach = Reach { name, capacity: CAPACITY, patience };
        let live = Live::start(reach, thread, &self.alarm, make);
        self.roster.push(Arc::new(live.clone()));
        live
    }

    fn change_feed(&mut self, memories: [Memory; 2]) -> (Feed, Live<ChangeFeed>) {
        let Ground { direct, credentials, .. } = self.ground;
        let feed = Feed::new(direct.clone(), credentials.clone(), memories, &[TASKS]);
        let (kept, store) = (feed.clone(), self.store.clone());
        (feed, self.start("ChangeFeed", &store, move || ChangeFeed::new(kept.clone())))
    }

    fn credentials(&mut self) -> (Live<SessionStore>, Live<ApiKeyVerifier>, Feed, Live<ChangeFeed>) {
        let Ground { config, credentials, pool, remembers, .. } = self.ground;
        let memory = || if *remembers { Memory::new() } else { Memory::none() };
        let memories = [memory(), memory()];
        let (feed, change_feed) = self.change_feed(memories.clone());
        let revoker = Revoker::new(feed.clone());
        let [of_sessions, of_keys] = memories;
        let lifetime = Lifetime {
            idle: Duration::from_secs(config.auth.session_idle_secs),
            absolute: Duration::from_secs(config.auth.session_absolute_secs),
        };
        let sessions =
            Sessions::new(credentials.clone(), pool.clone(), lifetime, of_sessions, revoker.clone());
        let keys = ApiKeys::new(credentials.clone(), pool.clone(), of_keys, revoker);
        let (of_sessions, of_keys) = (sessions.clone(), keys.clone());
        self.figures.push(figures::of_store("sessions", move || of_sessions.lookups()));
        self.figures.push(figures::of_store("api_keys", move || of_keys.lookups()));
        let store = self.store.clone();
        (
            self.start("SessionStore", &store, move || SessionStore::new(sessions.clone())),
            self.start("ApiKeyVerifier", &store, move || ApiKeyVerifier::new(keys.clone())),
            feed,
            change_feed,
        )
    }

    fn accounts(&mut self, sessions: &Live<SessionStore>, revoker: &Revoker) -> Live<Accounts> {
        let (tools, store) = (Arc::clone(&self.ground.accounts), self.store.clone());
        let (sessions, revoker) = (sessions.clone(), revoker.clone());
        self.start("Accounts", &store, move || {
            Accounts::new(Arc::clone(&tools), sessions.clone(), revoker.clone())
        })
    }

    fn dispatcher(&mut self, intake: &Intake, bell: &Bell) -> Live<TaskDispatcher> {
        let dispatch = Dispatch::new(self.ground.pool.clone(), intake.clone(), bell.clone())
            .limited_to(self.ground.config.worker.max_unfinished_per_user);
        let (of_tasks, store) = (dispatch.clone(), self.store.clone());
        self.figures.push(dispatch.figures());
        self.figures.push(figures::of_store("tasks", move || of_tasks.enqueued()));
        self.start("TaskDispatcher", &store, move || TaskDispatcher::new(dispatch.clone()))
    }

    fn task_events(&mut self, feed: &Feed) -> Live<TaskEvents> {
        let server = &self.ground.config.server;
        let settings = task_events::Settings {
            streams: server.max_streams,
            streams_per_user: server.max_streams_per_user,
            ..task_events::Settings::default()
        };
        let (events, store) =
            (Events::new(self.ground.pool.clone(), feed.clone(), settings), self.store.clone());
        self.start("TaskEvents", &store, move || TaskEvents::new(events.clone()))
    }

    fn maintenance(&mut self) -> Live<Maintenance> {
        let (upkeep, work) = (self.ground.upkeep.clone(), self.work.clone());
        self.start("Maintenance", &work, move || Maintenance::on(&upkeep))
    }

    fn worker(&mut self) -> Option<(Shift, Live<TaskWorker>)> {
        let Ground { config, queue, registry, services, .. } = self.ground;
        let settings = worker::Settings::from(&config.worker);
        let shift = Shift::new(queue.clone()?, registry.clone(), Arc::clone(services), settings);
        self.figures.push(worker::figures(&shift));
        let (on, work) = (shift.clone(), self.work.clone());
        Some((shift, self.start("TaskWorker", &work, move || TaskWorker::on(&on))))
    }

    /// Watches all that was started so far.
    fn watchdog(self, feed: Feed, given_up: &CancellationToken) -> (Live<Watchdog>, Roster, Figures) {
        let Ground { credentials, pool, runtime, .. } = self.ground;
        let asked = credentials.clone();
        let pending = move || -> BoxFuture<'static, Result<usize>> {
            let pool = asked.clone();
            Box::pin(async move { health::look(&mut *pool.get().await?).await })
        };
        let checkup = Checkup::new(Box::new(pending), move || feed.liveness());
        let roster: Roster = Arc::new(self.roster);
        let reach = Reach { name: "Watchdog", capacity: CAPACITY, patience: MARGIN };
        let guard = Thread::start("guard", runtime);
        let watchdog = Live::start(reach, &guard, &self.alarm, {
            let (roster, alarm, given_up) = (Arc::clone(&roster), Arc::clone(&self.alarm), given_up.clone());
            move || {
                let (roster, alarm) = (Arc::clone(&roster), Arc::clone(&alarm));
                Watchdog::new(roster, Patience::default(), alarm, given_up.clone(), checkup.clone())
            }
        });
        let mut sources = self.figures;
        sources.push(figures::of_process(Instant::now()));
        sources.push(figures::of_actors(Arc::clone(&roster)));
        let (main, small) = (pool.clone(), credentials.clone());
        sources.push(figures::of_pool("main", move || main.state()));
        sources.push(figures::of_pool("credentials", move || small.state()));
        (watchdog, roster, Figures::new(sources))
    }
}

impl Actors {
    /// Starts them. An actix `System` must be running.
    pub fn start(ground: &Ground) -> Self {
        let mut stage = Stage {
            ground,
            alarm: Arc::new(Notify::new()),
            store: Thread::start("store", &ground.runtime),
            work: Thread::start("work", &ground.runtime),
            roster: vec![Arc::new(ground.hashers.clone())],
            figures: Vec::new(),
        };
        let threads = vec![stage.store.clone(), stage.work.clone()];
        let (sessions, api_keys, feed, change_feed) = stage.credentials();
        let revoker = Revoker::new(feed.clone());
        let accounts = stage.accounts(&sessions, &revoker);
        let (shift, worker) = stage.worker().unzip();
        let bell = shift.as_ref().map(Shift::bell).unwrap_or_default();
        let intake = Intake::new(ground.registry.clone())
            .with_payload_limit(ground.config.worker.payload_limit_bytes)
            .with_daily_mails(ground.config.mail.user_daily_limit);
        let dispatcher = stage.dispatcher(&intake, &bell);
        let task_events = stage.task_events(&feed);
        let maintenance = stage.maintenance();
        if let Some(news) = feed.subscribe(TASKS) {
            ground.runtime.spawn(ring(news, bell));
        }
        let given_up = CancellationToken::new();
        let (watchdog, roster, figures) = stage.watchdog(feed.clone(), &given_up);
        let stopping = CancellationToken::new();
        ground.runtime.spawn(guard(watchdog.clone(), given_up.clone(), stopping.clone()));
        Self {
            sessions,
            api_keys,
            accounts,
            dispatcher,
            task_events,
            intake,
            worker,
            change_feed,
            maintenance,
            watchdog,
            revoker,
            feed,
            #[cfg(feature = "bench-routes")]
            one_statement: super::one_statement::OneStatement::new(ground.pool.clone()),
            figures,
            given_up,
            shift,
            hashers: ground.hashers.clone(),
            threads,
            roster,
            stopping,
        }
    }

    /// Lets the worker finish what runs, at most `grace`, and hand back the rest.
    pub async fn drain(&self, grace: Duration) {
        if let Some(shift) = &self.shift {
            let drained = shift.drain(grace).await;
            log::info!(
                handed_back = drained.handed_back, interrupted = drained.interrupted;
                "the worker has stopped"
            );
        }
    }

    /// Ends every actor. Requests and tasks must have ended before.
    pub async fn stop(&self) {
        self.stopping.cancel();
        for watched in self.roster.iter() {
            watched.vitals().stopped();
        }
        self.hashers.stop().await;
        for thread in &self.threads {
            thread.stop();
        }
    }
}

/// Watches the watchdog, as it watches the others.
async fn guard(watchdog: Live<Watchdog>, given_up: CancellationToken, stopping: CancellationToken) {
    let patience = Patience::default();
    while !stopping.is_cancelled() {
        watchdog::visit(&watchdog, &patience, &given_up).await;
        tokio::time::sleep(patience.interval).await;
    }
}

/// Tells the worker of this process what other processes did.
async fn ring(mut news: broadcast::Receiver<News>, bell: Bell) {
    loop {
        match news.recv().await {
            Ok(News::Said(payload)) => bell.heard(&payload),
            Ok(News::Gap) | Err(RecvError::Lagged(_)) => bell.anything(),
            Err(RecvError::Closed) => break,
        }
    }
}
