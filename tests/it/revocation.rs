//! The contract's rule: once the answer to a revocation has left any process, every request that starts later, at any
//! process, is refused. Processes here are whole sets of stores, each with its memory, pool and change feed.

use std::{
    cell::Cell,
    sync::Arc,
    time::{Duration, Instant},
};

use diesel::{QueryableByName, sql_types::Integer};
use diesel_async::RunQueryDsl;
use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use starter::{
    actors::{
        api_keys::{IssueKey, RevokeKey, RotateKey, UpdateKey},
        change_feed::{News, TASKS},
        sessions::{CloseAllSessions, CloseSession, RefreshSession},
    },
    db::{Session, Target, embedded::Cluster, migrate},
    domain::{
        Caller, Error, Forget, Permission, Permissions, Result, UserId,
        api_key::{ApiKeySecret, KeyName},
        issued_key::{KeyChange, NewKey},
        token::SessionToken,
    },
};

use crate::support::{
    db::TestDatabase,
    eventually,
    stores::{HASH, LIFETIME, Stores, origin},
};

const LONG: Duration = Duration::from_secs(60);

fn refused(outcome: &Result<Arc<Caller>>) -> bool {
    matches!(outcome, Err(Error::Unauthenticated { presented: true }))
}

async fn processes<const N: usize>(database: &TestDatabase) -> [Stores; N] {
    let mut started = Vec::new();
    for _ in 0..N {
        started.push(Stores::remembering(database).await);
    }
    started.try_into().unwrap_or_else(|_| unreachable!())
}

/// Waits until the process answers from memory, and leaves the token in it.
async fn warm(stores: &Stores, token: &SessionToken) {
    eventually(LONG, async || {
        stores.resolve(token).await.unwrap();
        let before = stores.lookups.lookups().items;
        stores.resolve(token).await.unwrap();
        stores.lookups.lookups().items == before
    })
    .await;
}

async fn lives(process: &Stores) {
    eventually(LONG, async || process.feed.is_live()).await;
}

async fn issue(stores: &Stores, by: &Arc<Caller>) -> ApiKeySecret {
    let permissions = [Permission::TasksRead].into_iter().collect();
    let key = NewKey { name: KeyName::parse("ci").unwrap(), permissions, expires_at: None };
    stores.keys.ask(IssueKey { key, by: Arc::clone(by), origin: origin() }).await.unwrap().secret
}

#[derive(QueryableByName)]
struct Backend {
    #[diesel(sql_type = Integer)]
    pid: i32,
}

/// The server processes that listen for processes that remember.
async fn listeners(database: &TestDatabase) -> Vec<i32> {
    let mut connection = database.connection().await;
    let found: Vec<Backend> = diesel::sql_query(
        "select l.pid from pg_locks l join pg_database d on d.oid = l.database \
         where l.locktype = 'advisory' and l.mode = 'ShareLock' and d.datname = current_database()",
    )
    .load(&mut connection)
    .await
    .unwrap();
    found.into_iter().map(|backend| backend.pid).collect()
}

async fn kill_listeners(database: &TestDatabase) {
    for pid in listeners(database).await {
        database.sql(&format!("select pg_terminate_backend({pid})")).await;
    }
}

/// A server process that does not get to run until this is dropped.
struct Stopped(Pid);

impl Stopped {
    fn new(pid: i32) -> Self {
        let pid = Pid::from_raw(pid).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _gone = kill_process(self.0, Signal::CONT);
    }
}

/// Every way to take a right away.
#[derive(Debug, Clone, Copy)]
enum Way {
    Close,
    CloseAll,
    Refresh,
    Deactivate,
    RevokeKey,
    RotateKey,
    ExpireKey,
}

const WAYS: [Way; 7] = [
    Way::Close,
    Way::CloseAll,
    Way::Refresh,
    Way::Deactivate,
    Way::RevokeKey,
    Way::RotateKey,
    Way::ExpireKey,
];

