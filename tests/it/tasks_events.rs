//! `GET /api/v1/tasks/events`: nothing that happens is lost, also over a break.

use std::time::Duration;

use diesel_async::SimpleAsyncConnection as _;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::{
    eventually,
    site::{Site, read},
};

/// One listener.
pub(crate) struct Ear {
    answer: Response,
    text: String,
    /// Of the last event.
    pub(crate) last_id: String,
}

impl Ear {
    pub(crate) async fn open(site: &Site, token: &str, last_id: Option<&str>) -> Self {
        let mut request = site.request(Method::GET, "/api/v1/tasks/events", token);
        if let Some(id) = last_id {
            request = request.header("Last-Event-ID", id);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { answer, text: String::new(), last_id: String::new() }
    }

    /// The next event that has data: its name and its data.
    pub(crate) async fn next(&mut self) -> (String, Value) {
        self.next_or_end().await.expect("the stream goes on")
    }

    /// The next event that has data; `None` when the stream ended in good order.
    pub(crate) async fn next_or_end(&mut self) -> Option<(String, Value)> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field =
                    |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                self.last_id = field("id: ").unwrap();
                if let (Some(event), Some(data)) = (field("event: "), field("data: ")) {
                    return Some((event, serde_json::from_str(&data).unwrap()));
                }
            }
            let chunk = tokio::time::timeout(Duration::from_secs(60), self.answer.chunk()).await;
            let chunk = chunk.expect("an event, or the end").unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The status after the next change of this task.
    pub(crate) async fn status_of(&mut self, id: &Value) -> String {
        let (event, data) = self.next().await;
        assert_eq!((event.as_str(), &data["id"]), ("task", id), "{data}");
        data["status"].as_str().unwrap().to_owned()
    }
}

pub(crate) async fn enqueue(site: &Site, token: &str) -> Value {
    site.post("/api/v1/tasks", token, &json!({"task_type": "noop"})).await.json()["id"].clone()
}

const RUN: &str = "update tasks set status = 'running', stage = null, lease = 1, worker_id = 1, attempt = attempt + 1 where status = 'pending'";
const SUCCEED: &str = "update tasks set status = 'succeeded', stage = null, held_key = null, lease = null, finished_at = now() where status = 'running'";

#[actix_rt::test]
async fn every_change_is_told_to_the_owner_and_to_admins_and_to_nobody_else() {
    let site = Site::open().await;
    let (_, alice) = site.log_in("alice", "user").await;
    let (_, bob) = site.log_in("bobby", "user").await;
    let (_, admin) = site.log_in("chief", "admin").await;
    let (mut of_alice, mut of_bob, mut of_admin) = (
        Ear::open(&site, &alice, None).await,
        Ear::open(&site, &bob, None).await,
        Ear::open(&site, &admin, None).await,
    );
    for ear in [&mut of_alice, &mut of_bob, &mut of_admin] {
        assert_eq!(ear.next().await.0, "ready");
    }
    let hers = enqueue(&site, &alice).await;
    site.database.sql(RUN).await;
    site.database.sql(SUCCEED).await;
    let his = enqueue(&site, &bob).await;
    for ear in [&mut of_alice, &mut of_admin] {
        for status in ["pending", "running", "succeeded"] {
            assert_eq!(ear.status_of(&hers).await, status);
        }
    }
    assert_eq!(of_admin.status_of(&his).await, "pending");
    assert_eq!(of_bob.status_of(&his).await, "pending");
}

#[actix_rt::test]
async fn who_comes_back_is_told_what_he_missed() {
    let site = Site::open().await;
    let (_, token) = site.log_in("alice", "user").await;
    let mut ear = Ear::open(&site, &token, None).await;
    assert_eq!(ear.next().await.0, "ready");
    let first = enqueue(&site, &token).await;
    assert_eq!(ear.status_of(&first).await, "pending");
    let bookmark = ear.last_id.clone();
    drop(ear);
    site.database.sql(RUN).await;
    let second = enqueue(&site, &token).await;
    site.database.sql(SUCCEED).await;
    let mut ear = Ear::open(&site, &token, Some(&bookmark)).await;
    assert_eq!(ear.next().await.0, "ready");
    // A transaction at work anywhere in the cluster holds the bookmark back: what he heard last may be told again.
    let mut status = ear.status_of(&first).await;
    if status == "pending" {
        status = ear.status_of(&first).await;
    }
    assert_eq!(status, "running");
    assert_eq!(ear.status_of(&second).await, "pending");
    assert_eq!(ear.status_of(&first).await, "succeeded");
    let third = enqueue(&site, &token).await;
    assert_eq!(ear.status_of(&third).await, "pending");
}

