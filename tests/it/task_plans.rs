//! Statements about tasks keep a good plan, whether PostgreSQL looks at their arguments or not: what users and operators
//! ask for, what `/metrics` shows, schedules, claims of limited types and from a bookmark.

use std::{sync::Arc, time::Duration};

use chrono::{TimeDelta, Utc};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use starter::{
    db::{
        self, Plans,
        queue::{self, Firing, Places, Wanted, Whence},
        tasks::{Failed, Prune},
    },
    domain::{
        Reach, TaskId, UserId,
        attempt::{Claim, Lease, WorkerId},
        event_cursor::{Cursor, Snapshot},
        task::Status,
        task_event::Position,
        task_request::TaskFilter,
    },
};

use crate::support::db::{TestDatabase, number};

/// 30,000 finished tasks of two owners, some of every other kind, and the tables beside that of tasks as they are when
/// much was going on; as PostgreSQL's statistics know it. The ids are random, so nothing is where it is by its age.
const FULL: &str = "
    insert into users (id, username, username_canon, email, email_canon, password_hash)
        select ('018f3e2a-0000-7000-8000-00000000000' || n)::uuid, 'user' || n, 'user' || n, n || '@e.com', n || '@e.com', 'x'
        from generate_series(1, 3) n;
    insert into tasks (id, task_type, status, stage, max_attempts, timeout_secs, finished_at, started_at, created_by,
        unique_key, unique_scope)
        select gen_random_uuid(), 'noop', 'succeeded', null, 1, 1, now() - n * interval '1 s', now() - n * interval '2 s',
            ('018f3e2a-0000-7000-8000-00000000000' || 1 + n % 2)::uuid, 'k' || n, '00000000-0000-0000-0000-000000000000'
        from generate_series(1, 30000) n;
    insert into tasks (id, task_type, max_attempts, timeout_secs, queue, created_by)
        select gen_random_uuid(), case n % 2 when 0 then 'noop' else 'limited' end, 3, 1,
            case when n < 4000 then 'default' else 'q' || n % 10 end, '018f3e2a-0000-7000-8000-000000000003'
        from generate_series(1, 5000) n;
    insert into tasks (id, task_type, status, stage, max_attempts, timeout_secs, run_at)
        select gen_random_uuid(), 'noop', case n % 2 when 0 then 'scheduled' else 'retrying' end, 'waiting', 3, 1,
            now() + interval '1 hour'
        from generate_series(1, 2000) n;
    insert into tasks (id, task_type, status, stage, max_attempts, timeout_secs, finished_at)
        select gen_random_uuid(), 'noop', status, status, 3, 1, now() - n * interval '1 s'
        from generate_series(1, 1000) n, (values ('failed'), ('cancelled')) each (status);
    insert into task_claims (lease, worker_id, task_type, task_ids)
        select n, 1000000 + n % 100, case when n % 100 = 0 then 'other' end, array[gen_random_uuid()]
        from generate_series(1, 5000) n;
    insert into workers (host, pid, version, task_types, queues, lease_expires_at)
        overriding system value select 'h', 1, '1', '{noop}', '{default}', now() + interval '1 hour'
        from generate_series(1, 100);
    insert into task_attempts (task_id, attempt, worker_id, started_at, outcome)
        select id, 1, 1, now(), 'failed' from tasks where status = 'succeeded' limit 10000;
    insert into task_endings (at, task_ids)
        select now() - interval '50 min' + n * interval '0.5 s', array[gen_random_uuid()] from generate_series(1, 5000) n;
    insert into task_events (xid, task_ids, task_types, queues, statuses, attempts, progress, owners)
        select n, '{018f3e2a-0000-7000-8000-000000000000}', '{noop}', '{default}', '{pending}', '{1}', '{null}', '{null}'
        from generate_series(1, 5000) n;
    insert into schedules (id, name, cron, task_type, next_run_at)
        select gen_random_uuid(), 's' || n, '0 3 * * *', 'noop', now() + (n - 10) * interval '1 min'
        from generate_series(1, 2000) n;
    analyze";

