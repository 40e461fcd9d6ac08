//! Tasks, queues and schedules over HTTP, as the contract has them.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use starter::domain::Permission;

use crate::support::site::{Site, Told, read};

async fn enqueue(site: &Site, token: &str, body: &Value) -> Told {
    site.post("/api/v1/tasks", token, body).await
}

#[actix_rt::test]
async fn a_task_is_enqueued_and_shown_with_every_field_of_the_contract() {
    let site = Site::open().await;
    let (alice, token) = site.log_in("alice", "user").await;
    let told = enqueue(&site, &token, &json!({"task_type": "noop", "payload": {"sleep_ms": 5}})).await;
    assert_eq!(told.status, 201, "{told:?}");
    let task = told.json();
    let location = told.header("location").unwrap().to_owned();
    assert_eq!(location, format!("/api/v1/tasks/{}", task["id"].as_str().unwrap()));
    let mut fields: Vec<&str> = task.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    let mut expected = vec![
        "id",
        "task_type",
        "queue",
        "payload",
        "status",
        "priority",
        "run_at",
        "attempt",
        "max_attempts",
        "retry_count",
        "last_error",
        "progress",
        "result",
        "unique_key",
        "created_by",
        "created_at",
        "updated_at",
        "started_at",
        "finished_at",
    ];
    expected.sort_unstable();
    assert_eq!(fields, expected);
    assert_eq!(task["status"], "pending");
    assert_eq!(
        (&task["queue"], &task["priority"], &task["attempt"]),
        (&json!("default"), &json!(0), &json!(0))
    );
    assert_eq!(task["created_by"], alice.to_string());
    assert_eq!(task["payload"], json!({"sleep_ms": 5}));
    assert_eq!(site.get(&location, &token).await.json(), task);
    let list = site.get("/api/v1/tasks", &token).await.json();
    assert_eq!(list, json!({"items": [task], "next_cursor": null}));
    let attempts = site.get(&format!("{location}/attempts"), &token).await.json();
    assert_eq!(attempts, json!({"items": [], "next_cursor": null}));
}

#[actix_rt::test]
async fn everything_that_is_asked_for_is_kept() {
    let site = Site::open().await;
    let (_, token) = site.log_in("alice", "user").await;
    let body = json!({"task_type": "noop", "queue": "mail", "priority": -7, "run_at": "2030-01-01T01:00:00+01:00",
        "max_attempts": 9, "unique_key": "k", "timeout_secs": 77});
    let task = enqueue(&site, &token, &body).await.json();
    assert_eq!(task["status"], "scheduled");
    assert_eq!(task["run_at"], "2030-01-01T00:00:00Z");
    assert_eq!((&task["queue"], &task["priority"]), (&json!("mail"), &json!(-7)));
    assert_eq!((&task["max_attempts"], &task["unique_key"]), (&json!(9), &json!("k")));
    assert_eq!(site.database.count("select timeout_secs from tasks").await, 77);
    assert_eq!(site.database.count("select count(*) from tasks where request_id is not null").await, 1);
    let again = enqueue(&site, &token, &body).await;
    assert_eq!((again.status, again.json()["id"].clone()), (200, task["id"].clone()));
    assert_eq!(again.header("location"), None);
}

