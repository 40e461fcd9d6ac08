//! From an account to a finished task.

use super::*;

#[tokio::test]
async fn the_tour_of_the_readme_ends_with_a_task_that_succeeded() {
    let database = TestDatabase::create().await;
    let starter = Running::start("standalone", &database, &[]).await;

    let session = starter.register("ada").await;
    let (status, me) = starter.get(&session, "/api/v1/auth/me").await.unwrap();
    assert_eq!(
        (status, &me["user"]["username"], &me["credential"]["kind"]),
        (200, &json!("ada"), &json!("session"))
    );

    let wanted = json!({ "name": "my program", "permissions": ["tasks:read", "tasks:write"] });
    let (status, key) = starter.post(&session, "/api/v1/api-keys", wanted).await;
    assert_eq!(status, 201, "{key}");
    let key = key["key"].as_str().unwrap().to_owned();

    for (credential, other) in [(&key, &session), (&session, &key)] {
        let id = starter.enqueue(credential, json!({ "sleep_ms": 20 })).await;
        starter.until_status(other, &id, "succeeded").await;
        assert_eq!(starter.task(other, &id).await["attempt"], 1);
    }

    let id = starter.enqueue(&key, json!({ "fail_times": 1 })).await;
    starter.until_status(&key, &id, "succeeded").await;
    let (_, attempts) = starter.get(&key, &format!("/api/v1/tasks/{id}/attempts")).await.unwrap();
    let outcomes: Vec<_> = attempts["items"].as_array().unwrap().iter().map(|one| &one["outcome"]).collect();
    assert_eq!(outcomes, ["failed", "succeeded"]);

    let later = json!({ "task_type": "noop", "delay_secs": 3600 });
    let (_, task) = starter.post(&key, "/api/v1/tasks", later).await;
    assert_eq!(task["status"], "scheduled");
    let path = format!("/api/v1/tasks/{}/cancel", task["id"].as_str().unwrap());
    let (status, task) = starter.post(&key, &path, json!({})).await;
    assert_eq!((status, &task["status"]), (200, &json!("cancelled")), "{task}");
    let (_, list) = starter.get(&key, "/api/v1/tasks?status=succeeded").await.unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 3);

    let logout = format!("{}/api/v1/auth/logout", starter.url().unwrap());
    assert_eq!(starter.send(client().post(logout), &session).await.unwrap().0, 204);
    assert_eq!(starter.get(&session, "/api/v1/auth/me").await.unwrap().0, 401);
}

#[tokio::test]
async fn ops_see_every_actor_and_true_figures_and_others_do_not() {
    let database = TestDatabase::create().await;
    let starter = Running::start("standalone", &database, &[]).await;
    let (admin, user) = (starter.log_in("root-of-all").await, starter.register("ada").await);

    for path in ["/health/actors", "/metrics"] {
        assert_eq!(starter.get("", path).await.unwrap().0, 401, "{path}");
        assert_eq!(starter.get(&user, path).await.unwrap().0, 403, "{path}");
        assert_eq!(starter.get(&admin, path).await.unwrap().0, 200, "{path}");
    }
    let (_, actors) = starter.get(&admin, "/health/actors").await.unwrap();
    let names: Vec<_> =
        actors.as_array().unwrap().iter().map(|actor| actor["name"].as_str().unwrap()).collect();
    for name in [
        "SessionStore",
        "ApiKeyVerifier",
        "Accounts",
        "TaskDispatcher",
        "TaskWorker",
        "ChangeFeed",
        "Maintenance",
    ] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    assert!(actors.as_array().unwrap().iter().all(|actor| actor["state"] == "running"), "{actors}");

    let id = starter.enqueue(&user, json!({})).await;
    starter.until_status(&user, &id, "succeeded").await;
    let url = starter.url().unwrap() + "/metrics";
    let text = client().get(url).bearer_auth(&admin).send().await.unwrap().text().await.unwrap();
    assert!(
        text.contains(r#"starter_http_requests_total{method="POST",route="/api/v1/tasks",status="201"} 1"#),
        "{text}"
    );
    assert!(text.contains(r#"starter_statement_items_total{store="tasks"} 1"#), "{text}");

    // The change feed needs a moment to prove itself.
    eventually(LONG, || async { starter.get("", "/health").await.unwrap().1["status"] == "ok" }).await;
}
