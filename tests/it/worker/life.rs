//! A task's life, from its claim to its end.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use starter::{
    actors::worker::{Census, Drain},
    domain::{
        TaskId,
        task::{NewTask, When},
    },
    tasks::{Context, Outcome, Registry, RetryPolicy, Stop, TaskType},
};

use super::workshop::{PATIENCE, in_workshop, noop, quick, task};
use crate::support::eventually;

/// Does what it is told.
#[derive(Deserialize, JsonSchema)]
struct Obey {
    order: String,
}

/// Other tests of the same process run such tasks too: each test looks for its own.
static STOPPED: Mutex<Vec<TaskId>> = Mutex::new(Vec::new());
static NOTED: Mutex<Vec<(TaskId, String)>> = Mutex::new(Vec::new());

impl TaskType for Obey {
    const NAME: &'static str = "obey";
    const RETRY: RetryPolicy =
        RetryPolicy { first: Duration::from_millis(10), factor: 1.0, longest: Duration::from_millis(10) };

    async fn run(self, context: Context) -> Outcome {
        match self.order.as_str() {
            "result" => Ok(json!({"answer": 42})),
            "unstorable" => Ok(json!("\0")),
            "refuse" => Err(Stop::refused("not with me")),
            "fail" => Err(Stop::failed("as\0 ordered")),
            "snooze" if context.attempt < 3 => Err(Stop::Snooze(Duration::from_millis(5))),
            "progress" => {
                context.progress(json!({"percent": 50}));
                Ok(Value::Null)
            }
            "wait" => {
                context.cancelled.cancelled().await;
                STOPPED.lock().unwrap().push(context.task_id);
                Err(Stop::Cancelled)
            }
            "ignore" => std::future::pending().await,
            note => {
                NOTED.lock().unwrap().push((context.task_id, note.to_owned()));
                Ok(Value::Null)
            }
        }
    }
}

fn registry() -> Registry {
    Registry::builtin().with::<Obey>()
}

fn obey(order: &str) -> NewTask {
    task("obey", json!({ "order": order }))
}

#[test]
fn a_task_succeeds_and_keeps_its_result() {
    in_workshop(async |workshop| {
        let worker = workshop.worker(registry(), quick()).await;
        let id = workshop.enqueue(obey("result")).await;
        let row = workshop.until(id, "succeeded").await;
        assert_eq!((&row["result"], &row["attempt"]), (&json!({"answer": 42}), &json!(1)));
        assert_eq!((&row["retry_count"], &row["last_error"]), (&json!(0), &json!(null)));
        assert!(row["started_at"].is_string() && row["worker_id"].is_number() && row["lease"].is_null());
        let standing = worker.live.ask(Census).await.unwrap();
        assert_eq!((standing.running, standing.ended, standing.stale), (0, 1, 0));
    });
}

#[test]
fn a_failure_is_retried_and_told_until_the_attempts_are_used_up() {
    in_workshop(async |workshop| {
        let _worker = workshop.worker(registry(), quick()).await;
        let mends = workshop.enqueue(noop(json!({"fail_times": 2}))).await;
        let never = workshop.enqueue(obey("fail")).await;
        let row = workshop.finished(never).await;
        assert_eq!(
            (&row["status"], &row["attempt"], &row["retry_count"]),
            (&json!("failed"), &json!(3), &json!(2))
        );
        assert_eq!(row["last_error"], "as ordered");
        let attempts = workshop.attempts(never).await;
        assert_eq!(attempts.len(), 3);
        assert!(
            attempts.iter().all(|attempt| attempt["outcome"] == "failed" && attempt["error"] == "as ordered")
        );
        let row = workshop.finished(mends).await;
        assert_eq!(
            (&row["status"], &row["attempt"], &row["retry_count"]),
            (&json!("succeeded"), &json!(3), &json!(2))
        );
        assert_eq!(row["last_error"], json!(null));
    });
}

#[test]
fn a_refusal_makes_a_dead_letter_at_once() {
    in_workshop(async |workshop| {
        let _worker = workshop.worker(registry(), quick()).await;
        let id = workshop.enqueue(obey("refuse")).await;
        let row = workshop.finished(id).await;
        assert_eq!((&row["status"], &row["attempt"]), (&json!("failed"), &json!(1)));
        assert_eq!(workshop.attempts(id).await[0]["error"], "not with me");
    });
}

