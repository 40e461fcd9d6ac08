//! How many tasks per second one worker process takes from a full queue to its end, and how soon a task begins on an
//! idle worker; with fsync on.
//!
//! `cargo bench --bench queue -- [TASKS] [CONCURRENCY] [RUNS] [owned]` (`owned`: all tasks have the same owner), `-- latency [SAMPLES] [GAP_MS]`,
//! `-- depth [TASKS] [ROWS] [ROUNDS]`, or `-- pages|vacuum [TASKS] [ROUNDS]`, on a private database that is thrown away;
//! or on the one that `STARTER__DATABASE__URL` names, whose tasks are deleted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark"
)]

mod depth;
mod latency;
mod settings;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use diesel::sql_types::BigInt;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use secrecy::SecretString;
use starter::{
    actors::{
        live::{Live, Reach},
        threads::Thread,
        worker::{Drain, Settings, Shift, TaskWorker},
    },
    db::{self, Limits, Pool, Target, embedded::Cluster, migrate},
    domain::{
        TaskId, UserId,
        task::{NewTask, When},
    },
    tasks::{Registry, Services},
};
use tokio::sync::Notify;

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let number = |position, default| numbers.get(position).copied().unwrap_or(default);
    let (tasks, concurrency, runs) = (number(0, 20_000), number(1, 16), number(2, 5));
    let asked_for = |what: &str| std::env::args().any(|argument| argument == what);
    let given = std::env::var("STARTER__DATABASE__URL").ok();
    let directory = tempfile::tempdir().unwrap();
    let cluster = given.is_none().then(|| Cluster::start(&directory.path().join("postgres")).unwrap());
    let url = given.unwrap_or_else(|| cluster.as_ref().unwrap().url().to_owned());
    let target = Target::parse(&SecretString::from(url)).unwrap();
    let runtime = Arc::new(tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap());
    std::mem::forget(Arc::clone(&runtime));
    actix_rt::System::new().block_on(async {
        let prepared = target.clone();
        runtime.spawn(async move { migrate::run(&prepared).await }).await.unwrap().unwrap();
        if asked_for("depth") {
            depth::measure(&target, &runtime, number(0, 100_000), number(1, 1_000_000), number(2, 3)).await;
            return;
        }
        if let Some(what) = ["pages", "vacuum"].into_iter().find(|what| asked_for(what)) {
            settings::measure(&target, &runtime, what, number(0, 200_000), number(1, 3)).await;
            return;
        }
        if asked_for("latency") {
            latency::measure(&target, &runtime, number(0, 500), number(1, 0)).await;
            return;
        }
        println!("{tasks} no-op tasks, {concurrency} at once\n\n| run | enqueued/s | drained/s |\n| --- | --- | --- |");
        let owner = if asked_for("owned") { Some(owner(&target, &runtime).await) } else { None };
        for run in 1..=runs {
            let (enqueued, drained) = drain_once(&target, &runtime, tasks, concurrency, owner).await;
            println!("| {run} | {enqueued:.0} | {drained:.0} |");
        }
    });
    if let Some(cluster) = cluster {
        cluster.stop().unwrap();
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

async fn drain_once(
    target: &Target,
    runtime: &Arc<tokio::runtime::Runtime>,
    tasks: usize,
    concurrency: usize,
    owner: Option<UserId>,
) -> (f64, f64) {
    let pool = connect(target, runtime).await;
    let mut connection = pool.get_owned().await.unwrap();
    for statement in ["truncate tasks", "vacuum analyze tasks", "checkpoint"] {
        connection.batch_execute(statement).await.unwrap();
    }
    let began = Instant::now();
    let mut left = tasks;
    while left > 0 {
        let batch = left.min(1_000);
        let task = || NewTask { created_by: owner, ..noop() };
        db::tasks::insert(&mut connection, (0..batch).map(|_| task()).collect()).await.unwrap();
        left -= batch;
    }
    let enqueued = tasks as f64 / began.elapsed().as_secs_f64();
    let began = Instant::now();
    let (shift, worker) = start_worker(&pool, runtime, Registry::builtin(), concurrency);
    while (shift.standing().ended as usize) < tasks || shift.standing().reporting > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let drained = tasks as f64 / began.elapsed().as_secs_f64();
    assert_eq!(not_done_once(&mut connection).await, 0);
    worker.ask(Drain { limit: Duration::from_secs(5) }).await.unwrap();
    (enqueued, drained)
}

/// A new user.
async fn owner(target: &Target, runtime: &Arc<tokio::runtime::Runtime>) -> UserId {
    let (user, pool) = (UserId::new(), connect(target, runtime).await);
    let text = format!(
        "insert into users (id, username, username_canon, email, email_canon, password_hash)
         values ('{user}', '{user}', '{user}', '{user}@example.com', '{user}@example.com', 'x')"
    );
    pool.get_owned().await.unwrap().batch_execute(&text).await.unwrap();
    user
}

fn start_worker(
    pool: &Pool,
    runtime: &Arc<tokio::runtime::Runtime>,
    registry: Registry,
    concurrency: usize,
) -> (Shift, Live<TaskWorker>) {
    let settings = Settings {
        concurrency,
        queues: vec!["default".into()],
        poll: Duration::from_secs(1),
        lease: Duration::from_secs(30),
    };
    let shift = Shift::new(pool.clone(), registry, Arc::new(Services::default()), settings);
    let thread = Thread::start("work", runtime);
    let reach = Reach { name: "TaskWorker", capacity: 16, patience: Duration::from_secs(60) };
    let on = shift.clone();
    let worker = Live::start(reach, &thread, &Arc::new(Notify::new()), move || TaskWorker::on(&on));
    (shift, worker)
}

async fn connect(target: &Target, runtime: &Arc<tokio::runtime::Runtime>) -> Pool {
    let target = target.clone();
    // As many as the program gives its worker.
    let limits = Limits { scans: false, max_connections: 6, ..Limits::default() };
    runtime.spawn(async move { db::connect(&target, limits).await }).await.unwrap().unwrap()
}

async fn not_done_once(connection: &mut AsyncPgConnection) -> i64 {
    diesel::dsl::sql::<BigInt>("select count(*) from tasks where status <> 'succeeded' or attempt <> 1")
        .get_result(connection)
        .await
        .unwrap()
}

fn noop() -> NewTask {
    NewTask {
        id: TaskId::new(),
        task_type: "noop".into(),
        queue: "default".into(),
        payload: serde_json::json!({}).into(),
        priority: 0,
        when: When::Now,
        max_attempts: 5,
        timeout_secs: 60,
        unique_key: None,
        created_by: None,
        request_id: None,
        schedule_id: None,
    }
}
