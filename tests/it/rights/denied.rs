//! Refused acts of known callers leave an entry in the audit log, and not more than a few.

use std::time::Duration;

use serde_json::json;
use starter::domain::Permission;

use crate::support::{eventually, people::refused, site::Site};

const DENIED: &str = "select count(*) from audit_log where outcome = 'denied'";
const PATIENCE: Duration = Duration::from_secs(30);

async fn until(site: &Site, denied: i64) {
    eventually(PATIENCE, async || site.database.count(DENIED).await == denied).await;
}

#[actix_rt::test]
async fn a_refused_act_of_a_known_caller_leaves_one_entry() {
    let site = Site::open().await;
    let (alice, token) = site.log_in("alice", "user").await;
    let (chief, admin) = site.log_in("chief", "admin").await;
    let key = site.key(chief, &[Permission::TasksWrite]).await;
    refused(&site.get("/api/v1/users", &token).await, 403, "forbidden");
    until(&site, 1).await;
    refused(&site.get("/api/v1/users", &key).await, 403, "insufficient_scope");
    until(&site, 2).await;
    // Known only by the body.
    let body = json!({"task_type": "maintenance.sweep"});
    refused(&site.post("/api/v1/tasks", &token, &body).await, 403, "forbidden");
    until(&site, 3).await;
    let make = json!({"username": "deputy", "email": "d@example.com", "password": "x", "role": "admin"});
    let writer = site.key(chief, &[Permission::UsersWrite]).await;
    refused(&site.post("/api/v1/users", &writer, &make).await, 403, "forbidden");
    until(&site, 4).await;

    // Neither strangers, nor those who may, nor objects that are not there for the caller.
    assert_eq!(site.get("/api/v1/users", "sess_nonsense").await.status, 401);
    assert_eq!(site.get("/api/v1/users", &admin).await.status, 200);
    assert_eq!(site.get(&format!("/api/v1/tasks/{alice}"), &token).await.status, 404);
    refused(&site.get("/api/v1/queues", &token).await, 403, "forbidden");
    until(&site, 5).await;

    let entries = site.get("/api/v1/audit?action=access.deny", &admin).await.json()["items"].clone();
    let first = entries.as_array().unwrap().last().unwrap();
    assert_eq!((&first["outcome"], &first["actor_id"]), (&json!("denied"), &json!(alice)));
    assert_eq!((&first["actor_kind"], &first["target_id"]), (&json!("session"), &json!(null)));
    let detail = json!({"method": "GET", "route": "/api/v1/users", "code": "forbidden"});
    assert_eq!(first["detail"], detail);
    assert!(first["request_id"].is_string() && first["ip_address"].is_string(), "{first}");
}

#[actix_rt::test]
async fn a_caller_who_is_refused_all_the_time_does_not_fill_the_audit_log() {
    let site = Site::open().await;
    let (_, token) = site.log_in("alice", "user").await;
    let (other, others) = site.log_in("bobby", "user").await;
    for _ in 0..60 {
        refused(&site.get("/api/v1/users", &token).await, 403, "forbidden");
    }
    refused(&site.get("/api/v1/users", &others).await, 403, "forbidden");
    let of_other = format!("{DENIED} and actor_id = '{other}'");
    eventually(PATIENCE, async || site.database.count(&of_other).await == 1).await;
    eventually(PATIENCE, async || site.database.count(DENIED).await >= 11).await;
    // Twice as many, should the test meet the end of a minute.
    assert!(site.database.count(DENIED).await <= 21);
}