#[test]
fn a_panic_fails_its_attempt_and_nothing_else() {
    in_workshop(async |workshop| {
        let _worker = workshop.worker(registry(), quick()).await;
        let bad = workshop.enqueue(NewTask { max_attempts: 1, ..noop(json!({"panic": true})) }).await;
        let good = workshop.enqueue(obey("result")).await;
        assert_eq!(workshop.finished(bad).await["last_error"], "its handler panicked");
        assert_eq!(workshop.finished(good).await["status"], "succeeded");
    });
}

#[test]
fn what_cannot_be_stored_is_refused_and_stops_nobody_else() {
    in_workshop(async |workshop| {
        let _worker = workshop.worker(registry(), quick()).await;
        let bad = workshop.enqueue(obey("unstorable")).await;
        let good = workshop.enqueue(obey("result")).await;
        assert_eq!(workshop.finished(bad).await["last_error"], "its result cannot be stored");
        assert_eq!(workshop.finished(good).await["status"], "succeeded");
    });
}

/// As on a full disk: for a while the database refuses whatever is written of an attempt's end.
const FULL_DISK: &str = "
    create sequence refusals;
    create function full_disk() returns trigger language plpgsql as $$
    begin
        if nextval('refusals') <= 14 then
            raise exception using errcode = '53100', message = 'could not extend file: No space left on device';
        end if;
        return new;
    end $$;
    create trigger full_disk before update on tasks for each row
        when (old.status = 'running') execute function full_disk()";

#[test]
fn a_success_stays_one_when_the_database_can_write_nothing_for_a_while() {
    in_workshop(async |workshop| {
        workshop.database.sql(FULL_DISK).await;
        let _worker = workshop.worker(registry(), quick()).await;
        let id = workshop.enqueue(obey("result")).await;
        let row = workshop.finished(id).await;
        assert_eq!((&row["status"], &row["result"]), (&json!("succeeded"), &json!({"answer": 42})));
        assert_eq!(row["attempt"], 1);
    });
}

#[test]
fn a_task_out_of_time_is_dropped_and_retried() {
    in_workshop(async |workshop| {
        let _worker = workshop.worker(registry(), quick()).await;
        let deaf = workshop.enqueue(NewTask { timeout_secs: 1, max_attempts: 1, ..obey("ignore") }).await;
        let polite = workshop.enqueue(NewTask { timeout_secs: 1, max_attempts: 1, ..obey("wait") }).await;
        for id in [polite, deaf] {
            assert_eq!(workshop.finished(id).await["last_error"], "not done within 1 s");
            assert_eq!(workshop.attempts(id).await[0]["outcome"], "timed_out");
        }
    });
}

#[test]
fn a_snooze_uses_up_no_attempt() {
    in_workshop(async |workshop| {
        let _worker = workshop.worker(registry(), quick()).await;
        let id = workshop.enqueue(NewTask { max_attempts: 1, ..obey("snooze") }).await;
        let row = workshop.finished(id).await;
        assert_eq!(
            (&row["status"], &row["attempt"], &row["retry_count"]),
            (&json!("succeeded"), &json!(3), &json!(0))
        );
        let attempts = workshop.attempts(id).await;
        assert!(attempts.len() == 2 && attempts.iter().all(|attempt| attempt["outcome"] == "snoozed"));
    });
}

#[test]
fn progress_is_written_down_also_when_the_handler_ends_at_once() {
    in_workshop(async |workshop| {
        let _worker = workshop.worker(registry(), quick()).await;
        let id = workshop.enqueue(obey("progress")).await;
        assert_eq!(workshop.finished(id).await["progress"], json!({"percent": 50}));
    });
}

#[test]
fn a_cancel_reaches_a_running_handler_within_a_second() {
    in_workshop(async |workshop| {
        let _worker = workshop.worker(registry(), quick()).await;
        let id = workshop.enqueue(obey("wait")).await;
        workshop.until(id, "running").await;
        workshop.call_off(id).await;
        let asked = Instant::now();
        eventually(PATIENCE, async || STOPPED.lock().unwrap().contains(&id)).await;
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        assert_eq!(workshop.finished(id).await["status"], "cancelled");
        assert_eq!(workshop.attempts(id).await[0]["outcome"], "cancelled");
    });
}

