//! What the worker looks after while tasks run: their progress, and handlers that hang.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use starter::{
    actors::worker::Census,
    domain::task::NewTask,
    tasks::{Context, Outcome, Registry, Stop, TaskType},
};

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
