//! The pool hands out connections that work, whatever was done to them before.

use std::time::Duration;

use diesel::{
    IntoSql, select,
    sql_types::{BigInt, Integer, Text},
};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use secrecy::SecretString;
use starter::{
    db::{self, Limits, Pool, Session, Target},
    domain::Error,
};
use tokio::{sync::oneshot, time::timeout};

use crate::support::{db::TestDatabase, eventually};

const LONG: Duration = Duration::from_secs(30);

diesel::define_sql_function! {
    /// The number of this connection's server process.
    fn pg_backend_pid() -> Integer;
}
diesel::define_sql_function! {
    /// A setting, as text.
    fn current_setting(name: Text) -> Text;
}

async fn one_connection(database: &TestDatabase) -> Pool {
    let limits =
        Limits { max_connections: 1, min_connections: 1, connect_timeout: LONG, ..Limits::default() };
    db::connect(&database.target(), limits).await.unwrap()
}

async fn backend(connection: &mut AsyncPgConnection) -> i32 {
    select(pg_backend_pid()).get_result(connection).await.unwrap()
}

async fn setting(connection: &mut AsyncPgConnection, name: &str) -> String {
    select(current_setting(name)).get_result(connection).await.unwrap()
}

async fn rows(pool: &Pool) -> i64 {
    diesel::table! { t (n) { n -> Integer, } }
    let mut connection = pool.get().await.unwrap();
    let count = diesel::QueryDsl::select(t::table, diesel::dsl::count_star());
    count.get_result(&mut connection).await.unwrap()
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let database = TestDatabase::empty().await;
    let pool = one_connection(&database).await;
    let first = backend(&mut pool.get().await.unwrap()).await;
    let second = backend(&mut pool.get().await.unwrap()).await;
    assert_eq!(first, second);
    assert_eq!((pool.state().connections, pool.state().max), (1, 1));
}

#[tokio::test]
async fn a_future_dropped_inside_a_transaction_does_not_poison_the_pool() {
    let database = TestDatabase::empty().await;
    database.sql("CREATE TABLE t (n int PRIMARY KEY)").await;
    let pool = one_connection(&database).await;

    let (inserted, wait) = oneshot::channel();
    let doomed = {
        let pool = pool.clone();
        tokio::spawn(async move {
            let mut connection = pool.get().await.unwrap();
            let work = connection.transaction(async |connection| {
                connection.batch_execute("INSERT INTO t VALUES (1)").await?;
                inserted.send(()).unwrap();
                std::future::pending::<diesel::QueryResult<()>>().await
            });
            work.await
        })
    };
    wait.await.unwrap();
    doomed.abort();

    // The insert would be visible, and the next commit make it last, were it the same transaction.
    assert_eq!(timeout(LONG, rows(&pool)).await.unwrap(), 0);
    pool.get().await.unwrap().batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
    assert_eq!(rows(&pool).await, 1);
    assert!(pool.state().broken >= 1);
}

#[tokio::test]
async fn a_future_dropped_during_begin_does_not_poison_the_pool() {
    let database = TestDatabase::empty().await;
    database.sql("CREATE TABLE t (n int PRIMARY KEY)").await;
    let pool = one_connection(&database).await;
    for _ in 0..20 {
        let mut connection = pool.get().await.unwrap();
        let work = connection.transaction(async |c| c.batch_execute("INSERT INTO t VALUES (1)").await);
        // Polled once: BEGIN is on its way, its answer is not here.
        assert!(futures_util::FutureExt::now_or_never(work).is_none());
    }
    assert_eq!(timeout(LONG, rows(&pool)).await.unwrap(), 0);
}

#[tokio::test]
async fn a_statement_whose_future_was_dropped_does_not_answer_the_next_one() {
    let database = TestDatabase::empty().await;
    let pool = one_connection(&database).await;
    for n in 0..50 {
        let mut connection = pool.get().await.unwrap();
        let dropped = select(n.into_sql::<Integer>()).get_result::<i32>(&mut connection);
        assert!(futures_util::FutureExt::now_or_never(dropped).is_none());
        drop(connection);
        let mut connection = pool.get().await.unwrap();
        let query = select((1_000_000_i64 + i64::from(n)).into_sql::<BigInt>());
        assert_eq!(query.get_result::<i64>(&mut connection).await.unwrap(), 1_000_000 + i64::from(n));
    }
}