#[actix_rt::test]
async fn every_bad_field_is_named() {
    let site = Site::open().await;
    let (_, token) = site.log_in("alice", "user").await;
    let body = json!({"task_type": "noop", "payload": {"sleep_ms": -1, "what": 1}, "queue": "No", "priority": 101,
        "run_at": "soon", "delay_secs": 1, "max_attempts": 0, "unique_key": "", "timeout_secs": 0});
    let fields = enqueue(&site, &token, &body).await.fields();
    for field in
        ["/queue", "/priority", "/run_at", "/delay_secs", "/max_attempts", "/unique_key", "/timeout_secs"]
    {
        assert!(fields.iter().any(|named| named == field), "{field} in {fields:?}");
    }
    assert!(fields.iter().any(|named| named.starts_with("/payload")), "{fields:?}");
    assert_eq!(enqueue(&site, &token, &json!({"task_type": "nothing"})).await.fields(), ["/task_type"]);
    assert_eq!(enqueue(&site, &token, &json!({})).await.fields(), ["/task_type"]);
    let batch = json!({"tasks": [{"task_type": "noop"}, {"task_type": "noop", "payload": {"sleep_ms": -1}, "priority": 1000}]});
    let fields = site.post("/api/v1/tasks/batch", &token, &batch).await.fields();
    assert!(fields.contains(&"/tasks/1/payload/sleep_ms".to_owned()), "{fields:?}");
    assert!(fields.contains(&"/tasks/1/priority".to_owned()), "{fields:?}");
    assert_eq!(site.post("/api/v1/tasks/batch", &token, &json!({"tasks": []})).await.fields(), ["/tasks"]);
    let many: Vec<Value> = (0..1001).map(|_| json!({"task_type": "noop"})).collect();
    assert_eq!(site.post("/api/v1/tasks/batch", &token, &json!({"tasks": many})).await.fields(), ["/tasks"]);
    for (field, value) in [
        ("payload", json!([])),
        ("payload", json!("x")),
        ("priority", json!("high")),
        ("priority", json!(1.5)),
        ("queue", json!(7)),
        ("delay_secs", json!("1")),
        ("unknown", json!(1)),
    ] {
        let told = enqueue(&site, &token, &json!({"task_type": "noop", field: value})).await;
        assert_eq!((told.status, told.code().as_str()), (400, "malformed_request"), "{field} {told:?}");
    }
    assert_eq!(site.database.count("select count(*) from tasks").await, 0);
}

#[actix_rt::test]
async fn a_mail_that_no_server_would_take_is_not_ordered() {
    let site = Site::open().await;
    let (_, token) = site.log_in("boss", "admin").await;
    let order = async |to: &str, subject: &str| {
        let payload = json!({"to": to, "subject": subject, "text": "t"});
        enqueue(&site, &token, &json!({"task_type": "email.send", "payload": payload})).await
    };
    let long = format!("{} <a@example.com>", "x".repeat(1_000));
    for to in
        ["übung@example.com", "Ada <übung@example.com>", "ada@gmail", "Ada\r\nBcc: b@x.co <a@x.co>", &long]
    {
        assert_eq!(order(to, "s").await.fields(), ["/payload/to"], "{to}");
    }
    for subject in ["a\r\nBcc: b@x.co", "a\rb", "a\u{85}b", " ", &"x".repeat(999)] {
        assert_eq!(order("ada@example.com", subject).await.fields(), ["/payload/subject"], "{subject}");
    }
    for to in ["ada@bücher.example", "Ada <ada@localhost>", "\"Lovelace, Ada\" <ada@example.com>"] {
        assert_eq!(order(to, "Grüße").await.status, 201, "{to}");
    }
}

#[actix_rt::test]
async fn a_batch_is_answered_in_its_order() {
    let site = Site::open().await;
    let (_, token) = site.log_in("alice", "user").await;
    let tasks: Vec<Value> =
        (0..1000).map(|n| json!({"task_type": "noop", "payload": {"sleep_ms": n}})).collect();
    let told = site.post("/api/v1/tasks/batch", &token, &json!({ "tasks": tasks })).await;
    assert_eq!(told.status, 201);
    let items = told.json()["items"].as_array().unwrap().clone();
    assert_eq!(items.len(), 1000);
    assert!(items.iter().enumerate().all(|(n, item)| item["payload"]["sleep_ms"] == n));
}

#[actix_rt::test]
async fn someone_elses_task_is_as_good_as_none() {
    let site = Site::open().await;
    let (_, alice) = site.log_in("alice", "user").await;
    let (_, bob) = site.log_in("bobby", "user").await;
    let (_, admin) = site.log_in("chief", "admin").await;
    let task = enqueue(&site, &alice, &json!({"task_type": "noop", "unique_key": "k"})).await.json();
    let id = task["id"].as_str().unwrap();
    let nothing = "018f3e2a-0000-7000-8000-000000000000";
    for (method, tail) in
        [(Method::GET, ""), (Method::GET, "/attempts"), (Method::POST, "/cancel"), (Method::POST, "/retry")]
    {
        let of = async |id: &str| {
            let told = site.send(method.clone(), &format!("/api/v1/tasks/{id}{tail}"), &bob).await;
            let mut problem = told.json();
            problem.as_object_mut().unwrap().remove("request_id");
            (told.status, problem)
        };
        let foreign = of(id).await;
        assert_eq!(foreign.0, 404);
        assert_eq!(foreign, of(nothing).await);
    }
    assert_eq!(site.get("/api/v1/tasks", &bob).await.json()["items"], json!([]));
    let own = enqueue(&site, &bob, &json!({"task_type": "noop", "unique_key": "k"})).await;
    assert_eq!(own.status, 201, "a key of one's own, not the other's task");
    assert_eq!(site.get(&format!("/api/v1/tasks/{id}"), &admin).await.status, 200);
    assert_eq!(site.get("/api/v1/tasks", &admin).await.json()["items"].as_array().unwrap().len(), 2);
    let told = site.send(Method::DELETE, &format!("/api/v1/tasks/{id}"), &alice).await;
    assert_eq!((told.status, told.code().as_str()), (403, "forbidden"));
    assert_eq!(site.get("/api/v1/tasks/not-an-id", &bob).await.status, 400);
}