#[test]
fn a_handler_that_is_deaf_to_cancelling_is_dropped() {
    in_workshop(async |workshop| {
        let _worker = workshop.worker(registry(), quick()).await;
        let id = workshop.enqueue(obey("ignore")).await;
        workshop.until(id, "running").await;
        workshop.call_off(id).await;
        assert_eq!(workshop.finished(id).await["status"], "cancelled");
    });
}

#[test]
fn a_type_that_the_worker_does_not_know_is_left_alone() {
    in_workshop(async |workshop| {
        let _worker = workshop.worker(registry(), quick()).await;
        let unknown = workshop.enqueue(task("of.tomorrow", json!({}))).await;
        let known = workshop.enqueue(obey("result")).await;
        workshop.finished(known).await;
        let row = workshop.row(unknown).await;
        assert_eq!((&row["status"], &row["attempt"]), (&json!("pending"), &json!(0)));
    });
}

#[test]
fn a_scheduled_task_starts_within_50_ms_of_its_time() {
    in_workshop(async |workshop| {
        let settings = starter::actors::worker::Settings { poll: Duration::from_secs(600), ..quick() };
        let worker = workshop.worker(registry(), settings).await;
        // The first of its statements take longer, and until it is registered nothing is claimed.
        let first = workshop.enqueue(obey("result")).await;
        worker.shift.bell().due();
        workshop.finished(first).await;
        let mut late = Vec::new();
        for _ in 0..5 {
            let id = workshop.enqueue(NewTask { when: When::After(0.2), ..noop(json!({})) }).await;
            worker.shift.bell().scheduled();
            workshop.finished(id).await;
            let query = format!(
                "select extract(epoch from started_at - run_at) as late from tasks where id = '{id}'"
            );
            late.push(workshop.rows(&query).await[0]["late"].as_f64().unwrap());
        }
        late.sort_by(f64::total_cmp);
        assert!(late[2] < 0.05, "seconds late: {late:?}");
    });
}

#[test]
fn better_tasks_come_first_and_paused_queues_not_at_all() {
    in_workshop(async |workshop| {
        let mut ids = Vec::new();
        for priority in [-1, 100, 0, 7] {
            ids.push(workshop.enqueue(NewTask { priority, ..obey(&priority.to_string()) }).await);
        }
        workshop.database.sql("insert into queues (name, paused_at) values ('held', now())").await;
        let held = workshop.enqueue(NewTask { queue: "held".into(), ..noop(json!({})) }).await;
        let mut settings = quick();
        (settings.concurrency, settings.queues) = (1, vec!["default".into(), "held".into()]);
        let _worker = workshop.worker(registry(), settings).await;
        for id in &ids {
            workshop.finished(*id).await;
        }
        // As they began: two outcomes may be written at the same time.
        let noted = NOTED.lock().unwrap().clone();
        let order: Vec<&str> =
            noted.iter().filter(|(id, _)| ids.contains(id)).map(|(_, note)| note.as_str()).collect();
        assert_eq!(order, ["100", "7", "0", "-1"]);
        assert_eq!(workshop.row(held).await["status"], "pending");
        workshop.database.sql("update queues set paused_at = null").await;
        workshop.finished(held).await;
    });
}

#[test]
fn a_drain_lets_tasks_end_and_gives_the_others_back_without_counting() {
    in_workshop(async |workshop| {
        let mut settings = quick();
        settings.concurrency = 2;
        let worker = workshop.worker(registry(), settings).await;
        let long = workshop.enqueue(obey("wait")).await;
        let short = workshop.enqueue(noop(json!({"sleep_ms": 300}))).await;
        workshop.until(long, "running").await;
        workshop.until(short, "running").await;
        let after = workshop.enqueue(obey("result")).await;
        let drained = worker.live.ask(Drain { limit: Duration::from_secs(1) }).await.unwrap();
        assert_eq!((drained.interrupted, drained.abandoned), (1, 0));
        assert_eq!(workshop.row(short).await["status"], "succeeded");
        let row = workshop.row(long).await;
        assert_eq!((&row["status"], &row["retry_count"]), (&json!("pending"), &json!(0)));
        assert_eq!(workshop.attempts(long).await[0]["outcome"], "interrupted");
        assert_eq!(workshop.row(after).await["attempt"], 0);
        assert_eq!(workshop.rows("select * from workers").await, Vec::<Value>::new());
        // Its actor is not gone with the work.
        for _ in 0..100 {
            assert_eq!(worker.live.ask(Census).await.unwrap().running, 0);
        }
    });
}
