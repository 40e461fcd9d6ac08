//! The worker's hot statements keep a good plan, whether PostgreSQL looks at their arguments or not.

use std::time::Duration;

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use serde_json::json;
use starter::{
    db::{
        self, Limits, Plans,
        queue::{self, Others, Places, Stopping, Wanted},
        sweep,
    },
    domain::attempt::{Claim, Lease, Stopped, WorkerId},
};

use crate::support::db::{TestDatabase, number};

/// Mostly finished tasks, some of every other kind, as PostgreSQL's statistics know them.
const FULL: &str = "
    insert into tasks (id, task_type, status, stage, max_attempts, timeout_secs, finished_at)
    select gen_random_uuid(), 'noop', 'succeeded', null, 1, 1, now() - n * interval '1s' from generate_series(1, 30000) n;
    insert into tasks (id, task_type, max_attempts, timeout_secs)
    select gen_random_uuid(), 'noop', 3, 1 from generate_series(1, 5000) n;
    insert into tasks (id, task_type, status, stage, max_attempts, timeout_secs, run_at)
    select gen_random_uuid(), 'noop', 'scheduled', 'waiting', 3, 1, now() + interval '1s' * (n - 1000)
    from generate_series(1, 5000) n;
    analyze";

/// Rows of tasks that were read by going through the whole table.
async fn scanned(connection: &mut AsyncPgConnection) -> i64 {
    let text = "select coalesce(sum(seq_tup_read), 0) from pg_stat_xact_user_tables where relname = 'tasks'";
    number(connection, text).await
}

async fn register(connection: &mut AsyncPgConnection) -> WorkerId {
    let (queues, lease) = (["default".to_owned()], Duration::from_secs(3600));
    queue::register(connection, ("h", 1), &["noop"], &queues, lease).await.unwrap()
}

async fn claim(connection: &mut AsyncPgConnection, worker: WorkerId) -> Vec<Claim> {
    queue::claim(connection, worker, Lease::draw(), "default", &["noop", "x"], 200).await.unwrap()
}

/// All of them, in one transaction.
async fn use_every_statement(connection: &mut AsyncPgConnection, mode: &str) {
    let worker = register(connection).await;
    let leased: Vec<_> = claim(connection, worker).await.iter().map(Claim::leased).collect();
    assert_eq!((leased.len(), scanned(connection).await), (200, 0), "claim, {mode}");
    queue::peek(connection, "default", &["x"]).await.unwrap();
    assert_eq!(scanned(connection).await, 0, "peek, {mode}");
    queue::watch(connection, &leased).await.unwrap();
    assert_eq!(scanned(connection).await, 0, "watch, {mode}");
    let progress: Vec<_> = leased.iter().map(|leased| (*leased, json!(1))).collect();
    queue::report_progress(connection, &progress).await.unwrap();
    assert_eq!(scanned(connection).await, 0, "progress, {mode}");
    let done: Vec<_> = leased[..100].iter().map(|leased| (*leased, None)).collect();
    assert_eq!(queue::succeed(connection, &done).await.unwrap().len(), 100);
    assert_eq!(scanned(connection).await, 0, "succeed, {mode}");
    let stopping = Stopping { how: Stopped::Failed, why: None, delay: Duration::ZERO, times: None };
    let failed: Vec<_> = leased[100..150].iter().map(|leased| (*leased, stopping.clone())).collect();
    assert_eq!(queue::stop(connection, &failed).await.unwrap().len(), 50);
    assert_eq!(scanned(connection).await, 0, "stop, {mode}");
    assert_eq!(queue::hand_back(connection, &leased[150..]).await.unwrap().len(), 50);
    assert_eq!(scanned(connection).await, 0, "hand back, {mode}");
    let [known, over] = [claim(connection, worker).await[0].lease, leased[0].1];
    claim(connection, worker).await;
    assert_eq!(queue::take_back(connection, worker, &[known, over]).await.unwrap(), 200);
    assert_eq!(scanned(connection).await, 0, "take back what the worker does not know of, {mode}");
    queue::settle(connection, worker, &[over]).await.unwrap();
    assert_eq!(queue::take_back(connection, worker, &[]).await.unwrap(), 200);
    queue::promote(connection, &["default".to_owned()], 100).await.unwrap();
    queue::promote_left_behind(connection, 100).await.unwrap();
    assert_eq!(scanned(connection).await, 0, "promote, {mode}");
    claim(connection, worker).await;
    queue::deregister(connection, worker).await.unwrap();
    assert_eq!(queue::rescue(connection, 5).await.unwrap().len(), 200);
    assert_eq!(scanned(connection).await, 0, "rescue, {mode}");
    let (old, limit) = (Duration::from_secs(20_000), 1_000);
    let step = sweep::finished_tasks(connection, old, None, limit).await.unwrap();
    assert_eq!(step.deleted, 1_000);
    assert!(
        sweep::finished_tasks(connection, old, step.reached, limit).await.unwrap().reached > step.reached
    );
    assert_eq!(scanned(connection).await, 0, "sweep, {mode}");
}

