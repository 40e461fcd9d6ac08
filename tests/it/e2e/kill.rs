//! Killing for real.

use super::*;
use crate::support::db::rows;

const QUICK: [(&str, &str); 2] =
    [("STARTER__WORKER__LEASE_SECS", "5"), ("STARTER__WORKER__POLL_INTERVAL_MS", "100")];

#[tokio::test]
async fn a_task_whose_worker_was_killed_is_rescued_and_ends_once() {
    let database = TestDatabase::create().await;
    let server = Running::start("server", &database, &QUICK).await;
    let session = server.register("ada").await;
    let mut worker = Running::start("worker", &database, &QUICK).await;
    let id = server.enqueue(&session, json!({ "sleep_ms": 1000 })).await;
    server.until_status(&session, &id, "running").await;

    worker.signal(Signal::KILL);
    assert_eq!(worker.exit_code(), None, "killed");
    let _other = Running::start("worker", &database, &QUICK).await;
    server.until_status(&session, &id, "succeeded").await;
    let (_, attempts) = server.get(&session, &format!("/api/v1/tasks/{id}/attempts")).await.unwrap();
    let outcomes: Vec<_> = attempts["items"].as_array().unwrap().iter().map(|one| &one["outcome"]).collect();
    assert_eq!(outcomes, ["lost", "succeeded"]);
}

#[tokio::test]
async fn what_was_accepted_survives_the_server_that_accepted_it() {
    let database = TestDatabase::create().await;
    let server = Running::start("server", &database, &[]).await;
    let session = server.register("ada").await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(server.enqueue(&session, json!({})).await);
    }
    server.signal(Signal::KILL);
    let standalone = Running::start("standalone", &database, &[]).await;
    for id in ids {
        standalone.until_status(&session, &id, "succeeded").await;
    }
}

#[tokio::test]
async fn what_a_killed_worker_had_claimed_and_not_begun_loses_no_attempt() {
    let database = TestDatabase::create().await;
    // Quick ones, so that some are claimed ahead; as many long ones as run at once; then some that have to wait there.
    database
        .sql(
            "insert into tasks (id, task_type, priority, max_attempts, timeout_secs, payload)
             select gen_random_uuid(), 'noop', n / 200, 1, 3600,
                jsonb_build_object('sleep_ms', case n / 200 when 1 then 600000 else 1 end)
             from generate_series(0, 999) n where n not between 204 and 399",
        )
        .await;
    let four = [QUICK[0], QUICK[1], ("STARTER__WORKER__CONCURRENCY", "4")];
    let worker = Running::start("worker", &database, &four).await;
    let mut connection = database.connection().await;
    let quick = "select from tasks where priority > 1 and status <> 'succeeded'";
    let long = "select from tasks where priority = 1 and status = 'running'";
    eventually(LONG, async || {
        rows(&mut connection, quick).await.is_empty() && rows(&mut connection, long).await.len() == 4
    })
    .await;
    worker.signal(Signal::KILL);

    let _other = Running::start("worker", &database, &four).await;
    let open = "select from tasks where finished_at is null";
    eventually(LONG, async || rows(&mut connection, open).await.is_empty()).await;
    let ends =
        "select priority, status, attempt, crashes, count(*) from tasks group by 1, 2, 3, 4 order by 1";
    let end = |priority: u32, status: &str, crashes: u32, count: u32| json!({"priority": priority, "status": status, "attempt": 1, "crashes": crashes, "count": count});
    let mut expected: Vec<Value> = (0..5).map(|priority| end(priority, "succeeded", 0, 200)).collect();
    expected[1] = end(1, "failed", 1, 4);
    assert_eq!(rows(&mut connection, ends).await, expected);
}
