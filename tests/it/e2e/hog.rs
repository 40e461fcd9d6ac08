//! One user with a thousand tasks of a day, and everybody else.

use super::*;

#[tokio::test]
async fn a_thousand_tasks_of_a_day_hold_nobody_up_and_end_with_their_owner() {
    let database = TestDatabase::create().await;
    let starter = Running::start("standalone", &database, &[]).await;
    let admin = starter.log_in("root-of-all").await;
    let (hog, ada) = (starter.register("hog").await, starter.register("ada").await);
    // What the registrations send is not what is measured.
    let letters = "select count(*) from tasks where task_type = 'email.account' and finished_at is null";
    eventually(LONG, || async { database.count(letters).await == 0 }).await;

    let one = json!({ "task_type": "noop", "payload": { "sleep_ms": 86_400_000 }, "timeout_secs": 3600 });
    let (status, _) = starter.post(&hog, "/api/v1/tasks/batch", json!({ "tasks": vec![one; 1_000] })).await;
    assert_eq!(status, 201);
    let running = "select count(*) from tasks where status = 'running'";
    eventually(LONG, || async { database.count(running).await >= 16 }).await;

    for _ in 0..5 {
        let id = starter.enqueue(&ada, json!({})).await;
        starter.until_status(&ada, &id, "succeeded").await;
    }
    let (status, _) =
        starter.post("", "/api/v1/auth/password/forgot", json!({ "email": "ada@example.com" })).await;
    assert_eq!(status, 202);
    let mails = starter.directory.path().join(".starter/mail");
    let is_reset = |path: &std::path::Path| fs::read_to_string(path).unwrap().contains("reset-password");
    eventually(LONG, || async {
        fs::read_dir(&mails).is_ok_and(|found| found.flatten().any(|mail| is_reset(&mail.path())))
    })
    .await;

    // The median, because this machine may be busy.
    let started = "select extract(epoch from percentile_disc(0.5) within group (order by started_at - created_at)) * 1000
        from tasks where task_type = 'noop' and status = 'succeeded'";
    let milliseconds = database.count(started).await;
    assert!(milliseconds < 1_000, "{milliseconds} ms until a no-op starts");
    let sent = "select extract(epoch from finished_at - created_at) * 1000
        from tasks where task_type = 'email.account' order by id desc limit 1";
    eventually(LONG, || async { database.count(letters).await == 0 }).await;
    let milliseconds = database.count(sent).await;
    assert!(milliseconds < 5_000, "{milliseconds} ms until the mail is out");

    let (_, users) = starter.get(&admin, "/api/v1/users?q=hog").await.unwrap();
    let path = format!("/api/v1/users/{}", users["items"][0]["id"].as_str().unwrap());
    let request = client().delete(starter.url().unwrap() + &path);
    assert_eq!(starter.send(request, &admin).await.unwrap().0, 204);
    let left = "select count(*) from tasks where task_type = 'noop' and finished_at is null";
    eventually(LONG, || async { database.count(left).await == 0 }).await;
}
