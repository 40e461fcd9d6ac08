//! All actors of a process, as the binary starts them: each is killed, and each comes back.

use std::{sync::Arc, time::Duration};

use starter::{
    actors::{
        accounts::Tools,
        hashers::Hashers,
        maintenance::{Settings, Upkeep},
        sessions::ResolveSession,
        system::{Actors, Ground},
        vital::{Crash, Report, State},
        watchdog::{CheckHealth, ReportAll},
    },
    config::Config,
    db::{self, Limits},
    domain::{Error, Result, token::SessionToken},
    tasks::{Registry, Services},
};
use tokio::runtime::Runtime;

use crate::support::{db::TestDatabase, eventually};

const LONG: Duration = Duration::from_secs(60);

/// An actor's name, and what makes it panic.
type Crashing<'a> = (&'static str, Box<dyn Fn() + 'a>);

async fn start(database: &TestDatabase) -> Actors {
    let runtime = Arc::new(Runtime::new().unwrap());
    let cheap = [("STARTER__AUTH__ARGON2_MEMORY_KIB", "64"), ("STARTER__AUTH__ARGON2_ITERATIONS", "1")];
    let config = Arc::new(Config::from_pairs(cheap).unwrap());
    let target = database.target();
    let limits = Limits { max_connections: 3, ..Limits::default() };
    let dial = async move { db::connect(&target, limits).await.unwrap() };
    let pool = runtime.spawn(dial).await.unwrap();
    let hashers = Hashers::start((&config.auth).into()).unwrap();
    let registry = Registry::builtin();
    let ground = Ground {
        remembers: config.auth.cache,
        credentials: pool.clone(),
        queue: Some(pool.clone()),
        direct: database.target(),
        accounts: Arc::new(Tools::new(pool.clone(), hashers.clone(), &config.auth)),
        hashers,
        services: Arc::new(Services::default()),
        upkeep: Upkeep::new(pool.clone(), registry.clone(), None, Settings::from(&*config)),
        registry,
        config,
        runtime: Arc::clone(&runtime),
        pool,
    };
    // Not to be dropped within another runtime.
    std::mem::forget(runtime);
    Actors::start(&ground)
}

async fn report(actors: &Actors, name: &str) -> Option<Report> {
    let rows = actors.watchdog.ask(ReportAll).await.ok()?;
    rows.into_iter().find(|row| row.name == name)
}

#[test]
fn every_actor_that_panics_is_replaced_and_the_process_is_ready_again() {
    actix_rt::System::new().block_on(async {
        let database = TestDatabase::create().await;
        let actors = start(&database).await;
        let crashes: [Crashing<'_>; 8] = [
            ("SessionStore", Box::new(|| actors.sessions.inject(Crash))),
            ("ApiKeyVerifier", Box::new(|| actors.api_keys.inject(Crash))),
            ("Accounts", Box::new(|| actors.accounts.inject(Crash))),
            ("TaskDispatcher", Box::new(|| actors.dispatcher.inject(Crash))),
            ("TaskWorker", Box::new(|| actors.worker.as_ref().unwrap().inject(Crash))),
            ("ChangeFeed", Box::new(|| actors.change_feed.inject(Crash))),
            ("TaskEvents", Box::new(|| actors.task_events.inject(Crash))),
            ("Maintenance", Box::new(|| actors.maintenance.inject(Crash))),
        ];
        for (name, crash) in crashes {
            crash();
            eventually(LONG, || async {
                let row = report(&actors, name).await;
                row.is_some_and(|row| row.restarts == 1 && row.state == State::Running)
            })
            .await;
            assert_eq!(report(&actors, name).await.unwrap().last_error, Some("ended unexpectedly"), "{name}");
        }
        assert!(!actors.given_up.is_cancelled());
        assert!(actors.watchdog.ask(CheckHealth).await.unwrap().is_ready());
        actors.stop().await;
    });
}

#[test]
fn a_watchdog_that_panics_is_replaced_too_and_knows_what_the_last_one_knew() {
    actix_rt::System::new().block_on(async {
        let database = TestDatabase::create().await;
        let actors = start(&database).await;
        actors.sessions.inject(Crash);
        eventually(LONG, || async {
            report(&actors, "SessionStore").await.is_some_and(|row| row.restarts == 1)
        })
        .await;
        actors.watchdog.inject(Crash);
        let told: Result<_> = actors.watchdog.ask(ReportAll).await;
        assert!(told.is_ok() || matches!(told, Err(Error::Unavailable { .. })));
        eventually(LONG, || async {
            report(&actors, "SessionStore").await.is_some_and(|row| row.restarts == 1)
        })
        .await;
        actors.stop().await;
    });
}

#[test]
fn whoever_asks_a_dead_store_is_told_503_and_then_the_truth() {
    actix_rt::System::new().block_on(async {
        let database = TestDatabase::create().await;
        let actors = start(&database).await;
        let hash = SessionToken::generate().hash();
        actors.sessions.inject(Crash);
        eventually(LONG, || async {
            match actors.sessions.ask(ResolveSession { hash }).await {
                Err(Error::Unavailable { .. }) => false,
                Err(Error::Unauthenticated { presented: true }) => true,
                other => panic!("neither away nor the truth: {other:?}"),
            }
        })
        .await;
        actors.stop().await;
    });
}
