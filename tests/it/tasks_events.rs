//! `GET /api/v1/tasks/events`: nothing that happens is lost, also over a break.

use std::time::Duration;

use diesel_async::SimpleAsyncConnection as _;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{eventually, site::Site};

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
async fn a_bookmark_that_is_too_old_is_told_so() {
    let site = Site::open().await;
    let (user, token) = site.log_in("alice", "user").await;
    let mut ear = Ear::open(&site, &token, Some("1.1.0.1")).await;
    assert_eq!(ear.next().await.0, "reset");
    let key = site.key(user, &[starter::domain::Permission::TasksWrite]).await;
    assert_eq!(site.get("/api/v1/tasks/events", &key).await.code(), "insufficient_scope");
    assert_eq!(site.get("/api/v1/tasks/events", "").await.status, 401);
}

#[actix_rt::test]
async fn an_id_of_elsewhere_begins_with_a_reset_and_the_stream_goes_on() {
    let site = Site::open().await;
    let (_, token) = site.log_in("alice", "user").await;
    let now = chrono::Utc::now().timestamp();
    // Of a transaction and of a time to come: a database that was restored from a backup has not got there.
    let ahead =
        [format!("{}.1.0.{now}", i64::MAX), format!("1.1.0.{}", now + 9_999), format!("1.1.0.{}", i64::MAX)];
    let nonsense =
        ["not-an-id", "12345678901234567890", "1.2.3", "1.2.3.4.5", "-1.2.3.4", "1.2.3.99999999999999999999"];
    for id in nonsense.into_iter().chain(ahead.iter().map(String::as_str)) {
        let mut ear = Ear::open(&site, &token, Some(id)).await;
        assert_eq!(ear.next().await.0, "reset", "{id}");
        let task = enqueue(&site, &token).await;
        while ear.next().await.1["id"] != task {}
        // And it comes back with what it was given.
        let (bookmark, missed) = (ear.last_id.clone(), enqueue(&site, &token).await);
        drop(ear);
        let mut ear = Ear::open(&site, &token, Some(&bookmark)).await;
        assert_eq!(ear.next().await.0, "ready", "{id}");
        while ear.next().await.1["id"] != missed {}
    }
}

/// What the server sends to a client of an old version until it closes the connection, or until `enough`.
async fn of_old_client(site: &Site, path: &str, token: &str, enough: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(site.address()).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    while !text.contains(enough) {
        let mut some = [0; 4_096];
        let read = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut some)).await;
        let read = read.expect("more, or the end").unwrap();
        text.push_str(std::str::from_utf8(&some[..read]).unwrap());
        if read == 0 {
            break;
        }
    }
    text
}

#[actix_rt::test]
async fn an_old_client_gets_a_stream_without_chunks() {
    let site = Site::open().await;
    let (_, token) = site.log_in("alice", "user").await;
    let hear = of_old_client(&site, "/api/v1/tasks/events", &token, "data: {\"id\"");
    let (text, ()) = tokio::join!(hear, async {
        eventually(Duration::from_secs(60), async || {
            enqueue(&site, &token).await;
            site.database.count("select count(*) from task_events").await > 0
        })
        .await;
        enqueue(&site, &token).await;
    });
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200") && !head.contains("chunked"), "{head}");
    assert!(body.starts_with("event: ready\n"), "{body}");
    assert!(body.contains("event: task\nid: ") && !body.contains('\r'), "{body}");
}

#[actix_rt::test]
async fn a_user_has_ten_streams_and_when_one_ends_another_may_begin() {
    let site = Site::open().await;
    let (_, token) = site.log_in("alice", "user").await;
    let mut ears = Vec::new();
    for _ in 0..10 {
        let mut ear = Ear::open(&site, &token, None).await;
        assert_eq!(ear.next().await.0, "ready");
        ears.push(ear);
    }
    let refused = site.get("/api/v1/tasks/events", &token).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "quota_exceeded"));
    assert_eq!(refused.header("retry-after"), Some("10"));
    // Nobody else's.
    let (_, other) = site.log_in("bobby", "user").await;
    assert_eq!(Ear::open(&site, &other, None).await.next().await.0, "ready");

    ears.pop();
    eventually(Duration::from_secs(60), async || {
        let again = site.request(Method::GET, "/api/v1/tasks/events", &token).send().await.unwrap();
        again.status() == 200
    })
    .await;
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
    let (mut ears, mut token) = (Vec::new(), String::new());
    for n in 0..100 {
        (_, token) = site.log_in(&format!("admin{n}"), "admin").await;
        for _ in 0..10 {
            ears.push(Ear::open(&site, &token, None).await);
        }
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