#[tokio::test]
async fn no_statement_of_the_worker_reads_the_whole_table() {
    let database = TestDatabase::create().await;
    database.sql(FULL).await;
    for mode in ["force_custom_plan", "force_generic_plan", "auto"] {
        let mut connection = database.connection().await;
        connection.batch_execute(&format!("set plan_cache_mode = {mode}; begin")).await.unwrap();
        use_every_statement(&mut connection, mode).await;
    }
}

#[tokio::test]
async fn a_plan_that_was_made_for_an_empty_table_serves_a_full_one() {
    let database = TestDatabase::create().await;
    // Statistics are gathered when the table is full, not on some days when it is half full.
    database.sql("alter table tasks set (autovacuum_enabled = false)").await;
    let mut connection = database.connection().await;
    let connection = &mut connection;
    for _ in 0..10 {
        let worker = register(connection).await;
        claim(connection, worker).await;
        queue::succeed(connection, &[]).await.unwrap();
        queue::stop(connection, &[]).await.unwrap();
        queue::promote(connection, &["default".to_owned()], 100).await.unwrap();
        queue::deregister(connection, worker).await.unwrap();
    }
    database.sql(FULL).await;
    connection.batch_execute("begin").await.unwrap();
    use_every_statement(connection, "an old plan").await;
}

/// Entries of the index of due tasks that this connection has read of late.
async fn entries(connection: &mut AsyncPgConnection) -> i64 {
    number(connection, "select pg_stat_get_xact_tuples_returned('tasks_ready'::regclass)").await
}

/// Entries of all indexes of tasks that this connection has read of late.
async fn all_entries(connection: &mut AsyncPgConnection) -> i64 {
    let text = "select sum(pg_stat_get_xact_tuples_returned(indexrelid))::int8 from pg_index where indrelid = 'tasks'::regclass";
    number(connection, text).await
}

#[tokio::test]
async fn beside_a_long_transaction_a_claim_from_the_bookmark_does_not_step_over_what_was_claimed() {
    let database = TestDatabase::create().await;
    database
        .sql(
            "insert into tasks (id, task_type, max_attempts, timeout_secs, run_at)
             select gen_random_uuid(), 'noop', 3, 1, now() - interval '1 hour' + n * interval '1 ms'
             from generate_series(1, 6000) n; analyze",
        )
        .await;
    let mut old = database.connection().await;
    old.batch_execute("begin isolation level repeatable read; select from tasks limit 1").await.unwrap();

    let mut connection = database.connection().await;
    let worker = register(&mut connection).await;
    let mut last = None;
    for _ in 0..20 {
        let claims = claim(&mut connection, worker).await;
        let done: Vec<_> = claims.iter().map(|claim| (claim.leased(), None)).collect();
        queue::succeed(&mut connection, &done).await.unwrap();
        last = claims.last().cloned();
    }
    let last = last.unwrap();
    let whence = queue::Whence { priority: last.priority, run_at: last.run_at };
    let from = async |connection: &mut AsyncPgConnection, whence| {
        connection.batch_execute("begin").await.unwrap();
        let before = entries(connection).await;
        let places = Places::ALL_BEGIN;
        let wanted =
            Wanted { queue: "default", task_types: &["noop"], limited: None, at_most: 200, whence, places };
        let claims =
            queue::claim_from(connection, Plans::Fresh, worker, Lease::draw(), wanted).await.unwrap();
        let rows = entries(connection).await - before;
        connection.batch_execute("rollback").await.unwrap();
        (claims.into_iter().map(|claim| claim.id).collect::<Vec<_>>(), rows)
    };
    let (expected, front) = from(&mut connection, None).await;
    let (claimed, bookmark) = from(&mut connection, Some(whence)).await;
    assert_eq!((claimed.len(), &claimed), (200, &expected));
    assert!(
        bookmark < 1_000 && front > 4 * bookmark,
        "{bookmark} entries from the bookmark, {front} from the front"
    );
}

