//! What the worker looks after while tasks run: their progress, and handlers that hang.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use diesel_async::SimpleAsyncConnection as _;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use starter::{
    actors::worker::Census,
    domain::task::NewTask,
    tasks::{Context, Outcome, Registry, Stop, TaskType},
};
use tokio::sync::Semaphore;

use super::workshop::{PATIENCE, in_workshop, noop, quick, task};
use crate::support::eventually;

/// Tells what PostgreSQL cannot store, again and again: each look finds it beside what others said.
#[derive(Deserialize, JsonSchema)]
struct Chatter {}

impl TaskType for Chatter {
    const NAME: &'static str = "chatter";

    async fn run(self, context: Context) -> Outcome {
        let talk = async {
            loop {
                context.progress(json!({ "na\0me": ["a\0b", 1] }));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        context.cancelled.run_until_cancelled(talk).await.unwrap_or(Err(Stop::Cancelled))
    }
}

/// Tells of its progress once.
#[derive(Deserialize, JsonSchema)]
struct Mutter {}

impl TaskType for Mutter {
    const NAME: &'static str = "mutter";

    async fn run(self, context: Context) -> Outcome {
        context.progress(json!({ "percent": 50 }));
        context.cancelled.cancelled().await;
        Err(Stop::Cancelled)
    }
}

#[test]
fn progress_that_cannot_be_stored_as_it_is_takes_none_with_it() {
    in_workshop(async |workshop| {
        let _worker = workshop.worker(Registry::builtin().with::<Chatter>().with::<Mutter>(), quick()).await;
        let bad = workshop.enqueue(task("chatter", json!({}))).await;
        workshop.until(bad, "running").await;
        for _ in 0..3 {
            let id = workshop.enqueue(task("mutter", json!({}))).await;
            eventually(PATIENCE, async || workshop.row(id).await["progress"] == json!({ "percent": 50 }))
                .await;
        }
        let kept = json!({ "name": ["ab", 1] });
        eventually(PATIENCE, async || workshop.row(bad).await["progress"] == kept).await;
    });
}

/// The first three times that progress is written, the database is not up to it.
const TROUBLE: &str = "
    create sequence refusals;
    create function trouble() returns trigger language plpgsql as $$
    begin
        if nextval('refusals') <= 3 then
            raise exception using errcode = '40001', message = 'could not serialize access';
        end if;
        return new;
    end $$;
    create trigger trouble before update of progress on tasks for each row
        when (new.progress is not null) execute function trouble()";

#[test]
fn progress_that_could_not_be_written_is_written_later() {
    in_workshop(async |workshop| {
        workshop.database.sql(TROUBLE).await;
        let _worker = workshop.worker(Registry::builtin().with::<Mutter>(), quick()).await;
        let id = workshop.enqueue(task("mutter", json!({}))).await;
        eventually(PATIENCE, async || workshop.row(id).await["progress"] == json!({ "percent": 50 })).await;
        let tries = workshop.database.count("select last_value from refusals").await;
        // And only once.
        assert_eq!((workshop.row(id).await["status"].as_str(), tries), (Some("running"), 4));
    });
}

/// Steps that the handler may take.
static STEPS: Semaphore = Semaphore::const_new(0);

/// Tells of its progress when it may, and ends when it may.
#[derive(Deserialize, JsonSchema)]
struct Obedient {}

impl TaskType for Obedient {
    const NAME: &'static str = "obedient";

    async fn run(self, context: Context) -> Outcome {
        STEPS.acquire().await.unwrap().forget();
        context.progress(json!({ "percent": 100 }));
        STEPS.acquire().await.unwrap().forget();
        Ok(json!("done"))
    }
}

/// Statements that write progress wait until the gate is open; they hold no row meanwhile. Claims, which clear it, do
/// not.
const GATE: &str = "
    create function gate() returns trigger language plpgsql as $$
    begin
        if current_query() like '%x.progress%' then perform pg_advisory_xact_lock_shared(4711); end if;
        return null;
    end $$;
    create trigger gate before update of progress on tasks for each statement execute function gate()";
const AT_THE_GATE: &str = "select count(*) from pg_locks join pg_stat_activity using (pid)
    where locktype = 'advisory' and objid = 4711 and not granted and datname = current_database()";

#[test]
fn progress_is_not_lost_when_the_task_ends_while_it_is_being_written() {
    in_workshop(async |workshop| {
        workshop.database.sql(GATE).await;
        let _worker = workshop.worker(Registry::builtin().with::<Obedient>(), quick()).await;
        let id = workshop.enqueue(task("obedient", json!({}))).await;
        workshop.until(id, "running").await;
        let mut gate = workshop.database.connection().await;
        gate.batch_execute("select pg_advisory_lock(4711)").await.unwrap();
        STEPS.add_permits(1);
        eventually(PATIENCE, async || workshop.database.count(AT_THE_GATE).await == 1).await;
        STEPS.add_permits(1);
        eventually(PATIENCE, async || {
            let ended = workshop.row(id).await["status"] == "succeeded";
            ended || workshop.database.count(AT_THE_GATE).await == 2
        })
        .await;
        gate.batch_execute("select pg_advisory_unlock(4711)").await.unwrap();
        let row = workshop.finished(id).await;
        assert_eq!((&row["progress"], &row["result"]), (&json!({ "percent": 100 }), &json!("done")));
    });
}

static RELEASED: AtomicBool = AtomicBool::new(false);
static RETURNED: AtomicBool = AtomicBool::new(false);

/// Holds its thread at the first attempt.
#[derive(Deserialize, JsonSchema)]
struct Block {}

impl TaskType for Block {
    const NAME: &'static str = "block";

    async fn run(self, context: Context) -> Outcome {
        if context.attempt == 1 {
            while !RELEASED.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(10));
            }
            RETURNED.store(true, Ordering::SeqCst);
        }
        Ok(json!({ "attempt": context.attempt }))
    }
}

#[test]
fn a_handler_that_holds_its_thread_is_given_up_and_what_it_returns_is_ignored() {
    in_workshop(async |workshop| {
        let worker = workshop.worker(Registry::builtin().with::<Block>(), quick()).await;
        let id = workshop.enqueue(NewTask { timeout_secs: 1, ..task("block", json!({})) }).await;
        workshop.until(id, "running").await;
        let other = workshop.enqueue(noop(json!({}))).await;
        assert_eq!(workshop.finished(other).await["status"], "succeeded", "others go on");
        // A second of its own, three of grace, ten more, and one until it is tried again.
        eventually(3 * PATIENCE, async || workshop.row(id).await["status"] == "succeeded").await;
        let attempts = workshop.attempts(id).await;
        assert_eq!(
            (attempts.len(), &attempts[0]["outcome"], &attempts[0]["error"]),
            (1, &json!("timed_out"), &json!("its handler hangs"))
        );
        assert!(!RETURNED.load(Ordering::SeqCst));
        RELEASED.store(true, Ordering::SeqCst);
        eventually(PATIENCE, async || RETURNED.load(Ordering::SeqCst)).await;
        let last = workshop.enqueue(noop(json!({}))).await;
        workshop.finished(last).await;
        let row = workshop.row(id).await;
        assert_eq!((&row["status"], &row["result"]), (&json!("succeeded"), &json!({ "attempt": 2 })));
        assert_eq!(worker.live.ask(Census).await.unwrap().running, 0);
    });
}