const MODES: [&str; 3] = ["force_custom_plan", "force_generic_plan", "auto"];

/// Rows of these tables that this transaction has read by going through all of one.
async fn scanned(connection: &mut AsyncPgConnection, tables: &str) -> i64 {
    let text = format!(
        "select coalesce(sum(seq_tup_read), 0) from pg_stat_xact_user_tables
         where relname = any('{{{tables}}}')"
    );
    number(connection, &text).await
}

/// Tasks that this transaction has found by an index.
async fn fetched(connection: &mut AsyncPgConnection) -> i64 {
    let text = "select coalesce(idx_tup_fetch, 0) from pg_stat_xact_user_tables where relname = 'tasks'";
    number(connection, text).await
}

const TASKS: &str = "tasks,task_attempts";
const ALL: &str = "tasks,task_attempts,task_claims,task_endings,task_events,schedules";

async fn begin(database: &TestDatabase, mode: &str) -> AsyncPgConnection {
    let mut connection = database.connection().await;
    connection.batch_execute(&format!("set plan_cache_mode = {mode}; begin")).await.unwrap();
    connection
}

fn user(n: u32) -> UserId {
    UserId(format!("018f3e2a-0000-7000-8000-00000000000{n}").parse().unwrap())
}

#[tokio::test]
async fn lists_of_operators_read_no_whole_table() {
    let database = TestDatabase::create().await;
    database.sql(FULL).await;
    let mine = user(3);
    for mode in MODES {
        let mut connection = begin(&database, mode).await;
        let connection = &mut connection;
        let of = |status| TaskFilter { status: Some(status), ..TaskFilter::default() };
        // Found, and looked at for it at most: two pages of as many as fit, or all of a status that few have.
        for (filter, found, at_most) in [
            (TaskFilter::default(), 20, 60),
            (of(Status::Pending), 20, 6_000),
            (of(Status::Scheduled), 20, 6_000),
            (of(Status::Retrying), 20, 6_000),
            (of(Status::Succeeded), 20, 200),
            (of(Status::Failed), 20, 2_500),
            (of(Status::Cancelled), 20, 2_500),
            (TaskFilter { created_by: Some(mine), ..TaskFilter::default() }, 20, 60),
            // All that is due of one owner, which the quota bounds.
            (TaskFilter { created_by: Some(mine), ..of(Status::Pending) }, 20, 10_100),
            (TaskFilter { unique_key: Some("k7".into()), ..TaskFilter::default() }, 1, 5),
            (TaskFilter { unique_key: Some("k".into()), ..TaskFilter::default() }, 0, 0),
        ] {
            let before = fetched(connection).await;
            let page = db::tasks::page(connection, Reach::All, &filter, None, 20).await.unwrap();
            assert_eq!((page.len(), scanned(connection, ALL).await), (found, 0), "{filter:?}, {mode}");
            if let Some(last) = page.last() {
                db::tasks::page(connection, Reach::All, &filter, Some(last.id), 20).await.unwrap();
            }
            assert_eq!(scanned(connection, ALL).await, 0, "{filter:?}, its next page, {mode}");
            let read = fetched(connection).await - before;
            assert!(read <= at_most, "{filter:?}, {mode}: {read} rows were looked at");
        }
        // These are found by their claims, all of which it has to look at.
        assert!(
            db::tasks::page(connection, Reach::All, &of(Status::Running), None, 20).await.unwrap().is_empty()
        );
        assert_eq!(scanned(connection, TASKS).await, 0, "running, {mode}");
    }
}

