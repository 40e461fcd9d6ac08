//! `GET /api/v1/tasks/events`: what a real worker does is told, whoever reads slowly misses nothing, and a stream ends
//! with its credential.

use std::{
    collections::HashSet,
    sync::{Arc, LazyLock},
    time::Duration,
};

use diesel_async::SimpleAsyncConnection as _;
use reqwest::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use starter::{
    actors::{
        live::{Live, Reach as Place},
        task_events::{self, Listen, Listening, News},
        threads::Thread,
        worker::{Shift, TaskWorker},
    },
    domain::{
        Permission, Reach, TaskId, UserId,
        event_cursor::{Cursor, Snapshot},
        task::NewTask,
        task_event::{Bookmark, Position},
    },
    tasks::{Context, Outcome, Registry, RetryPolicy, Services, Stop, TaskType},
};
use tokio::{
    runtime::Runtime,
    sync::{Notify, Semaphore},
};

use crate::{
    support::{
        db::{TestDatabase, number},
        queue::Desk,
        site::Site,
    },
    tasks_events::{Ear, enqueue},
    worker::workshop::{noop, quick, task},
};

/// One is put here for each attempt that may go on.
static GO_ON: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(0));

/// Tells of its progress, then fails its first attempt when it may.
#[derive(Deserialize, JsonSchema)]
struct Halting {}

impl TaskType for Halting {
    const NAME: &'static str = "halting";
    const RETRY: RetryPolicy =
        RetryPolicy { first: Duration::from_millis(10), factor: 1.0, longest: Duration::from_millis(10) };

    async fn run(self, context: Context) -> Outcome {
        context.progress(json!({ "percent": 40 + context.attempt }));
        GO_ON.acquire().await.unwrap().forget();
        Err(Stop::failed("halted"))
    }
}

async fn start_worker(database: &TestDatabase) -> Live<TaskWorker> {
    let runtime = Arc::new(Runtime::new().unwrap());
    // Not to be dropped within an asynchronous test.
    std::mem::forget(Arc::clone(&runtime));
    let (thread, alarm) = (Thread::start("work", &runtime), Arc::new(Notify::new()));
    let registry = Registry::builtin().with::<Halting>();
    let shift = Shift::new(database.pool().await, registry, Arc::new(Services::default()), quick());
    let reach = Place { name: "TaskWorker", capacity: 16, patience: Duration::from_secs(60) };
    Live::start(reach, &thread, &alarm, move || TaskWorker::on(&shift))
}

#[actix_rt::test]
async fn progress_retries_and_failure_are_told_as_they_happen() {
    let site = Site::open().await;
    let (_, admin) = site.log_in("chief", "admin").await;
    let mut ear = Ear::open(&site, &admin, None).await;
    assert_eq!(ear.next().await.0, "ready");
    let _worker = start_worker(&site.database).await;
    let halting = NewTask { max_attempts: 2, ..task("halting", json!({})) };
    let id = json!(halting.id.to_string());
    starter::db::tasks::insert(&mut site.database.connection().await, vec![halting]).await.unwrap();
    let mut told: Vec<(Value, Value, Value)> = Vec::new();
    while told.last().is_none_or(|(status, ..)| status != "failed") {
        let (event, data) = ear.next().await;
        assert_eq!((event.as_str(), &data["id"]), ("task", &id), "{data}");
        // An attempt goes on only when its progress was heard: not all is told in the end.
        if data["status"] == "running" && !data["progress"].is_null() {
            GO_ON.add_permits(1);
        }
        told.push((data["status"].clone(), data["attempt"].clone(), data["progress"]["percent"].clone()));
    }
    let expected = [
        ("pending", 0, Value::Null),
        ("running", 1, Value::Null),
        ("running", 1, json!(41)),
        ("retrying", 1, json!(41)),
        ("pending", 1, json!(41)),
        ("running", 2, Value::Null),
        ("running", 2, json!(42)),
        ("failed", 2, json!(42)),
    ];
    assert_eq!(told, expected.map(|(status, attempt, percent)| (json!(status), json!(attempt), percent)));
}

#[actix_rt::test]
async fn a_stream_ends_when_its_credential_does_and_goes_on_when_it_is_good() {
    let site = Site::open().await;
    let (of_key, of_key_session) = site.log_in("alice", "user").await;
    let key = site.key(of_key, &[Permission::TasksRead]).await;
    let (_, logged_out) = site.log_in("bobby", "user").await;
    let (demoted_user, demoted) = site.log_in("chief", "admin").await;
    let (inactive_user, inactive) = site.log_in("carol", "user").await;
    let (_, good) = site.log_in("david", "user").await;
    let mut ears = Vec::new();
    for token in [&key, &logged_out, &demoted, &inactive, &good] {
        let mut ear = Ear::open(&site, token, None).await;
        assert_eq!(ear.next().await.0, "ready");
        ears.push(ear);
    }
    let mut still_heard = ears.pop().unwrap();

    let keys = site.get("/api/v1/api-keys", &of_key_session).await.json();
    let path = format!("/api/v1/api-keys/{}", keys["items"][0]["id"].as_str().unwrap());
    assert_eq!(site.delete(&path, &of_key_session).await.status, 204);
    assert_eq!(site.send(Method::POST, "/api/v1/auth/logout", &logged_out).await.status, 204);
    let demote = format!("update users set role = 'user' where id = '{demoted_user}'");
    let deactivate = format!("update users set is_active = false where id = '{inactive_user}'");
    site.database.sql(&format!("{demote}; {deactivate}")).await;

    for (n, ear) in ears.iter_mut().enumerate() {
        assert_eq!(ear.next_or_end().await, None, "stream {n}");
    }
    let id = enqueue(&site, &good).await;
    assert_eq!(still_heard.status_of(&id).await, "pending");
}