#[actix_rt::test]
async fn a_task_is_cancelled_retried_and_deleted_only_in_the_right_state() {
    let site = Site::open().await;
    let (_, admin) = site.log_in("chief", "admin").await;
    let task = enqueue(&site, &admin, &json!({"task_type": "noop"})).await.json();
    let path = format!("/api/v1/tasks/{}", task["id"].as_str().unwrap());
    let act = async |method: Method, tail: &str| {
        let told = site.send(method, &format!("{path}{tail}"), &admin).await;
        let state = if told.text.is_empty() { Value::Null } else { told.json()["status"].clone() };
        (told.status, state)
    };
    let refused = (409, json!(409));
    assert_eq!(act(Method::DELETE, "").await, refused);
    assert_eq!(act(Method::POST, "/retry").await, refused);
    assert_eq!(act(Method::POST, "/cancel").await, (200, json!("cancelled")));
    assert_eq!(act(Method::POST, "/cancel").await, refused);
    assert_eq!(act(Method::POST, "/retry").await, (200, json!("pending")));
    assert_eq!(act(Method::POST, "/cancel").await.0, 200);
    assert_eq!(act(Method::DELETE, "").await, (204, Value::Null));
    assert_eq!(act(Method::DELETE, "").await.0, 404);
}

#[actix_rt::test]
async fn keys_do_what_their_permissions_say_and_users_do_not_what_admins_do() {
    let site = Site::open().await;
    let (alice, token) = site.log_in("alice", "user").await;
    let reads = site.key(alice, &[Permission::TasksRead]).await;
    let writes = site.key(alice, &[Permission::TasksWrite]).await;
    let body = json!({"task_type": "noop"});
    assert_eq!(enqueue(&site, &writes, &body).await.status, 201);
    let told = enqueue(&site, &reads, &body).await;
    assert_eq!((told.status, told.code().as_str()), (403, "insufficient_scope"));
    assert_eq!(site.get("/api/v1/tasks", &reads).await.status, 200);
    assert_eq!(site.get("/api/v1/tasks", &writes).await.code(), "insufficient_scope");
    assert_eq!(site.get("/api/v1/tasks/types", &writes).await.status, 200);
    for path in ["/api/v1/tasks/stats", "/api/v1/queues", "/api/v1/schedules"] {
        assert_eq!(site.get(path, &token).await.status, 403, "{path}");
        assert_eq!(site.get(path, "").await.status, 401, "{path}");
    }
    assert_eq!(site.send(Method::POST, "/api/v1/queues/default/pause", &token).await.status, 403);
}

#[actix_rt::test]
async fn lists_are_read_page_by_page_and_by_filter() {
    let site = Site::open().await;
    let (alice, token) = site.log_in("alice", "user").await;
    let tasks: Vec<Value> = (0..7)
        .map(|n| json!({"task_type": "noop", "queue": if n % 2 == 0 { "even" } else { "odd" }, "unique_key": n.to_string()}))
        .collect();
    site.post("/api/v1/tasks/batch", &token, &json!({ "tasks": tasks })).await;
    let (mut cursor, mut seen) = (String::new(), Vec::new());
    loop {
        let page = site.get(&format!("/api/v1/tasks?queue=even&limit=3{cursor}"), &token).await.json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|task| task["unique_key"].clone()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, [json!("6"), json!("4"), json!("2"), json!("0")]);
    let count = async |query: &str| {
        site.get(&format!("/api/v1/tasks?{query}"), &token).await.json()["items"].as_array().unwrap().len()
    };
    assert_eq!(count("status=pending").await, 7);
    assert_eq!(count("status=failed").await, 0);
    assert_eq!(count("task_type=noop&queue=odd").await, 3);
    assert_eq!(count("unique_key=5").await, 1);
    assert_eq!(count(&format!("created_by={alice}")).await, 7);
    let bad = site.get("/api/v1/tasks?status=lost&created_by=me", &token).await;
    assert_eq!(bad.fields(), ["/status", "/created_by"]);
    for query in ["cursor=x", "page=2", "limit=x", "limit=1&limit=2"] {
        assert_eq!(site.get(&format!("/api/v1/tasks?{query}"), &token).await.status, 400, "{query}");
    }
    assert_eq!(site.get("/api/v1/tasks?limit=101", &token).await.fields(), ["/limit"]);
}