impl Way {
    async fn revoke(self, database: &TestDatabase, at: &Stores, user: UserId, round: &Round) {
        let (by, origin) = (Arc::clone(&round.by), origin());
        let (session, key) = (round.session, round.key);
        match self {
            Self::Close => at.sessions.ask(CloseSession { id: session, by, origin }).await.unwrap(),
            Self::CloseAll => {
                at.sessions.ask(CloseAllSessions { user, except: None, by, origin }).await.map(drop).unwrap();
            }
            Self::Refresh => {
                let hash = round.token.hash();
                at.sessions.ask(RefreshSession { by, hash, origin }).await.map(drop).unwrap();
            }
            Self::Deactivate => {
                database.sql(&format!("update users set is_active = false where id = '{user}'")).await;
                at.revoker.revoked(Forget::User(user)).await;
            }
            Self::RevokeKey => at.keys.ask(RevokeKey { id: key, by, origin }).await.unwrap(),
            Self::RotateKey => {
                let rotate = RotateKey { id: key, grace: Duration::ZERO, by, origin };
                at.keys.ask(rotate).await.map(drop).unwrap();
            }
            Self::ExpireKey => {
                let expires_at = Some(Some(chrono::DateTime::UNIX_EPOCH));
                let change = KeyChange { expires_at, ..KeyChange::default() };
                at.keys.ask(UpdateKey { id: key, change, by, origin }).await.map(drop).unwrap();
            }
        }
    }

    /// The process still accepts what was revoked.
    async fn is_accepted(self, at: &Stores, round: &Round) -> bool {
        let outcome = match self {
            Self::RevokeKey | Self::RotateKey | Self::ExpireKey => at.verify(&round.secret).await,
            _ => at.resolve(&round.token).await,
        };
        match outcome {
            Ok(_) => true,
            // What is away does not accept.
            Err(Error::Unauthenticated { .. } | Error::Unavailable { .. }) => false,
            Err(other) => panic!("{other:?}"),
        }
    }
}

struct Round {
    by: Arc<Caller>,
    session: starter::domain::SessionId,
    token: SessionToken,
    key: starter::domain::ApiKeyId,
    secret: ApiKeySecret,
}

/// Warm in the other processes, revoked here, asked there; returns how often it was accepted.
async fn rounds(database: &TestDatabase, processes: &[Stores; 3], lanes: usize, each: usize) -> usize {
    let accepted = Cell::new(0);
    let lane = async |lane: usize| {
        for n in 0..each {
            let (way, home) = (WAYS[(lane + n) % WAYS.len()], &processes[n % 3]);
            let user = database.user(&format!("user-{lane}-{n}-{}", rand::random::<u16>())).await;
            let Ok(opened) = home.sessions.ask(crate::support::stores::opening(user)).await else { continue };
            let Ok(by) = home.resolve(&opened.token).await else { continue };
            let secret = issue(home, &by).await;
            let Ok(found) = home.verify(&secret).await else { continue };
            let key = match found.credential {
                starter::domain::Credential::ApiKey { id, .. } => id,
                other => panic!("{other:?}"),
            };
            let round = Round { by, session: opened.id, token: opened.token, key, secret };
            for process in processes {
                for _ in 0..2 {
                    way.is_accepted(process, &round).await;
                }
            }
            way.revoke(database, home, user, &round).await;
            for process in processes {
                if way.is_accepted(process, &round).await {
                    eprintln!("{way:?} was accepted after its answer");
                    accepted.set(accepted.get() + 1);
                }
            }
        }
    };
    join_all((0..lanes).map(lane)).await;
    accepted.into_inner()
}

#[actix_rt::test]
async fn what_is_revoked_here_is_refused_there_in_every_way() {
    let database = TestDatabase::create().await;
    let processes = processes::<3>(&database).await;
    let session = processes[0].open(database.user("alice").await).await;
    for process in &processes {
        warm(process, &session.token).await;
    }
    assert_eq!(rounds(&database, &processes, 21, 10).await, 0);
}

#[actix_rt::test]
async fn also_while_the_listening_connections_are_killed() {
    let database = TestDatabase::create().await;
    let processes = processes::<3>(&database).await;
    for process in &processes {
        lives(process).await;
    }
    let done = Cell::new(false);
    let kill = async {
        while !done.get() {
            kill_listeners(&database).await;
            tokio::time::sleep(Duration::from_millis(900)).await;
        }
    };
    let revoke = async {
        let accepted = rounds(&database, &processes, 14, 8).await;
        done.set(true);
        accepted
    };
    let (accepted, ()) = tokio::join!(revoke, kill);
    assert_eq!(accepted, 0);
    let session = processes[0].open(database.user("alice").await).await;
    for process in &processes {
        warm(process, &session.token).await;
    }
}