#[tokio::test]
async fn plans_that_the_queues_connections_keep_serve_a_full_table_too() {
    let database = TestDatabase::create().await;
    database.sql("alter table tasks set (autovacuum_enabled = false)").await;
    let limits = Limits { scans: false, max_connections: 1, min_connections: 1, ..Limits::default() };
    let pool = db::connect(&database.target(), limits).await.unwrap();
    assert_eq!(pool.plans(), Plans::Kept);
    assert_eq!(database.pool().await.plans(), Plans::Fresh);
    let mut connection = pool.get().await.unwrap();
    let worker = register(&mut connection).await;
    let work = async |connection: &mut AsyncPgConnection, whence| {
        let places = Places::ALL_BEGIN;
        let wanted =
            Wanted { queue: "default", task_types: &["noop"], limited: None, at_most: 200, whence, places };
        let claims = queue::claim_from(connection, Plans::Kept, worker, Lease::draw(), wanted).await.unwrap();
        let success = queue::Success { result: None, times: None };
        let done: Vec<_> = claims.iter().map(|claim| (claim.leased(), success.clone())).collect();
        queue::succeed_by(connection, Plans::Kept, &done).await.unwrap().len()
    };
    // More often than it takes PostgreSQL to settle on a plan for all arguments; the table is empty.
    let whence = queue::Whence { priority: 0, run_at: chrono::Utc::now() - chrono::TimeDelta::hours(1) };
    for _ in 0..10 {
        work(&mut connection, None).await;
        work(&mut connection, Some(whence)).await;
    }
    database.sql(FULL).await;
    connection.batch_execute("begin").await.unwrap();
    let before = scanned(&mut connection).await;
    for begin in [None, Some(whence)] {
        assert_eq!(work(&mut connection, begin).await, 200);
        assert_eq!(scanned(&mut connection).await - before, 0, "{begin:?}");
    }
}

#[tokio::test]
async fn the_tasks_of_others_are_found_past_any_number_of_one_owner() {
    let database = TestDatabase::create().await;
    database.sql("alter table tasks set (autovacuum_enabled = false)").await;
    let [alice, bob] = [database.user("alice").await, database.user("bob").await];
    let tasks_of = |owner| {
        format!(
            "insert into tasks (id, task_type, max_attempts, timeout_secs, run_at, created_by)
             select gen_random_uuid(), 'noop', 3, 1, now() - interval '1s' * n, {owner} from generate_series(1, 30000) n"
        )
    };
    database.sql(&tasks_of(format!("'{alice}'"))).await;
    for statistics in ["", "analyze"] {
        database.sql(statistics).await;
        let mine = format!(
            "insert into tasks (id, task_type, max_attempts, timeout_secs, created_by)
             values (gen_random_uuid(), 'noop', 3, 1, '{bob}'), (gen_random_uuid(), 'noop', 3, 1, null)"
        );
        database.sql(&mine).await;
        let mut connection = database.connection().await;
        let worker = register(&mut connection).await;
        connection.batch_execute("begin").await.unwrap();
        let before = all_entries(&mut connection).await;
        let others = Others {
            queue: "default",
            task_types: &["noop"],
            at_most: 10,
            ownerless: 10,
            share: 8,
            held: &[(alice, 8), (bob, 7)],
            after: None,
            places: Places::ALL_BEGIN,
        };
        let claims = queue::claim_of_others(&mut connection, worker, Lease::draw(), others).await.unwrap();
        let owners: Vec<_> = claims.iter().map(|claim| claim.created_by).collect();
        assert_eq!(owners.len(), 2, "{owners:?}");
        assert!(owners.contains(&Some(bob)) && owners.contains(&None), "{owners:?}");
        let read = all_entries(&mut connection).await - before;
        assert!(read < 50 && scanned(&mut connection).await == 0, "{read} entries read");
        connection.batch_execute("commit").await.unwrap();
    }
}
