//! Killing for real.

use super::*;

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
