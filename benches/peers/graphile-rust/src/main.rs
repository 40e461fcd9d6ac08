//! graphile_worker (Rust), measured as its own `perf_test` does, with the row count as the end. Called by benches/peers/run.
//!
//!   drain TASKS              prints "ENQUEUED/s DRAINED/s" of the second of two runs; the first warms up
//!   latency SAMPLES GAP_MS   prints "P50 P99 MAX" in ms, from before add_job to the first line of the handler
//!
//! Settings: DATABASE_URL, CONCURRENCY, LOCAL_QUEUE (0: none), QUEUES, REFETCH_MS (0: none), COMPLETE_MS, ADD_BATCH.

use std::{
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use graphile_worker::{
    Database, IntoTaskHandlerResult, JobSpec, LocalQueueConfig, RawJobSpec, RefetchDelayConfig, TaskHandler, Worker,
    WorkerContext, WorkerOptions, WorkerUtils,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{sync::mpsc, time::sleep};

const SCHEMA: &str = "graphile_worker";

#[derive(Serialize, Deserialize)]
struct Noop {
    n: usize,
}

/// How often each task was run.
#[derive(Debug)]
struct Ran {
    times: Vec<AtomicU8>,
    total: AtomicUsize,
}

impl TaskHandler for Noop {
    const IDENTIFIER: &'static str = "noop";

    async fn run(self, context: WorkerContext) -> impl IntoTaskHandlerResult {
        if let Some(ran) = context.get_ext::<Arc<Ran>>() {
            ran.times[self.n].fetch_add(1, Ordering::Relaxed);
            ran.total.fetch_add(1, Ordering::Relaxed);
        }
        Ok::<(), String>(())
    }
}

#[derive(Serialize, Deserialize)]
struct Stamp {}

#[derive(Debug, Clone)]
struct Started(mpsc::UnboundedSender<Instant>);

impl TaskHandler for Stamp {
    const IDENTIFIER: &'static str = "stamp";

    async fn run(self, context: WorkerContext) -> impl IntoTaskHandlerResult {
        let now = Instant::now();
        if let Some(started) = context.get_ext::<Started>() {
            started.0.send(now).unwrap();
        }
        Ok::<(), String>(())
    }
}

fn setting(name: &str, by_default: u64) -> u64 {
    std::env::var(name).map_or(by_default, |value| value.parse().unwrap())
}

/// A pool with connections open, and the same as the worker wants it.
async fn connect() -> (PgPool, Database) {
    let url = std::env::var("DATABASE_URL").unwrap();
    let options = PgConnectOptions::from_str(&url).unwrap();
    let pool = PgPoolOptions::new().max_connections(50).min_connections(8).connect_with(options).await.unwrap();
    #[cfg(feature = "tokio-postgres")]
    let database = graphile_worker::tokio_postgres::TokioPostgresDatabase::from_url(&url, 50).unwrap().into();
    #[cfg(not(feature = "tokio-postgres"))]
    let database = pool.clone().into();
    (pool, database)
}

fn options(database: &Database) -> WorkerOptions {
    let mut options = WorkerOptions::default()
        .database(database.clone())
        .schema(SCHEMA)
        .concurrency(setting("CONCURRENCY", 500) as usize)
        .poll_interval(Duration::from_millis(100));
    let size = setting("LOCAL_QUEUE", 5_000) as usize;
    if size > 0 {
        let mut queue =
            LocalQueueConfig::default().with_size(size).with_queue_count(setting("QUEUES", 1) as usize);
        let refetch = setting("REFETCH_MS", 10);
        if refetch > 0 {
            queue = queue
                .with_refetch_delay(RefetchDelayConfig::default().with_duration(Duration::from_millis(refetch)));
        }
        options = options.local_queue(queue);
    }
    let complete = setting("COMPLETE_MS", 5);
    if complete > 0 {
        let delay = Duration::from_millis(complete);
        options = options.complete_job_batch_delay(delay).fail_job_batch_delay(delay);
    }
    options
}

fn start(worker: Worker) -> (Arc<Worker>, tokio::task::JoinHandle<()>) {
    let worker = Arc::new(worker);
    let running = Arc::clone(&worker);
    let handle = tokio::spawn(async move { running.run().await.unwrap() });
    (worker, handle)
}

async fn prepare(pool: &PgPool) {
    for statement in [
        "truncate graphile_worker._private_jobs cascade",
        "vacuum analyze graphile_worker._private_jobs",
        "checkpoint",
    ] {
        sqlx::query(statement).execute(pool).await.unwrap();
    }
}

async fn drain_once(pool: &PgPool, database: &Database, tasks: usize) -> (f64, f64) {
    prepare(pool).await;
    let utils = WorkerUtils::new(database.clone(), SCHEMA);
    let batch = setting("ADD_BATCH", 1_000) as usize;
    let began = Instant::now();
    for first in (0..tasks).step_by(batch) {
        let jobs: Vec<_> = (first..tasks.min(first + batch))
            .map(|n| RawJobSpec {
                identifier: Noop::IDENTIFIER.into(),
                payload: json!({ "n": n }),
                spec: JobSpec::default(),
            })
            .collect();
        utils.add_raw_jobs(&jobs).await.unwrap();
    }
    let enqueued = tasks as f64 / began.elapsed().as_secs_f64();

    let ran = Arc::new(Ran {
        times: (0..tasks).map(|_| AtomicU8::new(0)).collect(),
        total: AtomicUsize::new(0),
    });
    let worker = options(database).add_extension(Arc::clone(&ran)).define_job::<Noop>().init().await.unwrap();
    let began = Instant::now();
    let (worker, handle) = start(worker);
    while ran.total.load(Ordering::Relaxed) < tasks {
        sleep(Duration::from_millis(1)).await;
    }
    // Fetching and running is done; wait for what is still to be completed.
    let left = "select exists (select from graphile_worker._private_jobs)";
    while sqlx::query_scalar(left).fetch_one(pool).await.unwrap() {
        sleep(Duration::from_millis(1)).await;
    }
    let drained = tasks as f64 / began.elapsed().as_secs_f64();
    worker.request_shutdown();
    handle.await.unwrap();
    assert!(ran.times.iter().all(|times| times.load(Ordering::Relaxed) == 1), "not every task was done exactly once");
    (enqueued, drained)
}

async fn latency(pool: &PgPool, database: &Database, samples: usize, gap: Duration) -> Vec<f64> {
    prepare(pool).await;
    let (sender, mut started) = mpsc::unbounded_channel();
    let worker =
        options(database).add_extension(Started(sender)).define_job::<Stamp>().init().await.unwrap();
    let (worker, handle) = start(worker);
    let utils = WorkerUtils::new(database.clone(), SCHEMA);
    sleep(Duration::from_secs(1)).await;
    let mut times = Vec::with_capacity(samples);
    for sample in 0..samples + 50 {
        let began = Instant::now();
        utils.add_raw_job(Stamp::IDENTIFIER, Stamp {}, JobSpec::default()).await.unwrap();
        let took = started.recv().await.unwrap() - began;
        if sample >= 50 {
            times.push(took.as_secs_f64() * 1000.0);
        }
        sleep(gap).await;
    }
    worker.request_shutdown();
    handle.await.unwrap();
    times
}

#[tokio::main]
async fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let number = |position: usize| arguments[position].parse::<usize>().unwrap();
    let (pool, database) = connect().await;
    WorkerUtils::new(database.clone(), SCHEMA).migrate().await.unwrap();
    if arguments[0] == "drain" {
        drain_once(&pool, &database, number(1)).await;
        let (enqueued, drained) = drain_once(&pool, &database, number(1)).await;
        println!("{enqueued:.0} {drained:.0}");
    } else {
        let gap = Duration::from_millis(number(2) as u64);
        let mut times = latency(&pool, &database, number(1), gap).await;
        times.sort_by(f64::total_cmp);
        let at = |part: f64| times[((times.len() as f64 * part) as usize).min(times.len() - 1)];
        println!("{:.2} {:.2} {:.2}", at(0.5), at(0.99), at(1.0));
    }
}
