//! When attempts began and ended: by their handlers, not by the statements that claim tasks and write outcomes down.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use starter::{
    actors::worker::Settings,
    db::{Plans, queue},
    domain::attempt::{Lease, Times},
    tasks::Registry,
};

use super::workshop::{PATIENCE, Workshop, in_workshop, noop, quick};
use crate::support::eventually;

fn slots(concurrency: usize) -> Settings {
    Settings { concurrency, ..quick() }
}

/// Tasks are there before the worker, so that its first claim takes them ahead.
async fn enqueue(workshop: &Workshop, tasks: impl IntoIterator<Item = (i16, Value)>) {
    for (priority, payload) in tasks {
        let mut task = noop(payload);
        task.priority = priority;
        workshop.enqueue(task).await;
    }
}

async fn attempts(workshop: &Workshop, query: &str) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
    let time = |value: &Value| value.as_str().unwrap().parse().unwrap();
    let rows = workshop.rows(query).await;
    rows.iter().map(|row| (time(&row["started_at"]), time(&row["finished_at"]))).collect()
}

/// How many attempts ran at once at most.
fn depth(attempts: &[(DateTime<Utc>, DateTime<Utc>)]) -> usize {
    let running = |at| attempts.iter().filter(|(began, ended)| *began <= at && at < *ended).count();
    attempts.iter().map(|(began, _)| running(*began)).max().unwrap_or(0)
}

const SUCCEEDED: &str =
    "select started_at, finished_at from tasks where status = 'succeeded' order by started_at";

#[test]
fn ended_attempts_never_overlap_beyond_the_slots_of_their_worker() {
    in_workshop(async |workshop| {
        enqueue(&workshop, (0..24).map(|_| (0, json!({"sleep_ms": 60})))).await;
        let _worker = workshop.worker(Registry::builtin(), slots(3)).await;
        eventually(PATIENCE, async || workshop.rows(SUCCEEDED).await.len() == 24).await;

        let attempts = attempts(&workshop, SUCCEEDED).await;
        assert!(depth(&attempts) <= 3, "{attempts:?}");
        assert!(attempts.iter().all(|(began, ended)| ended > began), "{attempts:?}");
    });
}

#[test]
fn tasks_of_one_claim_show_the_order_in_which_they_began() {
    in_workshop(async |workshop| {
        enqueue(&workshop, (0..12).map(|n| (n * 5 % 12, json!({"sleep_ms": 5})))).await;
        let _worker = workshop.worker(Registry::builtin(), slots(1)).await;
        eventually(PATIENCE, async || workshop.rows(SUCCEEDED).await.len() == 12).await;

        let order =
            "select priority, lag(started_at) over (order by started_at) = started_at as same from tasks
            order by started_at, priority";
        let order = workshop.rows(order).await;
        let priorities: Vec<_> = order.iter().map(|row| row["priority"].as_i64().unwrap()).collect();
        assert_eq!(priorities, (0..12).rev().collect::<Vec<_>>());
        assert!(order.iter().all(|row| row["same"] != json!(true)), "{order:?}");
        assert_eq!(depth(&attempts(&workshop, SUCCEEDED).await), 1);
    });
}

#[test]
fn attempts_that_fail_have_the_times_of_their_handlers() {
    in_workshop(async |workshop| {
        let payload = json!({"sleep_ms": 40, "fail_times": 1});
        enqueue(&workshop, (0..6).map(|_| (0, payload.clone()))).await;
        let _worker = workshop.worker(Registry::builtin(), slots(2)).await;
        let failed =
            "select started_at, finished_at from task_attempts where outcome = 'failed' order by started_at";
        eventually(PATIENCE, async || workshop.rows(failed).await.len() == 6).await;

        let attempts = attempts(&workshop, failed).await;
        assert!(depth(&attempts) <= 2, "{attempts:?}");
        let kept = "select 1 from tasks t join task_attempts a on a.task_id = t.id and a.attempt = t.attempt
            where t.status = 'retrying' and t.started_at <> a.started_at";
        assert!(workshop.rows(kept).await.is_empty());
    });
}

/// A process whose clock is wrong cannot write times that contradict the database's own.
#[test]
fn an_attempt_lies_between_its_claim_and_the_statement_that_writes_it_down() {
    in_workshop(async |workshop| {
        let mut connection = workshop.database.connection().await;
        let queues = ["default".to_owned()];
        let worker = queue::register(&mut connection, ("h", 1), &["noop"], &queues, PATIENCE).await.unwrap();
        let now = Utc::now();
        let hour = TimeDelta::hours(1);
        let all = [(-hour, -hour), (hour, hour), (-hour, hour), (hour, -hour)];
        enqueue(&workshop, all.map(|_| (0, json!({})))).await;

        let claims =
            queue::claim(&mut connection, worker, Lease::draw(), "default", &["noop"], 10).await.unwrap();
        let successes: Vec<_> = claims
            .iter()
            .zip(all)
            .map(|(claim, (began, ended))| {
                let times = Some(Times { began: now + began, ended: now + ended });
                (claim.leased(), queue::Success { result: None, times })
            })
            .collect();
        queue::succeed_by(&mut connection, Plans::Fresh, &successes).await.unwrap();

        let sound = "select 1 from tasks where status = 'succeeded'
            and created_at <= started_at and started_at <= finished_at and finished_at <= updated_at";
        assert_eq!(workshop.rows(sound).await.len(), 4);
    });
}

#[test]
fn every_ended_task_counts_in_the_last_hour() {
    in_workshop(async |workshop| {
        enqueue(&workshop, [(0, json!({})), (0, json!({"sleep_ms": 30})), (0, json!({"panic": true}))]).await;
        workshop.database.sql("update tasks set max_attempts = 1").await;
        let _worker = workshop.worker(Registry::builtin(), slots(3)).await;
        let finished = "select id from tasks where finished_at is not null";
        eventually(PATIENCE, async || workshop.rows(finished).await.len() == 3).await;

        let ended = "select count(distinct task_id) from task_endings, unnest(task_ids) as task_id";
        assert_eq!(workshop.database.count(ended).await, 3);
    });
}
