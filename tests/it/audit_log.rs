//! The audit log: append-only, readable page by page.

use std::time::Duration;

use diesel_async::SimpleAsyncConnection;
use reqwest::Method;
use serde_json::json;
use starter::{
    db::audit,
    domain::{
        Cursor, Limit, Origin, UserId,
        audit::{Act, Actor, Filter},
    },
};

use crate::support::{
    db::TestDatabase,
    site::{Site, read},
};

fn origin() -> Origin {
    Origin {
        ip_address: Some("2001:db8::7".parse().unwrap()),
        user_agent: None,
        request_id: Some("req-1".into()),
    }
}

#[tokio::test]
async fn an_entry_tells_who_did_what_to_whom_from_where() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    let id = UserId::new();
    let act = Act::done("user.role", id).with("role", "admin");
    audit::append(&mut connection, &Actor::anonymous(origin()), act).await.unwrap();
    let found = audit::page(&mut connection, &Filter::default(), None, Limit::default()).await.unwrap();
    let [entry] = found.as_slice() else { panic!("{found:?}") };
    let shown = serde_json::to_value(entry).unwrap();
    assert_eq!(shown["actor_kind"], "anonymous");
    assert_eq!(shown["action"], "user.role");
    assert_eq!((&shown["target_kind"], &shown["target_id"]), (&"user".into(), &id.to_string().into()));
    assert_eq!((&shown["outcome"], &shown["ip_address"]), (&"success".into(), &"2001:db8::7".into()));
    assert_eq!((&shown["request_id"], &shown["detail"]["role"]), (&"req-1".into(), &"admin".into()));
}

#[tokio::test]
async fn nobody_changes_an_entry() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    let act = Act::done("user.delete", UserId::new());
    audit::append(&mut connection, &Actor::system(), act).await.unwrap();
    let refused = connection.batch_execute("update audit_log set action = 'nothing'").await;
    assert!(refused.unwrap_err().to_string().contains("append-only"));
}

#[tokio::test]
async fn entries_are_read_page_by_page_and_filtered() {
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    let (alice, bob) = (UserId::new(), UserId::new());
    for n in 0..50 {
        let mut actor = Actor::system();
        actor.user = Some(if n % 2 == 0 { alice } else { bob });
        let act = Act::done(if n % 5 == 0 { "user.create" } else { "session.open" }, bob);
        audit::append(&mut connection, &actor, act).await.unwrap();
    }
    // All at one time: the id decides.
    let filters = [
        (Filter::default(), 50),
        (Filter { actor: Some(alice), ..Filter::default() }, 25),
        (Filter { action: Some("user.create".into()), ..Filter::default() }, 10),
        (Filter { action: Some("session.".into()), actor: Some(bob), ..Filter::default() }, 20),
        (Filter { action: Some("sess_on.".into()), ..Filter::default() }, 0),
        (Filter { target: Some(bob.0), ..Filter::default() }, 50),
        (Filter { target: Some(alice.0), ..Filter::default() }, 0),
    ];
    for (filter, expected) in filters {
        let limit = Limit::parse(Some("7")).unwrap();
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let mut page = audit::page(&mut connection, &filter, after, limit).await.unwrap();
            let more = page.len() > limit.get();
            page.truncate(limit.get());
            after = page.last().map(|entry| Cursor { at: Some(entry.at), id: entry.id });
            seen.extend(page.into_iter().map(|entry| (entry.at, entry.id)));
            if !more {
                break;
            }
        }
        assert_eq!(seen.len(), expected, "{filter:?}");
        assert!(seen.is_sorted_by(|a, b| a > b), "newest first, none twice");
    }
}

#[tokio::test]
async fn old_entries_are_swept_in_portions() {
    let database = TestDatabase::create().await;
    database
        .sql(
            "insert into audit_log (id, at, actor_kind, action, outcome)
             select gen_random_uuid(), now() - make_interval(days => n), 'system', 'user.create', 'success'
             from generate_series(1, 10) n",
        )
        .await;
    let mut connection = database.connection().await;
    let week = Duration::from_secs(7 * 86_400);
    assert_eq!(audit::sweep(&mut connection, week, 3).await.unwrap(), 3);
    assert_eq!(audit::sweep(&mut connection, week, 3).await.unwrap(), 1);
    let left = audit::page(&mut connection, &Filter::default(), None, Limit::default()).await.unwrap();
    assert_eq!(left.len(), 6);
}

#[actix_rt::test]
async fn acts_on_queues_schedules_tasks_and_sessions_over_http_are_written_down() {
    let site = Site::open().await;
    let (_, user) = site.log_in("uma", "user").await;
    let (admin, token) = site.log_in("ada", "admin").await;
    site.post("/api/v1/queues/mail/pause", &token, &json!({})).await;
    site.post("/api/v1/queues/mail/resume", &token, &json!({})).await;
    let wanted = json!({ "name": "nightly", "cron": "0 3 * * *", "task_type": "noop" });
    let schedule = site.post("/api/v1/schedules", &token, &wanted).await.json();
    let path = format!("/api/v1/schedules/{}", schedule["id"].as_str().unwrap());
    let change = site.request(Method::PATCH, &path, &token).json(&json!({ "enabled": false }));
    assert_eq!(read(change).await.status, 200);
    assert_eq!(site.send(Method::DELETE, &path, &token).await.status, 204);
    // Refused, so there is nothing to tell.
    assert_eq!(site.send(Method::DELETE, &path, &token).await.status, 404);
    let task = site.post("/api/v1/tasks", &token, &json!({ "task_type": "noop" })).await.json();
    let path = format!("/api/v1/tasks/{}", task["id"].as_str().unwrap());
    site.database.sql("update tasks set status = 'cancelled', stage = 'cancelled', held_key = null, finished_at = now()").await;
    assert_eq!(site.send(Method::DELETE, &path, &token).await.status, 204);
    // What is done to a task of one's own is not told, what is done to another's is.
    for (asker, owner) in [(&user, &user), (&token, &user), (&token, &token)] {
        let task = site.post("/api/v1/tasks", owner, &json!({ "task_type": "noop" })).await.json();
        for act in ["cancel", "retry"] {
            let path = format!("/api/v1/tasks/{}/{act}", task["id"].as_str().unwrap());
            assert_eq!(site.post(&path, asker, &json!({})).await.status, 200);
        }
    }
    let renewed = site.post("/api/v1/auth/refresh", &token, &json!({})).await.json();
    let token = renewed["token"].as_str().unwrap();

    let log = site.get("/api/v1/audit?limit=9", token).await.json();
    let entries = log["items"].as_array().unwrap();
    let actions: Vec<_> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(
        actions,
        [
            "session.refresh",
            "task.retry",
            "task.cancel",
            "task.delete",
            "schedule.delete",
            "schedule.update",
            "schedule.create",
            "queue.resume",
            "queue.pause"
        ]
    );
    for entry in entries {
        assert_eq!(entry["actor_id"], admin.0.to_string(), "{entry}");
        assert!(entry["request_id"].is_string() && entry["ip_address"] == "127.0.0.1", "{entry}");
    }
}