/// Tasks of which events are told, in the order of their first mention, until there are so many.
async fn heard(listening: &mut Listening, until: usize) -> Vec<TaskId> {
    let (mut seen, mut order) = (HashSet::new(), Vec::new());
    let hear = async {
        while order.len() < until {
            if let News::Happened(_, event) = listening.recv().await.expect("the stream goes on") {
                // Beside a transaction at work anywhere in the cluster, some may be told again.
                if seen.insert(event.id) {
                    order.push(event.id);
                }
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(60), hear).await;
    assert!(told.is_ok(), "told of {} tasks of {until}", order.len());
    order
}

/// Statements with a task and a transaction each, of these numbers.
fn statements(first: usize, last: usize) -> String {
    format!(
        "do $$ begin for n in {first}..{last} loop
            insert into tasks (id, task_type, max_attempts, timeout_secs)
            values (('018f3e2a-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'noop', 1, 1);
            commit;
        end loop; end $$"
    )
}

fn ids(first: usize, last: usize) -> Vec<TaskId> {
    let id = |n| TaskId(format!("018f3e2a-0000-7000-8000-{n:012}").parse().unwrap());
    (first..=last).map(id).collect()
}

#[actix_rt::test]
async fn who_reads_too_slowly_for_the_memory_is_told_from_the_database() {
    /// More than what one listener may leave unread, and what is kept in memory for slow ones.
    const STATEMENTS: usize = 1_500;
    let database = TestDatabase::create().await;
    let desk = Desk::open(&database).await;
    let listen = Listen { reach: Reach::All, after: None, user: UserId::new() };
    let mut slow = desk.events.ask(listen).await.unwrap();
    let mut quick = desk.events.ask(listen).await.unwrap();
    for listening in [&mut slow, &mut quick] {
        assert!(matches!(listening.recv().await, Some(News::Ready(_))));
    }
    database.connection().await.batch_execute(&statements(1, STATEMENTS)).await.unwrap();
    let expected = ids(1, STATEMENTS);
    // By now all of it went by the slow one.
    assert!(heard(&mut quick, STATEMENTS).await == expected, "who reads hears all, in order");
    assert!(heard(&mut slow, STATEMENTS).await == expected, "who does not read yet hears all, in order");
    // And he is with the others again.
    let last = noop(json!({}));
    let id = last.id;
    starter::db::tasks::insert(&mut database.connection().await, vec![last]).await.unwrap();
    for listening in [&mut slow, &mut quick] {
        let mut order = heard(listening, 1).await;
        while order.last() != Some(&id) {
            order.extend(heard(listening, 1).await);
        }
    }
}

#[actix_rt::test]
async fn beside_an_open_transaction_a_slow_listener_hears_everything_once() {
    const STATEMENTS: usize = 1_500;
    let database = TestDatabase::create().await;
    let desk = Desk::open(&database).await;
    let mut open = database.connection().await;
    open.batch_execute("begin; select pg_current_xact_id()").await.unwrap();
    let listen = Listen { reach: Reach::All, after: None, user: UserId::new() };
    let mut slow = desk.events.ask(listen).await.unwrap();
    assert!(matches!(slow.recv().await, Some(News::Ready(_))));
    // Each round is more than what is kept for a slow listener.
    for round in 0..2 {
        let (first, last) = (round * STATEMENTS + 1, (round + 1) * STATEMENTS);
        database.sql(&statements(first, last)).await;
        let mut told = Vec::new();
        while told.len() < STATEMENTS {
            match tokio::time::timeout(Duration::from_secs(60), slow.recv()).await.expect("an event") {
                Some(News::Happened(_, event)) => told.push(event.id),
                Some(_) => {}
                None => panic!("the stream goes on"),
            }
        }
        assert!(told == ids(first, last), "each once, in order");
    }
}

#[actix_rt::test]
async fn an_open_transaction_makes_no_look_at_the_events_read_more() {
    const LOOKS: usize = 30;
    const EACH: usize = 20;
    let database = TestDatabase::create().await;
    let many = "update task_events_wanted set until = 'infinity';
        insert into task_events (xid, task_ids, task_types, queues, statuses, attempts, progress, owners)
        select n, array[gen_random_uuid()], '{noop}', '{default}', '{pending}', '{0}', '{null}', '{null}'
        from generate_series(1, 3000) n;
        analyze task_events";
    database.sql(many).await;
    let mut open = database.connection().await;
    let mut read = Vec::new();
    for beside in [false, true] {
        if beside {
            open.batch_execute("begin; select pg_current_xact_id()").await.unwrap();
        }
        let mut reader = database.connection().await;
        reader.batch_execute("begin").await.unwrap();
        let now = starter::db::task_events::snapshot(&mut reader).await.unwrap();
        let (mut cursor, mut found) = (Cursor::at(Arc::new(now)), 0);
        for look in 0..LOOKS {
            let first = (usize::from(beside) * LOOKS + look) * EACH + 1;
            database.sql(&statements(first, first + EACH - 1)).await;
            let look = starter::db::task_events::read(&mut reader, &cursor, 100).await.unwrap();
            found += look.changes.len();
            cursor.advance(&look);
        }
        assert_eq!(found, LOOKS * EACH, "each once");
        let rows = "select idx_tup_fetch from pg_stat_xact_user_tables where relname = 'task_events'";
        read.push(number(&mut reader, rows).await);
    }
    // 0.9 of the rate means 1.1 of the work.
    assert!(read[1] * 10 <= read[0] * 11, "rows read without and beside an open transaction: {read:?}");
}

#[tokio::test]
async fn a_statement_of_many_tasks_is_read_bit_by_bit_and_from_any_place_of_it() {
    let database = TestDatabase::create().await;
    let many = "update task_events_wanted set until = 'infinity';
        insert into tasks (id, task_type, max_attempts, timeout_secs)
        select ('018f3e2a-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'noop', 1, 1
        from generate_series(1, 250) n";
    database.sql(many).await;
    let mut connection = database.connection().await;
    let connection = &mut connection;
    let mut cursor = Cursor::behind(Position::before(1));
    let (mut told, mut sizes) = (Vec::new(), Vec::new());
    loop {
        let over = cursor.reaches_now();
        let look = starter::db::task_events::read(connection, &cursor, 1).await.unwrap();
        for changes in &look.changes {
            sizes.push(changes.events.len());
            let events = changes.within(Reach::All).into_iter();
            told.extend(events.map(|(n, event)| (changes.position(n), event.id)));
        }
        cursor.advance(&look);
        if over && !look.more {
            break;
        }
    }
    assert_eq!(sizes, [100, 100, 50]);
    assert!(told.iter().map(|(_, id)| *id).eq(ids(1, 250)));
    for behind in [0, 99, 100, 137, 248] {
        let cursor = Cursor::behind(told[behind].0);
        let look = starter::db::task_events::read(connection, &cursor, 10).await.unwrap();
        let rest: Vec<TaskId> =
            look.changes.iter().flat_map(|some| &some.events).map(|event| event.id).collect();
        assert!(rest == ids(behind + 2, 250), "behind {behind}");
    }
    // A snapshot that did not show it.
    let first = told[0].0.transaction;
    let before = Snapshot { oldest: first, next: first + 1, running: vec![first] };
    let look = starter::db::task_events::read(connection, &Cursor::at(Arc::new(before)), 10).await.unwrap();
    assert_eq!(look.changes.iter().map(|some| some.events.len()).sum::<usize>(), 250);
}

#[actix_rt::test]
async fn a_client_that_reads_nothing_is_sent_away_and_comes_back_where_it_was() {
    let database = TestDatabase::create().await;
    let impatient = task_events::Settings { patience: Duration::from_millis(300), ..Default::default() };
    let desk = Desk::with(&database, impatient).await;
    let listen = Listen { reach: Reach::All, after: None, user: UserId::new() };
    let mut deaf = desk.events.ask(listen).await.unwrap();
    assert!(matches!(deaf.recv().await, Some(News::Ready(_))));
    database.sql(&statements(1, 300)).await;
    crate::support::eventually(Duration::from_secs(60), async || deaf.is_closed()).await;
    let (mut told, mut last): (Vec<TaskId>, Option<Bookmark>) = (Vec::new(), None);
    while let Some(news) = deaf.recv().await {
        last = Some(news.bookmark());
        if let News::Happened(_, event) = news {
            told.push(event.id);
        }
    }
    assert!(!told.is_empty() && told.len() < 300, "{}", told.len());
    let mut back = desk.events.ask(Listen { after: last, ..listen }).await.unwrap();
    assert!(matches!(back.recv().await, Some(News::Ready(_))));
    // A transaction at work anywhere in the cluster may have held the bookmark back: then some are told twice.
    while told.len() < 300 {
        told.extend(
            heard(&mut back, 1).await.into_iter().filter(|id| !told.contains(id)).collect::<Vec<_>>(),
        );
    }
    assert!(told == ids(1, 300));
}