#[actix_rt::test]
async fn types_statistics_and_queues_are_told() {
    let site = Site::open().await;
    let (_, admin) = site.log_in("chief", "admin").await;
    let types = site.get("/api/v1/tasks/types", &admin).await.json();
    let noop =
        types["items"].as_array().unwrap().iter().find(|one| one["task_type"] == "noop").unwrap().clone();
    assert_eq!(noop["payload_schema"]["type"], "object");
    assert!(noop["defaults"]["max_attempts"].is_number() && noop["retry"].is_object(), "{noop}");
    enqueue(&site, &admin, &json!({"task_type": "noop", "queue": "mail"})).await;
    let stats = site.get("/api/v1/tasks/stats", &admin).await.json();
    assert_eq!(stats["counts"]["by_status"]["pending"], 1);
    assert_eq!(stats["counts"]["by_status"]["failed"], 0);
    assert_eq!(stats["counts"]["by_queue"]["mail"]["pending"], 1);
    assert!(stats["oldest_due_secs"].is_number() && stats["throughput"]["per_second"].is_number());
    assert!(stats.as_object().unwrap().contains_key("wait_secs"));
    let paused = site.send(Method::POST, "/api/v1/queues/mail/pause", &admin).await.json();
    assert!(paused["paused_at"].is_string() && paused["counts"]["pending"] == 1, "{paused}");
    let queues = site.get("/api/v1/queues", &admin).await.json();
    assert_eq!(queues["items"][1], paused_without_age(&paused, &queues["items"][1]));
    let resumed = site.send(Method::POST, "/api/v1/queues/mail/resume", &admin).await.json();
    assert_eq!(resumed["paused_at"], Value::Null);
    assert_eq!(site.send(Method::POST, "/api/v1/queues/No%20way/pause", &admin).await.status, 400);
}

/// The age grows from answer to answer.
fn paused_without_age(queue: &Value, like: &Value) -> Value {
    let mut queue = queue.clone();
    queue["oldest_due_secs"] = like["oldest_due_secs"].clone();
    queue
}

#[actix_rt::test]
async fn schedules_over_http() {
    let site = Site::open().await;
    let (_, admin) = site.log_in("chief", "admin").await;
    let body =
        json!({"name": "nightly", "cron": "0 3 * * *", "timezone": "Europe/Berlin", "task_type": "noop"});
    let told = site.post("/api/v1/schedules", &admin, &body).await;
    assert_eq!(told.status, 201, "{told:?}");
    let made = told.json();
    assert_eq!(made["upcoming"].as_array().unwrap().len(), 5);
    assert_eq!((&made["next_run_at"], &made["missed"]), (&made["upcoming"][0], &json!("skip")));
    let path = told.header("location").unwrap().to_owned();
    let again = site.post("/api/v1/schedules", &admin, &body).await;
    assert_eq!((again.status, again.code().as_str()), (409, "conflict"));
    let bad =
        json!({"name": "", "cron": "x", "timezone": "y", "task_type": "z", "queue": "Q", "missed": "m"});
    let fields = site.post("/api/v1/schedules", &admin, &bad).await.fields();
    assert_eq!(fields, ["/name", "/cron", "/timezone", "/task_type", "/queue", "/missed"]);
    let patch = read(site.request(Method::PATCH, &path, &admin).json(&json!({"enabled": false}))).await;
    assert_eq!((patch.status, patch.json()["upcoming"].clone()), (200, json!([])));
    assert_eq!(site.get("/api/v1/schedules", &admin).await.json()["items"].as_array().unwrap().len(), 1);
    assert_eq!(site.send(Method::DELETE, &path, &admin).await.status, 204);
    assert_eq!(site.get(&path, &admin).await.status, 404);
}

