//! Leases: who may end a task when workers are lost, slow, replaced or too many.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use starter::{
    actors::worker::{Drain, Settings},
    db::queue::{self, Interference},
    domain::{
        attempt::{Lease, WorkerId},
        task::NewTask,
    },
    tasks::{Context, Outcome, Registry, Stop, TaskType},
};
use tokio::sync::Semaphore;

use super::workshop::{PATIENCE, in_workshop, noop, quick, task};
use crate::support::eventually;

static DOOR: Semaphore = Semaphore::const_new(0);

/// Does not listen to anybody, and ends when the door is opened.
#[derive(Deserialize, JsonSchema)]
struct Stubborn {
    name: String,
}

impl TaskType for Stubborn {
    const NAME: &'static str = "stubborn";

    async fn run(self, context: Context) -> Outcome {
        if context.attempt == 1 {
            DOOR.acquire().await.map_err(|_| Stop::failed("closed"))?.forget();
        }
        Ok(json!({ "by": self.name, "attempt": context.attempt }))
    }
}

static AT_ONCE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

/// Only two of them at once.
#[derive(Deserialize, JsonSchema)]
struct Scarce {}

impl TaskType for Scarce {
    const NAME: &'static str = "scarce";
    const MAX_RUNNING: Option<u32> = Some(2);

    async fn run(self, _: Context) -> Outcome {
        MOST.fetch_max(AT_ONCE.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
        AT_ONCE.fetch_sub(1, Ordering::SeqCst);
        Ok(Value::Null)
    }
}

/// Only one of it at once.
#[derive(Deserialize, JsonSchema)]
struct Sparse {}

impl TaskType for Sparse {
    const NAME: &'static str = "sparse";
    const MAX_RUNNING: Option<u32> = Some(1);

