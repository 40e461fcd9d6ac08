//! A task that is called off at one process stops in another.

use super::*;

#[tokio::test]
async fn a_task_called_off_over_http_stops_in_the_worker_within_a_second() {
    let database = TestDatabase::create().await;
    let server = Running::start("server", &database, &[]).await;
    let worker = Running::start("worker", &database, &[]).await;
    let session = server.register("ada").await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(server.enqueue(&session, json!({ "sleep_ms": 3_600_000 })).await);
    }
    for id in &ids {
        server.until_status(&session, id, "running").await;
        let (status, task) = server.post(&session, &format!("/api/v1/tasks/{id}/cancel"), json!({})).await;
        // It is the worker's: it is asked to stop.
        assert_eq!((status, &task["status"]), (200, &json!("running")), "{task}");
        server.until_status(&session, id, "cancelled").await;
        let (_, attempts) = server.get(&session, &format!("/api/v1/tasks/{id}/attempts")).await.unwrap();
        assert_eq!(attempts["items"][0]["outcome"], "cancelled", "{attempts}");
        let of_worker = "select count(*) from task_attempts join workers on id = worker_id";
        assert!(
            database.count(&format!("{of_worker} where pid <> {}", worker.pid().as_raw_nonzero())).await == 0
        );
    }
    // The median, because this machine may be busy. A handler that is not told is dropped after three seconds.
    let took = "select extract(epoch from percentile_disc(0.5) within group
        (order by finished_at - cancel_requested_at)) * 1000 from tasks where task_type = 'noop'";
    let milliseconds = database.count(took).await;
    assert!(milliseconds < 1_000, "{milliseconds} ms");
}