async fn users_and_their_tasks(connection: &mut AsyncPgConnection, mode: &str) {
    let owner = Reach::Own(user(3));
    let none = TaskFilter::default();
    let pending = db::tasks::page(connection, owner, &none, None, 20).await.unwrap();
    assert_eq!((pending.len(), scanned(connection, ALL).await), (20, 0), "list of one's own, {mode}");
    for task in &pending[..6] {
        db::tasks::cancel(connection, task.id, owner).await.unwrap();
        db::tasks::retry(connection, task.id, owner).await.unwrap();
        db::tasks::cancel(connection, task.id, Reach::All).await.unwrap();
        assert!(db::tasks::attempts(connection, task.id).await.unwrap().is_empty());
        db::tasks::find(connection, task.id, owner).await.unwrap().unwrap();
        db::tasks::delete(connection, task.id).await.unwrap();
        assert!(db::tasks::cancel(connection, TaskId::new(), owner).await.is_err());
    }
    assert_eq!(scanned(connection, ALL).await, 0, "cancel, retry, attempts, find, delete, {mode}");
}

async fn many_tasks_at_once(connection: &mut AsyncPgConnection, mode: &str) {
    for task_type in [None, Some("noop".to_owned())] {
        let which = Failed { before: Utc::now(), task_type, queue: None };
        assert_eq!(db::tasks::retry_failed(connection, &which, 100).await.unwrap().len(), 100);
        assert_eq!(scanned(connection, ALL).await, 0, "retry of all that failed, {mode}");
    }
    let before = Utc::now() - TimeDelta::seconds(20_000);
    let which = Prune { statuses: vec![Status::Succeeded, Status::Failed], before, task_type: None };
    let mut after = None;
    for _ in 0..2 {
        let gone = db::tasks::prune(connection, &which, after, 1_000).await.unwrap();
        assert_eq!((gone.len(), scanned(connection, ALL).await), (1_000, 0), "prune, {mode}");
        after = gone.into_iter().max();
    }
}

#[tokio::test]
async fn what_people_do_to_tasks_reads_no_whole_table() {
    let database = TestDatabase::create().await;
    database.sql(FULL).await;
    for mode in MODES {
        let mut connection = begin(&database, mode).await;
        users_and_their_tasks(&mut connection, mode).await;
        many_tasks_at_once(&mut connection, mode).await;
        // Such reading is noticed.
        db::tasks::stats(&mut connection).await.unwrap();
        assert!(scanned(&mut connection, TASKS).await > 30_000);
    }
}

async fn counts(connection: &mut AsyncPgConnection, mode: &str) {
    let depths = db::tasks::depths(connection).await.unwrap();
    assert!(depths.counts.iter().map(|count| count.count).sum::<u64>() >= 7_000);
    assert_eq!(scanned(connection, TASKS).await, 0, "depths, {mode}");
    db::tasks::oldest_due(connection).await.unwrap();
    assert_eq!(
        scanned(connection, ALL).await - scanned(connection, "task_claims").await,
        0,
        "oldest, {mode}"
    );
    db::queues::list(connection).await.unwrap();
    assert_eq!(scanned(connection, TASKS).await, 0, "queues, {mode}");
}

async fn events(connection: &mut AsyncPgConnection, mode: &str) {
    for (transaction, found) in [(4_990, 11), (1_000, 500), (30_000, 0)] {
        let cursor = Cursor::behind(Position { transaction, row: 0, entry: 0 });
        let look = db::task_events::read(connection, &cursor, 500).await.unwrap();
        assert_eq!((look.changes.len(), scanned(connection, ALL).await), (found, 0), "{cursor:?}, {mode}");
    }
    // Transactions that were at work a long time ago, and some that were until now.
    for (running, found) in [(vec![7, 4_980], 13), ((1_000..1_100).collect(), 111)] {
        let cursor = Cursor::at(Arc::new(Snapshot { oldest: running[0], next: 4_990, running }));
        let look = db::task_events::read(connection, &cursor, 500).await.unwrap();
        assert_eq!((look.changes.len(), scanned(connection, ALL).await), (found, 0), "{cursor:?}, {mode}");
    }
}

