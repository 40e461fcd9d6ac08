//! Files that tasks made, over HTTP.

use reqwest::Method;
use starter::{domain::TaskId, tasks::files::Files};

use crate::support::site::{Site, Told, read};

/// A task of the user that made this file.
async fn made(site: &Site, owner: impl std::fmt::Display, contents: &str) -> TaskId {
    let id = TaskId::new();
    let files = Files::new(site.files.path().to_owned());
    let mut draft = files.begin(id, 1).await.unwrap();
    draft.write(contents.as_bytes()).await.unwrap();
    let file = serde_json::to_string(&draft.finish("users.csv".into()).await.unwrap()).unwrap();
    let insert = format!(
        "insert into tasks (id, task_type, max_attempts, timeout_secs, status, stage, finished_at, created_by, result) values
         ('{id}', 'noop', 1, 1, 'succeeded', null, now(), '{owner}', '{{\"file\": {file}}}')"
    );
    site.database.sql(&insert).await;
    id
}

async fn get(site: &Site, id: TaskId, token: &str) -> Told {
    site.get(&format!("/api/v1/tasks/{id}/file"), token).await
}

#[actix_rt::test]
async fn an_owner_downloads_what_his_task_made_and_nobody_elses() {
    let site = Site::open().await;
    let (alice, hers) = site.log_in("alice", "user").await;
    let (_, his) = site.log_in("bob", "user").await;
    let (_, admins) = site.log_in("root", "admin").await;
    let contents = "\"a\"\r\n".repeat(50_000);
    let id = made(&site, alice, &contents).await;
    let told = get(&site, id, &hers).await;
    assert_eq!((told.status, told.text == contents), (200, true));
    assert_eq!(told.header("content-type"), Some("text/csv; charset=utf-8"));
    assert_eq!(told.header("content-disposition"), Some("attachment; filename=\"users.csv\""));
    assert_eq!(told.header("content-length"), Some(contents.len().to_string().as_str()));
    assert_eq!(get(&site, id, &admins).await.status, 200);
    assert_eq!(get(&site, id, &his).await.status, 404);
    let url = format!("/api/v1/tasks/{id}/file");
    assert_eq!(read(site.anonymous(Method::GET, &url)).await.status, 401);
}

#[actix_rt::test]
async fn a_file_that_is_gone_or_was_never_made_is_not_found() {
    let site = Site::open().await;
    let (alice, token) = site.log_in("alice", "user").await;
    let id = made(&site, alice, "x").await;
    site.database.sql("update tasks set result = null").await;
    assert_eq!(get(&site, id, &token).await.status, 404);
    let id = made(&site, alice, "x").await;
    std::fs::remove_file(site.files.path().join(id.to_string())).unwrap();
    let told = get(&site, id, &token).await;
    assert_eq!((told.status, &told.json()["code"]), (404, &serde_json::json!("not_found")));
}