async fn enqueue_once(site: &Site, token: &str, key: &str, body: &Value) -> Told {
    let request = site.request(Method::POST, "/api/v1/tasks", token).header("Idempotency-Key", key);
    read(request.json(body)).await
}

#[actix_rt::test]
async fn the_same_request_under_the_same_idempotency_key_has_the_same_answer() {
    let site = Site::open().await;
    let (user, alice) = site.log_in("alice", "user").await;
    let (_, bob) = site.log_in("bobby", "user").await;
    let body = json!({"task_type": "noop"});
    let first = enqueue_once(&site, &alice, "once", &body).await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (201, None));
    site.database.sql("delete from tasks").await;
    let again = enqueue_once(&site, &alice, "once", &body).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (201, Some("true")));
    assert_eq!((&again.text, again.header("location")), (&first.text, first.header("location")));
    // Per user, whatever credential he comes with.
    let key = site.key(user, &[Permission::TasksWrite]).await;
    assert_eq!(enqueue_once(&site, &key, "once", &body).await.text, first.text);
    let other = enqueue_once(&site, &alice, "once", &json!({"task_type": "noop", "priority": -1})).await;
    assert_eq!((other.status, other.code().as_str()), (422, "idempotency_key_reused"));
    assert_eq!(enqueue_once(&site, &bob, "once", &body).await.header("idempotent-replayed"), None);
    // What was refused may be tried again.
    assert_eq!(enqueue_once(&site, &alice, "new", &json!({"task_type": "nothing"})).await.status, 422);
    assert_eq!(enqueue_once(&site, &alice, "new", &body).await.status, 201);
    for key in ["", "é", &"k".repeat(256)] {
        let told = enqueue_once(&site, &alice, key, &body).await;
        assert_eq!((told.status, told.code().as_str()), (400, "malformed_request"), "{key}");
    }
}

#[actix_rt::test]
async fn to_cancel_and_to_retry_under_an_idempotency_key_is_done_once() {
    let site = Site::open().await;
    let (user, alice) = site.log_in("alice", "user").await;
    let id = enqueue_once(&site, &alice, "new", &json!({"task_type": "noop"})).await.json()["id"].clone();
    let path = |act: &str| format!("/api/v1/tasks/{}/{act}", id.as_str().unwrap());
    let act = async |act: &str, token: &str, key: &str| {
        read(site.request(Method::POST, &path(act), token).header("Idempotency-Key", key)).await
    };
    let first = act("cancel", &alice, "1").await;
    assert_eq!((first.status, first.json()["status"].as_str()), (200, Some("cancelled")));
    // Whatever credential he comes with, and whatever became of the task.
    let key = site.key(user, &[Permission::TasksWrite]).await;
    assert_eq!(act("retry", &key, "2").await.status, 200);
    for (name, under, status) in [("cancel", "1", "cancelled"), ("retry", "2", "pending")] {
        let again = act(name, &alice, under).await;
        assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")), "{name}");
        assert_eq!(again.json()["status"], status);
    }
    assert_eq!(site.get(&path("")[..path("").len() - 1], &alice).await.json()["status"], "pending");
    assert_eq!(act("retry", &alice, "1").await.code(), "idempotency_key_reused");
    // What was refused may be tried again.
    assert_eq!(act("retry", &alice, "3").await.status, 409);
    assert_eq!(act("cancel", &alice, "3").await.status, 200);
}

#[actix_rt::test]
async fn a_batch_under_an_idempotency_key_is_enqueued_once_by_fifty_clients() {
    let site = Site::open().await;
    let (_, token) = site.log_in("alice", "user").await;
    let body = json!({"tasks": [{"task_type": "noop"}, {"task_type": "noop"}]});
    let asked = (0..50).map(|_| {
        let request = site.request(Method::POST, "/api/v1/tasks/batch", &token);
        read(request.header("Idempotency-Key", "batch").json(&body))
    });
    let answers = join_all(asked).await;
    let fresh = |told: &&Told| told.status == 201 && told.header("idempotent-replayed").is_none();
    assert_eq!(answers.iter().filter(fresh).count(), 1);
    for told in &answers {
        assert!(told.status == 201 || told.code() == "idempotency_key_in_progress", "{told:?}");
    }
    assert_eq!(site.database.count("select count(*) from tasks").await, 2);
}