async fn ticks(connection: &mut AsyncPgConnection, mode: &str) {
    for _ in 0..2 {
        let due = queue::due_ticks(connection, &["noop", "x"], 5).await.unwrap();
        assert_eq!((due.len(), scanned(connection, ALL).await), (5, 0), "due ticks, {mode}");
        for tick in due {
            let next = Some(Utc::now() + TimeDelta::days(1));
            let firing = Firing { next, tick: tick.tick, max_attempts: 1, timeout_secs: 1 };
            assert!(queue::fire(connection, &tick, firing).await.unwrap().is_some());
        }
        assert_eq!(scanned(connection, ALL).await, 0, "fire, {mode}");
    }
    let next = queue::next_tick(connection, &["noop", "x"]).await.unwrap().unwrap();
    assert!(next.abs() < 3_600.0, "{next}");
    assert_eq!(scanned(connection, ALL).await, 0, "next tick, {mode}");
}

#[tokio::test]
async fn what_goes_on_by_itself_reads_no_whole_table() {
    let database = TestDatabase::create().await;
    database.sql(FULL).await;
    for mode in MODES {
        let mut connection = begin(&database, mode).await;
        events(&mut connection, mode).await;
        ticks(&mut connection, mode).await;
        counts(&mut connection, mode).await;
    }
}

async fn register(connection: &mut AsyncPgConnection) -> WorkerId {
    let (queues, lease) = (["default".to_owned()], Duration::from_secs(3_600));
    queue::register(connection, ("h", 1), &["noop", "limited"], &queues, lease).await.unwrap()
}

/// How many it got of a type of which twenty may run.
async fn claim_three_of_twenty(connection: &mut AsyncPgConnection, worker: WorkerId) -> usize {
    let (lease, limit) = (Lease::draw(), ("limited", 20));
    queue::claim_limited(connection, worker, lease, "default", limit, 3, Places::ALL_BEGIN)
        .await
        .unwrap()
        .len()
}

#[tokio::test]
async fn claims_read_no_whole_table_of_tasks_or_of_claims() {
    let database = TestDatabase::create().await;
    database.sql(FULL).await;
    for mode in MODES {
        let mut connection = begin(&database, mode).await;
        let connection = &mut connection;
        let worker = register(connection).await;
        // More often than it takes PostgreSQL to settle on a plan for all arguments.
        for round in 1..=7 {
            let limited = claim_three_of_twenty(connection, worker).await;
            let expected = if round < 7 { 3 } else { 2 };
            assert_eq!((limited, scanned(connection, ALL).await), (expected, 0), "limited, {mode}");
        }
        let full = claim_three_of_twenty(connection, worker).await;
        assert_eq!((full, scanned(connection, ALL).await), (0, 0), "limit reached, {mode}");
        let whence = Some(Whence { priority: 0, run_at: Utc::now() - TimeDelta::hours(1) });
        for (plans, whence) in
            [(Plans::Fresh, whence), (Plans::Kept, whence), (Plans::Fresh, None), (Plans::Kept, None)]
        {
            for _ in 0..7 {
                let wanted = Wanted {
                    queue: "default",
                    task_types: &["noop", "x"],
                    limited: None,
                    at_most: 20,
                    places: Places::ALL_BEGIN,
                    whence,
                };
                let lease = Lease::draw();
                let claims = queue::claim_from(connection, plans, worker, lease, wanted).await.unwrap();
                let found = (claims.len(), scanned(connection, ALL).await);
                assert_eq!(found, (20, 0), "{plans:?}, {whence:?}, {mode}");
                let leased: Vec<_> = claims.iter().map(Claim::leased).collect();
                queue::watch(connection, &leased).await.unwrap();
                queue::succeed(connection, &leased[..10].iter().map(|one| (*one, None)).collect::<Vec<_>>())
                    .await
                    .unwrap();
                queue::hand_back(connection, &leased[10..]).await.unwrap();
                queue::settle(connection, worker, &[lease]).await.unwrap();
                queue::beat(connection, worker, Duration::from_secs(60)).await.unwrap();
            }
        }
        assert!(queue::take_back(connection, worker, &[]).await.unwrap() >= 20);
        assert_eq!(scanned(connection, ALL).await, 0, "what follows a claim, {mode}");
    }
}
