//! Mails that users' tasks send: who may, and how many a day.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    people::refused,
    site::{Site, read},
};

const TASKS: &str = "/api/v1/tasks";

fn mail() -> Value {
    let payload = json!({"to": "v@example.com", "subject": "s", "text": "t"});
    json!({"task_type": "email.send", "payload": payload})
}

/// Somebody whose address is verified.
async fn verified(site: &Site, name: &str) -> String {
    let (user, token) = site.log_in(name, "user").await;
    site.database.sql(&format!("update users set email_verified = true where id = '{user}'")).await;
    token
}

#[actix_rt::test]
async fn who_sends_mail_has_a_verified_address() {
    let site = Site::opening(&["email.send"], 5).await;
    let (user, token) = site.log_in("alice", "user").await;
    let told = site.post(TASKS, &token, &mail()).await;
    refused(&told, 403, "forbidden");
    assert_eq!(told.json()["detail"], "Verify your e-mail address first.");
    site.database.sql(&format!("update users set email_verified = true where id = '{user}'")).await;
    assert_eq!(site.post(TASKS, &token, &mail()).await.status, 201);
    let (_, admin) = site.log_in("chief", "admin").await;
    assert_eq!(site.post(TASKS, &admin, &mail()).await.status, 201);
}

#[actix_rt::test]
async fn requests_at_once_get_no_more_than_a_days_mails() {
    let site = Site::opening(&["email.send", "noop"], 3).await;
    let token = verified(&site, "alice").await;
    let other = verified(&site, "bobby").await;
    let told = join_all((0..12).map(|_| async { site.post(TASKS, &token, &mail()).await })).await;
    let (sent, rest): (Vec<_>, Vec<_>) = told.into_iter().partition(|told| told.status == 201);
    assert_eq!((sent.len(), rest.len()), (3, 9));
    for told in &rest {
        refused(told, 429, "quota_exceeded");
        let wait: u64 = told.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=86_400).contains(&wait), "{wait}");
    }
    assert_eq!(site.post(TASKS, &token, &json!({"task_type": "noop"})).await.status, 201);
    assert_eq!(site.post(TASKS, &other, &mail()).await.status, 201);

    site.database.sql("update mail_quotas set day = day - 1").await;
    assert_eq!(site.post(TASKS, &token, &mail()).await.status, 201);
}

#[actix_rt::test]
async fn batches_deletions_and_retries_are_no_way_around_the_days_mails() {
    let site = Site::opening(&["email.send"], 3).await;
    let token = verified(&site, "alice").await;
    let batch = |mails: usize| json!({"tasks": vec![mail(); mails]});
    let told = site.post("/api/v1/tasks/batch", &token, &batch(4)).await;
    refused(&told, 429, "quota_exceeded");
    assert_eq!(site.database.count("select count(*) from tasks").await, 0);

    let made = site.post("/api/v1/tasks/batch", &token, &batch(2)).await.json();
    let first = made["items"][0]["id"].as_str().unwrap().to_owned();
    let again = async || {
        let cancelled = site.post(&format!("{TASKS}/{first}/cancel"), &token, &json!({})).await;
        assert_eq!(cancelled.status, 200, "{cancelled:?}");
        site.post(&format!("{TASKS}/{first}/retry"), &token, &json!({})).await
    };
    assert_eq!(again().await.status, 200);
    refused(&again().await, 429, "quota_exceeded");
    site.database.sql("delete from tasks").await;
    refused(&site.post(TASKS, &token, &mail()).await, 429, "quota_exceeded");
}

#[actix_rt::test]
async fn what_is_answered_again_and_what_stands_for_another_is_not_counted() {
    let site = Site::opening(&["email.send"], 2).await;
    let token = verified(&site, "alice").await;
    let keyed = async || {
        let request = site.request(Method::POST, TASKS, &token).header("idempotency-key", "k");
        read(request.json(&mail())).await
    };
    let first = keyed().await;
    assert_eq!(first.status, 201);
    let mut unique = mail();
    unique["unique_key"] = json!("u");
    let statuses = [
        site.post(TASKS, &token, &unique).await.status,
        keyed().await.status,
        site.post(TASKS, &token, &mail()).await.status,
    ];
    assert_eq!(statuses, [201, 201, 429]);
    let replayed = keyed().await;
    assert_eq!((replayed.status, replayed.header("idempotent-replayed")), (201, Some("true")));
    assert_eq!(replayed.json()["id"], first.json()["id"]);

    site.database.sql("update mail_quotas set sent = 1").await;
    assert_eq!(site.post(TASKS, &token, &unique).await.status, 200);
    assert_eq!(site.post(TASKS, &token, &mail()).await.status, 201);
    refused(&site.post(TASKS, &token, &mail()).await, 429, "quota_exceeded");
}