    async fn run(self, _: Context) -> Outcome {
        Ok(Value::Null)
    }
}

fn registry() -> Registry {
    Registry::builtin().with::<Stubborn>().with::<Scarce>().with::<Sparse>()
}

fn short_lease() -> Settings {
    Settings { lease: Duration::from_secs(2), ..quick() }
}

#[test]
fn the_next_of_a_limited_type_begins_when_one_ends() {
    in_workshop(async |workshop| {
        let mut ids = Vec::new();
        for _ in 0..10 {
            ids.push(workshop.enqueue(task("sparse", json!({}))).await);
        }
        let once = Settings { poll: Duration::from_secs(3_600), ..short_lease() };
        let _worker = workshop.worker(registry(), once).await;
        for id in ids {
            workshop.until(id, "succeeded").await;
        }
    });
}

#[test]
fn what_a_worker_reports_of_a_task_that_was_taken_from_it_is_thrown_away() {
    in_workshop(async |workshop| {
        let first = workshop.worker(registry(), short_lease()).await;
        let id = workshop.enqueue(task("stubborn", json!({"name": "x"}))).await;
        workshop.until(id, "running").await;
        // As if it had been silent for too long.
        workshop.database.sql("delete from workers").await;
        let _maintenance = workshop.maintenance().await;
        let row = workshop.finished(id).await;
        assert_eq!(row["result"], json!({"by": "x", "attempt": 2}));
        // The first attempt was dropped, or ends now, and its outcome is refused.
        DOOR.add_permits(1);
        eventually(PATIENCE, async || {
            let standing = first.shift.standing();
            standing.running + standing.reporting == 0
        })
        .await;
        assert_eq!(first.shift.standing().stale, 1);
        assert_eq!(first.shift.standing().leases_lost, 1);
        assert_eq!(workshop.row(id).await["result"], json!({"by": "x", "attempt": 2}));
        let attempts = workshop.attempts(id).await;
        assert_eq!((attempts.len(), &attempts[0]["outcome"]), (1, &json!("lost")));
    });
}

#[test]
fn a_worker_gives_signs_of_life_also_while_it_drains() {
    in_workshop(async |workshop| {
        let _maintenance = workshop.maintenance().await;
        let worker = workshop.worker(registry(), short_lease()).await;
        let id = workshop.enqueue(noop(json!({"sleep_ms": 5_000}))).await;
        workshop.until(id, "running").await;
        let drained = worker.live.ask(Drain { limit: PATIENCE }).await.unwrap();
        assert_eq!((drained.interrupted, drained.abandoned), (0, 0));
        let row = workshop.row(id).await;
        assert_eq!((&row["status"], &row["attempt"]), (&json!("succeeded"), &json!(1)));
    });
}

#[test]
fn a_limit_holds_across_workers() {
    in_workshop(async |workshop| {
        for _ in 0..30 {
            workshop.enqueue(task("scarce", json!({}))).await;
        }
        let mut crew = Vec::new();
        for _ in 0..3 {
            crew.push(workshop.worker(registry(), quick()).await);
        }
        let left = "select 1 from tasks where status <> 'succeeded'";
        eventually(PATIENCE * 2, async || workshop.rows(left).await.is_empty()).await;
        let most = MOST.load(Ordering::SeqCst);
        assert!((1..=2).contains(&most), "{most} at once");
    });
}

#[test]
fn many_workers_run_each_task_once() {
    in_workshop(async |workshop| {
        let mut crew = Vec::new();
        for _ in 0..3 {
            crew.push(workshop.worker(registry(), quick()).await);
        }
        let tasks: Vec<NewTask> = (0..600).map(|_| noop(json!({"sleep_ms": 1}))).collect();
        starter::db::tasks::insert(&mut workshop.database.connection().await, tasks).await.unwrap();
        let left = "select 1 from tasks where status <> 'succeeded'";
        eventually(PATIENCE * 2, async || workshop.rows(left).await.is_empty()).await;
        let odd = workshop.rows("select 1 from tasks where attempt <> 1 or crashes <> 0").await;
        assert_eq!(odd, Vec::<Value>::new());
        let ended: u64 = crew.iter().map(|worker| worker.shift.standing().ended).sum();
        assert_eq!(ended, 600);
        assert!(crew.iter().all(|worker| worker.shift.standing().stale == 0));
    });
}

#[test]
fn a_claim_whose_answer_was_lost_is_undone() {
    in_workshop(async |workshop| {
        let id = workshop.enqueue(noop(json!({}))).await;
        let cancelled = workshop.enqueue(noop(json!({}))).await;
        let mut connection = workshop.database.connection().await;
        let (lease, hour) = (Lease::draw(), Duration::from_secs(3600));
        let queues = ["default".to_owned()];
        let worker = queue::register(&mut connection, ("h", 1), &["noop"], &queues, hour).await.unwrap();
        let claimed = queue::claim(&mut connection, worker, lease, "default", &["noop"], 10).await.unwrap();
        assert_eq!(
            claimed.iter().map(|claim| claim.id).collect::<HashSet<_>>(),
            HashSet::from([id, cancelled])
        );
        workshop.call_off(cancelled).await;
        assert_eq!(queue::take_back(&mut connection, worker, &[lease]).await.unwrap(), 0);
        assert_eq!(queue::take_back(&mut connection, WorkerId(4711), &[]).await.unwrap(), 0);
        assert_eq!(queue::take_back(&mut connection, worker, &[Lease::draw()]).await.unwrap(), 2);
        assert_eq!(workshop.rows("select 1 from task_claims").await.len(), 0);
        let row = workshop.row(id).await;
        assert_eq!(
            (&row["status"], &row["attempt"], &row["started_at"]),
            (&json!("pending"), &json!(0), &json!(null))
        );
        assert_eq!(workshop.row(cancelled).await["status"], "cancelled");
    });
}

#[test]
fn a_worker_that_was_given_up_claims_nothing() {
    in_workshop(async |workshop| {
        workshop.enqueue(noop(json!({}))).await;
        let mut connection = workshop.database.connection().await;
        let nobody = WorkerId(4711);
        let claimed =
            queue::claim(&mut connection, nobody, Lease::draw(), "default", &["noop"], 10).await.unwrap();
        assert!(claimed.is_empty());
        assert!(!queue::beat(&mut connection, nobody, Duration::from_secs(1)).await.unwrap());
    });
}

#[test]
fn a_running_task_whose_lease_changed_is_told_from_one_that_was_called_off() {
    in_workshop(async |workshop| {
        let ids = [workshop.enqueue(noop(json!({}))).await, workshop.enqueue(noop(json!({}))).await];
        let mut connection = workshop.database.connection().await;
        let (lease, hour) = (Lease::draw(), Duration::from_secs(3600));
        let queues = ["default".to_owned()];
        let worker = queue::register(&mut connection, ("h", 1), &["noop"], &queues, hour).await.unwrap();
        queue::claim(&mut connection, worker, lease, "default", &["noop"], 10).await.unwrap();
        let leased = ids.map(|id| (id, lease));
        assert_eq!(queue::watch(&mut connection, &leased).await.unwrap(), []);
        workshop.database.sql(&format!("update tasks set lease = 7 where id = '{}'", ids[0])).await;
        workshop.call_off(ids[1]).await;
        let mut told = queue::watch(&mut connection, &leased).await.unwrap();
        told.sort_by_key(|((id, _), _)| *id);
        let expected = [(leased[0], Interference::TakenAway), (leased[1], Interference::CancelRequested)];
        assert_eq!(told, expected);
    });
}

#[cfg(feature = "fault-injection")]
mod faults {
    use starter::actors::{
        vital::{Crash, Watched},
        watchdog::{Patience, visit},
    };
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[test]
    fn when_the_actor_dies_its_tasks_go_on_and_its_successor_takes_over() {
        in_workshop(async |workshop| {
            let _maintenance = workshop.maintenance().await;
            let worker = workshop.worker(registry(), short_lease()).await;
            let running = workshop.enqueue(noop(json!({"sleep_ms": 1_000}))).await;
            workshop.until(running, "running").await;
            worker.live.inject(Crash);
            let later = workshop.enqueue(noop(json!({}))).await;
            let watched: Arc<dyn Watched> = Arc::new(worker.live.clone());
            eventually(PATIENCE, async || {
                visit(&*watched, &Patience::default(), &CancellationToken::new()).await;
                watched.vitals().restarts() == 1
            })
            .await;
            for id in [running, later] {
                let row = workshop.finished(id).await;
                assert_eq!((&row["status"], &row["attempt"]), (&json!("succeeded"), &json!(1)));
            }
            let standing = worker.shift.standing();
            assert_eq!((standing.ended, standing.stale, standing.leases_lost), (2, 0, 0));
            assert_eq!(workshop.rows("select 1 from workers").await.len(), 1);
        });
    }
}