#[tokio::test]
async fn connections_that_the_server_closed_are_replaced_before_anybody_gets_one() {
    let database = TestDatabase::empty().await;
    let pool = database.pool().await;
    let before = backend(&mut pool.get().await.unwrap()).await;
    database
        .sql(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await;
    // The news takes a moment to travel; from then on nobody gets a dead one.
    eventually(LONG, async || {
        let mut connection = pool.get().await.unwrap();
        let answer = select(pg_backend_pid()).get_result::<i32>(&mut connection).await;
        answer.is_ok_and(|now| now != before)
    })
    .await;
}

#[tokio::test]
async fn nobody_waits_for_ever_for_a_connection() {
    let database = TestDatabase::empty().await;
    let limits = Limits {
        max_connections: 1,
        min_connections: 0,
        connect_timeout: Duration::from_secs(3),
        ..Limits::default()
    };
    let pool = db::connect(&database.target(), limits).await.unwrap();
    let _on_loan = pool.get().await.unwrap();
    let refused = pool.get().await.err().unwrap();
    assert!(matches!(refused, Error::Unavailable { what: "database", .. }), "{refused:?}");
    assert_eq!((pool.state().waiting, pool.state().timed_out), (0, 1));
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_unavailable_and_the_connection_lives() {
    let database = TestDatabase::empty().await;
    let limits = Limits { statement_timeout: Duration::from_secs(1), ..Limits::default() };
    let pool = db::connect(&database.target(), limits).await.unwrap();
    let mut connection = pool.get().await.unwrap();
    let error = connection.batch_execute("SELECT pg_sleep(60)").await.unwrap_err();
    let error = Error::from(error);
    assert!(matches!(error, Error::Unavailable { what: "database", .. }), "{error:?}");
    assert_eq!(setting(&mut connection, "statement_timeout").await, "1s");
}

#[tokio::test]
async fn every_connection_has_its_name_its_time_outs_and_utc() {
    let database = TestDatabase::empty().await;
    let pool = database.pool().await;
    let mut connection = pool.get().await.unwrap();
    for (name, value) in [
        ("application_name", "starter"),
        ("statement_timeout", "10s"),
        ("idle_in_transaction_session_timeout", "1min"),
        ("TimeZone", "UTC"),
    ] {
        assert_eq!(setting(&mut connection, name).await, value, "{name}");
    }
}

#[tokio::test]
async fn connections_are_driven_by_the_runtime_that_made_the_pool() {
    let database = TestDatabase::empty().await;
    let pool = one_connection(&database).await;
    // Somebody on another runtime breaks the only connection and asks for the next one, and is gone.
    let borrowed = pool.clone();
    let elsewhere = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut connection = borrowed.get().await.unwrap();
            let _ = connection.batch_execute("SELECT pg_terminate_backend(pg_backend_pid())").await;
            drop(connection);
            loop {
                // Dead ones are found out a moment after they died.
                let mut connection = borrowed.get().await.unwrap();
                if let Ok(backend) = select(pg_backend_pid()).get_result::<i32>(&mut connection).await {
                    return backend;
                }
            }
        })
    });
    let elsewhere = tokio::task::spawn_blocking(move || elsewhere.join().unwrap()).await.unwrap();
    let here = timeout(LONG, async { backend(&mut pool.get().await.unwrap()).await }).await.unwrap();
    assert_eq!(here, elsewhere);
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named_without_its_password() {
    let session = Session { connect_timeout: Duration::from_secs(1), statement_timeout: None, scans: true };
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = SecretString::from(format!("postgres://user:hunter2@{nobody}/name"));
    let target = Target::parse(&url).unwrap();
    let limits = Limits { connect_timeout: Duration::from_secs(1), ..Limits::default() };
    for error in
        [target.dial(session).await.err().unwrap(), db::connect(&target, limits).await.err().unwrap()]
    {
        let text = format!("{error} {error:?}");
        assert!(text.contains(&nobody.to_string()) && !text.contains("hunter2"), "{text}");
        assert!(matches!(error, Error::Unavailable { what: "database", .. }), "{text}");
    }
}

#[tokio::test]
async fn a_database_that_will_never_let_us_in_is_told_at_once() {
    let database = TestDatabase::empty().await;
    let url = SecretString::from(database.url().replacen("/test_", "/nowhere_", 1));
    let limits = Limits { connect_timeout: Duration::from_secs(600), ..Limits::default() };
    let error =
        timeout(LONG, db::connect(&Target::parse(&url).unwrap(), limits)).await.unwrap().err().unwrap();
    assert!(error.to_string().contains("does not exist"), "{error}");
}