#[actix_rt::test]
async fn also_while_the_listening_connections_are_stopped() {
    let database = TestDatabase::create().await;
    let processes = processes::<3>(&database).await;
    for process in &processes {
        lives(process).await;
    }
    let done = Cell::new(false);
    let stop = async {
        let mut stopped = Vec::new();
        while !done.get() {
            for pid in listeners(&database).await {
                stopped.push(Stopped::new(pid));
            }
            tokio::time::sleep(Duration::from_millis(700)).await;
            stopped.truncate(2);
        }
    };
    let revoke = async {
        let accepted = rounds(&database, &processes, 14, 8).await;
        done.set(true);
        accepted
    };
    let (accepted, ()) = tokio::join!(revoke, stop);
    assert_eq!(accepted, 0);
    kill_listeners(&database).await;
    let session = processes[0].open(database.user("alice").await).await;
    for process in &processes {
        warm(process, &session.token).await;
    }
}

#[actix_rt::test]
async fn many_readers_cannot_keep_a_revoked_token_alive() {
    let database = TestDatabase::create().await;
    let [here, there] = processes::<2>(&database).await;
    let alice = database.user("alice").await;
    // In which a look-up that began before the revocation could bring back what it found.
    let rounds = std::env::var("STARTER_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let mut all = Vec::new();
    for _ in 0..rounds {
        let session = here.open(alice).await;
        warm(&there, &session.token).await;
        let (revoked, late) = (Cell::new(false), Cell::new(0));
        let until = Instant::now() + Duration::from_millis(700);
        let read = async |_| {
            while Instant::now() < until {
                let after = revoked.get();
                let outcome = there.resolve(&session.token).await;
                late.set(late.get() + usize::from(after && outcome.is_ok()));
            }
        };
        let revoke = async {
            let by = here.resolve(&session.token).await.unwrap();
            here.sessions.ask(CloseSession { id: session.id, by, origin: origin() }).await.unwrap();
            revoked.set(true);
        };
        tokio::join!(join_all((0..50).map(read)), revoke);
        assert_eq!(late.into_inner(), 0);
        assert!(refused(&there.resolve(&session.token).await));
        all.push(session.token);
    }
    for token in &all {
        assert!(refused(&there.resolve(token).await));
    }
}

#[actix_rt::test]
async fn a_lonely_process_does_not_wait_and_one_with_company_does() {
    let database = TestDatabase::create().await;
    let [here] = processes::<1>(&database).await;
    let session = here.open(database.user("alice").await).await;
    warm(&here, &session.token).await;
    let timed = async || {
        let start = Instant::now();
        here.revoker.revoked(Forget::Session(session.id)).await;
        start.elapsed()
    };
    eventually(LONG, async || timed().await < Duration::from_millis(200)).await;
    let [there] = processes::<1>(&database).await;
    warm(&there, &session.token).await;
    for _ in 0..3 {
        assert!(timed().await >= Duration::from_millis(300));
    }
    database.sql("select 1").await;
    let without = Stores::start(&database).await;
    lives(&without).await;
    let start = Instant::now();
    without.revoker.revoked(Forget::Everything).await;
    assert!(start.elapsed() >= Duration::from_millis(300), "it remembers nothing, but others do");
}

#[actix_rt::test]
async fn processes_without_memory_do_not_wait_for_each_other() {
    let database = TestDatabase::create().await;
    let processes = [Stores::start(&database).await, Stores::start(&database).await];
    lives(&processes[1]).await;
    eventually(LONG, async || {
        let start = Instant::now();
        processes[0].revoker.revoked(Forget::Everything).await;
        start.elapsed() < Duration::from_millis(200)
    })
    .await;
}

#[actix_rt::test]
async fn plain_sql_takes_effect_everywhere_within_a_quarter_of_a_second() {
    let database = TestDatabase::create().await;
    let [here, there] = processes::<2>(&database).await;
    for (name, change) in [
        ("deleted", "delete from sessions where user_id = $id"),
        ("inactive", "update users set is_active = false where id = $id"),
        ("expired", "update sessions set idle_expires_at = now() where user_id = $id"),
        ("gone", "delete from users where id = $id"),
        ("truncated", "truncate sessions"),
    ] {
        let user = database.user(name).await;
        let session = here.open(user).await;
        warm(&here, &session.token).await;
        warm(&there, &session.token).await;
        let mut connection = database.connection().await;
        let change = diesel::sql_query(change.replace("$id", &format!("'{user}'")));
        change.execute(&mut connection).await.unwrap();
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert!(refused(&here.resolve(&session.token).await), "{name}");
        assert!(refused(&there.resolve(&session.token).await), "{name}");
    }
}

#[actix_rt::test]
async fn a_changed_role_is_seen_by_the_next_request() {
    let database = TestDatabase::create().await;
    let [here, there] = processes::<2>(&database).await;
    let user = database.user("alice").await;
    let session = here.open(user).await;
    for role in ["admin", "user", "admin"] {
        warm(&there, &session.token).await;
        database.sql(&format!("update users set role = '{role}' where id = '{user}'")).await;
        here.revoker.revoked(Forget::User(user)).await;
        assert_eq!(there.resolve(&session.token).await.unwrap().user.role.as_str(), role);
    }
}

#[actix_rt::test]
async fn a_revocation_that_is_rolled_back_changes_nothing() {
    let database = TestDatabase::create().await;
    let [here, there] = processes::<2>(&database).await;
    let session = here.open(database.user("alice").await).await;
    warm(&there, &session.token).await;
    database.sql("begin; delete from sessions; rollback").await;
    warm(&there, &session.token).await;
    assert!(here.resolve(&session.token).await.is_ok());
}

#[actix_rt::test]
async fn a_new_log_in_works_at_once_everywhere() {
    let database = TestDatabase::create().await;
    let [here, there] = processes::<2>(&database).await;
    let alice = database.user("alice").await;
    let first = here.open(alice).await;
    warm(&there, &first.token).await;
    for _ in 0..20 {
        assert!(refused(&there.resolve(&SessionToken::generate()).await));
        let session = here.open(alice).await;
        assert!(there.resolve(&session.token).await.is_ok());
    }
}

#[actix_rt::test]
async fn what_is_not_understood_makes_everybody_forget_everything() {
    let database = TestDatabase::create().await;
    let [here] = processes::<1>(&database).await;
    let session = here.open(database.user("alice").await).await;
    for payload in ["x:1", "", "s:nonsense", "v2:s:whatever"] {
        warm(&here, &session.token).await;
        assert_eq!(here.memories[0].len(), 1);
        database.sql(&format!("select pg_notify('starter_credentials', '{payload}')")).await;
        eventually(LONG, async || here.memories[0].is_empty()).await;
    }
}

#[actix_rt::test]
async fn who_listens_at_another_database_answers_nothing_from_memory() {
    let (database, other) = (TestDatabase::create().await, TestDatabase::create().await);
    let astray = Stores::start_as(&database, LIFETIME, true, other.target()).await;
    let session = astray.open(database.user("alice").await).await;
    let until = Instant::now() + Duration::from_millis(1_500);
    while Instant::now() < until {
        let before = astray.lookups.lookups().items;
        astray.resolve(&session.token).await.unwrap();
        assert_eq!(astray.lookups.lookups().items, before + 1, "answered from memory");
    }
    assert!(!astray.feed.is_live());
}

#[actix_rt::test]
async fn forged_tokens_take_no_room() {
    let database = TestDatabase::create().await;
    let [here] = processes::<1>(&database).await;
    let session = here.open(database.user("alice").await).await;
    warm(&here, &session.token).await;
    let forged = (0..3_000).map(|_| async { refused(&here.resolve(&SessionToken::generate()).await) });
    let before = here.lookups.lookups().statements;
    // Meanwhile a real user is served.
    let (all, real) = tokio::join!(join_all(forged), here.resolve(&session.token));
    assert!(all.into_iter().all(|refused| refused) && real.is_ok());
    let statements = here.lookups.lookups().statements - before;
    // How full they are depends on how quick the database is; that they are shared does not.
    assert!(statements < 1_500, "{statements} statements for 3,000 tokens");
    assert_eq!(here.memories[0].len(), 1);
}

#[actix_rt::test]
async fn a_request_after_the_answer_never_joins_a_look_up_from_before() {
    let database = TestDatabase::create().await;
    let stores = Stores::start(&database).await;
    let session = stores.open(database.user("alice").await).await;
    let by = stores.resolve(&session.token).await.unwrap();
    // Look-ups now take their snapshot and then wait at a gate.
    database
        .sql(
            "create function gate() returns boolean language plpgsql volatile as $$ begin \
                 perform pg_advisory_xact_lock_shared(4711); return true; end $$; \
             alter table users rename to people; \
             create view users as select * from people where gate()",
        )
        .await;
    let mut gate = database.connection().await;
    diesel::sql_query("select pg_advisory_lock(4711)").execute(&mut gate).await.unwrap();
    let waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted";
    let early = tokio::task::spawn_local({
        let (stores, token) = (stores.clone(), session.token.clone());
        async move { stores.resolve(&token).await }
    });
    eventually(LONG, async || database.count(waiting).await == 1).await;
    stores.sessions.ask(CloseSession { id: session.id, by, origin: origin() }).await.unwrap();
    let late = tokio::task::spawn_local({
        let (stores, token) = (stores.clone(), session.token.clone());
        async move { stores.resolve(&token).await }
    });
    diesel::sql_query("select pg_advisory_unlock(4711)").execute(&mut gate).await.unwrap();
    assert!(early.await.unwrap().is_ok(), "it looked before the revocation");
    assert!(refused(&late.await.unwrap()), "it came after the revocation's answer");
}

#[actix_rt::test]
async fn subscribers_hear_what_is_said_and_of_gaps() {
    let database = TestDatabase::create().await;
    let [here] = processes::<1>(&database).await;
    let mut news = here.feed.subscribe(TASKS).unwrap();
    assert!(here.feed.subscribe("other").is_none());
    lives(&here).await;
    database.sql("select pg_notify('starter_tasks', 'hello')").await;
    let mut next = async || tokio::time::timeout(LONG, news.recv()).await.unwrap().unwrap();
    let mut heard = next().await;
    if heard == News::Gap {
        heard = next().await;
    }
    assert_eq!(heard, News::Said("hello".into()));
    kill_listeners(&database).await;
    assert_eq!(next().await, News::Gap);
    let _ = Permissions::default();
}

#[cfg(feature = "fault-injection")]
#[actix_rt::test]
async fn a_store_and_a_feed_that_panicked_serve_again() {
    use starter::actors::vital::{Crash, Silence, Watched};
    let database = TestDatabase::create().await;
    let [here] = processes::<1>(&database).await;
    let session = here.open(database.user("alice").await).await;
    warm(&here, &session.token).await;
    here.sessions.inject(Crash);
    here.change_feed.inject(Crash);
    eventually(LONG, async || here.resolve(&session.token).await.is_err()).await;
    here.sessions.replace(Silence::Dead);
    here.change_feed.replace(Silence::Dead);
    warm(&here, &session.token).await;
}

#[actix_rt::test]
async fn a_database_that_restarts_brings_nothing_back_and_costs_nobody_his_session() {
    let (_parent, directory) = crate::embedded::directory();
    let start = async || {
        let directory = directory.clone();
        tokio::task::spawn_blocking(move || Cluster::start(&directory).unwrap()).await.unwrap()
    };
    let stop =
        async |cluster: Cluster| tokio::task::spawn_blocking(move || cluster.stop().unwrap()).await.unwrap();
    let cluster = start().await;
    let target = Target::parse(&cluster.url().into()).unwrap();
    migrate::run(&target).await.unwrap();
    let process = async || Stores::start_at(target.clone(), LIFETIME, true, target.clone()).await;
    let processes = [process().await, process().await];
    let [here, there] = &processes;
    let user = UserId::new();
    let mut connection =
        target.dial(Session { connect_timeout: LONG, statement_timeout: None, scans: true }).await.unwrap();
    diesel::sql_query(format!(
        "insert into users (id, username, username_canon, email, email_canon, password_hash) \
         values ('{user}', 'alice', 'alice', 'a@b.c', 'a@b.c', '{HASH}')"
    ))
    .execute(&mut connection)
    .await
    .unwrap();
    drop(connection);
    let (good, dead) = (here.open(user).await, here.open(user).await);
    warm(there, &good.token).await;
    warm(there, &dead.token).await;
    let by = here.resolve(&dead.token).await.unwrap();
    here.sessions.ask(CloseSession { id: dead.id, by, origin: origin() }).await.unwrap();
    let (done, away) = (Cell::new(false), Cell::new(0));
    let watch = async |process: &Stores| {
        while !done.get() {
            assert!(process.resolve(&dead.token).await.is_err(), "revoked, and accepted");
            match process.resolve(&good.token).await {
                Ok(_) => {}
                Err(Error::Unavailable { .. }) => away.set(away.get() + 1),
                Err(other) => panic!("good, and refused: {other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let restart = async {
        stop(cluster).await;
        eventually(LONG, async || away.get() > 0).await;
        let cluster = start().await;
        for process in &processes {
            eventually(LONG, async || process.resolve(&good.token).await.is_ok()).await;
            warm(process, &good.token).await;
        }
        done.set(true);
        cluster
    };
    let (cluster, (), ()) = tokio::join!(restart, watch(here), watch(there));
    let by = here.resolve(&good.token).await.unwrap();
    here.sessions.ask(CloseSession { id: good.id, by, origin: origin() }).await.unwrap();
    assert!(refused(&there.resolve(&good.token).await), "the rule holds as before");
    stop(cluster).await;
}