#[actix_rt::test]
async fn beside_a_transaction_at_work_what_was_heard_last_is_told_again() {
    let site = Site::open().await;
    let (_, token) = site.log_in("alice", "user").await;
    let mut ear = Ear::open(&site, &token, None).await;
    assert_eq!(ear.next().await.0, "ready");
    let mut other = site.database.connection().await;
    other.batch_execute("begin; select pg_current_xact_id()").await.unwrap();
    let first = enqueue(&site, &token).await;
    assert_eq!(ear.status_of(&first).await, "pending");
    let bookmark = ear.last_id.clone();
    drop(ear);
    site.database.sql(RUN).await;
    let mut ear = Ear::open(&site, &token, Some(&bookmark)).await;
    assert_eq!(ear.next().await.0, "ready");
    assert_eq!(ear.status_of(&first).await, "pending");
    assert_eq!(ear.status_of(&first).await, "running");
}

#[actix_rt::test]
async fn a_transaction_that_commits_late_is_not_lost_to_who_was_away() {
    let site = Site::open().await;
    let (alice, token) = site.log_in("alice", "user").await;
    let mut ear = Ear::open(&site, &token, None).await;
    assert_eq!(ear.next().await.0, "ready");
    let mut late = site.database.connection().await;
    let insert = format!(
        "begin; insert into tasks (id, task_type, max_attempts, timeout_secs, created_by)
         values ('018f3e2a-0000-7000-8000-000000000000', 'noop', 1, 1, '{alice}')"
    );
    late.batch_execute(&insert).await.unwrap();
    let other = enqueue(&site, &token).await;
    assert_eq!(ear.status_of(&other).await, "pending", "nobody waits for a long transaction");
    let bookmark = ear.last_id.clone();
    drop(ear);
    late.batch_execute("commit").await.unwrap();
    let mut ear = Ear::open(&site, &token, Some(&bookmark)).await;
    assert_eq!(ear.next().await.0, "ready");
    let mut seen = Vec::new();
    while !seen.contains(&json!("018f3e2a-0000-7000-8000-000000000000")) {
        seen.push(ear.next().await.1["id"].clone());
    }
}

#[actix_rt::test]
async fn a_bookmark_that_is_too_old_is_told_so_and_one_that_is_none_is_refused() {
    let site = Site::open().await;
    let (user, token) = site.log_in("alice", "user").await;
    let mut ear = Ear::open(&site, &token, Some("1.1.0.1")).await;
    assert_eq!(ear.next().await.0, "reset");
    for bad in ["x", "1.2.3", "1.2.3.4.5", "-1.2.3.4"] {
        let request = site.request(Method::GET, "/api/v1/tasks/events", &token).header("Last-Event-ID", bad);
        assert_eq!(read(request).await.status, 400, "{bad}");
    }
    let key = site.key(user, &[starter::domain::Permission::TasksWrite]).await;
    assert_eq!(site.get("/api/v1/tasks/events", &key).await.code(), "insufficient_scope");
    assert_eq!(site.get("/api/v1/tasks/events", "").await.status, 401);
}

#[actix_rt::test]
async fn nothing_is_recorded_unless_somebody_listens() {
    let site = Site::open().await;
    let (_, token) = site.log_in("alice", "user").await;
    enqueue(&site, &token).await;
    assert_eq!(site.database.count("select count(*) from task_events").await, 0);
    let mut ear = Ear::open(&site, &token, None).await;
    assert_eq!(ear.next().await.0, "ready");
    let id = enqueue(&site, &token).await;
    assert_eq!(ear.status_of(&id).await, "pending");
    drop(ear);
    enqueue(&site, &token).await;
    eventually(Duration::from_secs(30), async || {
        site.database.count("select count(*) from task_events").await == 2
    })
    .await;
}

#[actix_rt::test]
async fn many_listeners_share_one_look_and_each_hears_everything() {
    let site = Site::open().await;
    let (_, token) = site.log_in("alice", "user").await;
    let mut ears = Vec::new();
    for _ in 0..1_000 {
        ears.push(Ear::open(&site, &token, None).await);
    }
    for ear in &mut ears {
        assert_eq!(ear.next().await.0, "ready");
    }
    let tasks: Vec<Value> = (0..20).map(|_| json!({"task_type": "noop"})).collect();
    let items = site.post("/api/v1/tasks/batch", &token, &json!({ "tasks": tasks })).await.json();
    for ear in &mut ears {
        for item in items["items"].as_array().unwrap() {
            assert_eq!(ear.status_of(&item["id"]).await, "pending");
        }
    }
}
