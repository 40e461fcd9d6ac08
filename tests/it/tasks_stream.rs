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
        task_events::{Listen, Listening, News},
        threads::Thread,
        worker::{Shift, TaskWorker},
    },
    domain::{Permission, Reach, TaskId, task::NewTask},
    tasks::{Context, Outcome, Registry, RetryPolicy, Services, Stop, TaskType},
};
use tokio::{
    runtime::Runtime,
    sync::{Notify, Semaphore},
};

use crate::{
    support::{db::TestDatabase, queue::Desk, site::Site},
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

#[actix_rt::test]
async fn who_reads_too_slowly_for_the_memory_is_told_from_the_database() {
    /// More than what one listener may leave unread, and what is kept in memory for slow ones.
    const STATEMENTS: usize = 1_500;
    let database = TestDatabase::create().await;
    let desk = Desk::open(&database).await;
    let listen = Listen { reach: Reach::All, after: None };
    let mut slow = desk.events.ask(listen).await.unwrap();
    let mut quick = desk.events.ask(listen).await.unwrap();
    for listening in [&mut slow, &mut quick] {
        assert!(matches!(listening.recv().await, Some(News::Ready(_))));
    }
    let many = format!(
        "do $$ begin for n in 1..{STATEMENTS} loop
            insert into tasks (id, task_type, max_attempts, timeout_secs)
            values (('018f3e2a-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'noop', 1, 1);
            commit;
        end loop; end $$"
    );
    database.connection().await.batch_execute(&many).await.unwrap();
    let expected: Vec<TaskId> = (1..=STATEMENTS)
        .map(|n| TaskId(format!("018f3e2a-0000-7000-8000-{n:012}").parse().unwrap()))
        .collect();
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
