//! Stopping in order.

use super::*;

#[tokio::test]
async fn a_signal_lets_tasks_finish_and_the_exit_code_is_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let database = TestDatabase::create().await;
        let server = Running::start("server", &database, &[]).await;
        let mut worker = Running::start("worker", &database, &[]).await;
        let session = server.register("ada").await;
        let id = server.enqueue(&session, json!({ "sleep_ms": 1500 })).await;
        server.until_status(&session, &id, "running").await;

        worker.signal(signal);
        assert_eq!(worker.exit_code(), Some(0), "{}", worker.log());
        let task = server.task(&session, &id).await;
        assert_eq!((&task["status"], &task["attempt"]), (&json!("succeeded"), &json!(1)), "{task}");
    }
}

#[tokio::test]
async fn a_task_that_outlasts_the_grace_is_handed_back_for_another_worker() {
    let database = TestDatabase::create().await;
    let server = Running::start("server", &database, &[]).await;
    let short = [("STARTER__SERVER__SHUTDOWN_TIMEOUT_SECS", "1")];
    let mut worker = Running::start("worker", &database, &short).await;
    let session = server.register("ada").await;
    let id = server.enqueue(&session, json!({ "sleep_ms": 2500 })).await;
    server.until_status(&session, &id, "running").await;

    worker.signal(Signal::TERM);
    assert_eq!(worker.exit_code(), Some(0), "{}", worker.log());
    assert_ne!(server.task(&session, &id).await["status"], "running", "nobody has it");
    let _other = Running::start("worker", &database, &[]).await;
    server.until_status(&session, &id, "succeeded").await;
}

#[tokio::test]
async fn requests_under_way_are_answered_and_the_exit_code_is_0() {
    let database = TestDatabase::create().await;
    // Hashing at this cost takes long enough for the signal to come in between.
    let slow = [("STARTER__AUTH__ARGON2_MEMORY_KIB", "65536"), ("STARTER__AUTH__ARGON2_ITERATIONS", "10")];
    let mut server = Running::start("server", &database, &slow).await;
    let admin = server.log_in("root-of-all").await;
    let url = server.url().unwrap() + "/api/v1/auth/login";
    let body = json!({ "login": "root-of-all", "password": PASSWORD });
    let request = tokio::spawn(client().post(url).json(&body).send());
    eventually(LONG, || async { hashes(&server, &admin).await > 0 || request.is_finished() }).await;

    server.signal(Signal::TERM);
    let response = request.await.unwrap().unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(server.exit_code(), Some(0), "{}", server.log());
}

/// Passwords that are being hashed.
async fn hashes(server: &Running, admin: &str) -> u64 {
    let (_, actors) = server.get(admin, "/health/actors").await.unwrap();
    let hashers = actors.as_array().unwrap().iter().find(|actor| actor["name"] == "PasswordHashers");
    hashers.and_then(|hashers| hashers["mailbox_depth"].as_u64()).unwrap()
}
