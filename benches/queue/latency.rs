//! From before a task is enqueued to the first line of its handler, on a worker that has nothing else to do. Enqueued by
//! another connection than the worker's, which hears of it by the notification alone, as a worker in a process of its
//! own does.

use std::sync::OnceLock;

use schemars::JsonSchema;
use serde::Deserialize;
use starter::{
    db::{Session, listen::Listener},
    tasks::{Context, Outcome, TaskType},
};
use tokio::sync::mpsc::{self, UnboundedSender};

use super::*;

/// The first ones warm up.
const WARM_UP: usize = 50;

static BEGUN: OnceLock<UnboundedSender<Instant>> = OnceLock::new();

/// Tells when it begins.
#[derive(Deserialize, JsonSchema)]
struct Stamp {}

impl TaskType for Stamp {
    const NAME: &'static str = "stamp";

    async fn run(self, _: Context) -> Outcome {
        let now = Instant::now();
        BEGUN.get().unwrap().send(now).unwrap();
        Ok(serde_json::Value::Null)
    }
}

pub(super) async fn measure(
    target: &Target,
    runtime: &Arc<tokio::runtime::Runtime>,
    samples: usize,
    gap_ms: usize,
) {
    let (begun, mut begins) = mpsc::unbounded_channel();
    BEGUN.set(begun).unwrap();
    let pool = connect(target, runtime).await;
    let enqueuer = connect(target, runtime).await;
    let mut connection = enqueuer.get_owned().await.unwrap();
    connection.batch_execute("truncate tasks").await.unwrap();
    let (shift, worker) = start_worker(&pool, runtime, Registry::builtin().with::<Stamp>(), 16);
    let (bell, heard) = (shift.bell(), target.clone());
    runtime.spawn(async move {
        let session =
            Session { connect_timeout: Duration::from_secs(5), statement_timeout: None, scans: true };
        let mut listener = Listener::open(&heard, session, &["starter_tasks"], false).await.unwrap();
        bell.anything();
        while let Some(notice) = listener.next().await {
            bell.heard(&notice.payload);
        }
    });
    let enqueue = async move {
        let mut times = Vec::with_capacity(samples);
        for sample in 0..samples + WARM_UP {
            let task = NewTask { task_type: "stamp".into(), ..noop() };
            let before = Instant::now();
            db::tasks::insert(&mut connection, vec![task]).await.unwrap();
            let began: Instant = begins.recv().await.unwrap();
            if sample >= WARM_UP {
                times.push(began.duration_since(before).as_secs_f64() * 1_000.0);
            }
            tokio::time::sleep(Duration::from_millis(gap_ms as u64)).await;
        }
        times
    };
    let mut times = runtime.spawn(enqueue).await.unwrap();
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times[((times.len() as f64 * part) as usize).min(times.len() - 1)];
    println!("{:.2} {:.2} {:.2}", at(0.5), at(0.99), at(1.0));
    worker.ask(Drain { limit: Duration::from_secs(5) }).await.unwrap();
}
