//! Which types of tasks a caller may enqueue, retry and schedule, and whose files they may fetch.

use serde_json::{Value, json};
use starter::domain::{Permission, TaskId, UserId};

use crate::support::{people::refused, site::Site};

const TASKS: &str = "/api/v1/tasks";

fn report() -> Value {
    json!({"task_type": "report.users_csv"})
}

fn schedule(task_type: &str, name: &str) -> Value {
    json!({"name": name, "cron": "0 3 * * *", "task_type": task_type})
}

/// A report of this owner's, ended, with its file.
async fn ended(site: &Site, owner: UserId, status: &str) -> TaskId {
    let id = TaskId::new();
    let stage = if status == "succeeded" { "null".to_owned() } else { format!("'{status}'") };
    let insert = format!(
        "insert into tasks (id, task_type, max_attempts, timeout_secs, status, stage, finished_at, created_by, result)
         values ('{id}', 'report.users_csv', 3, 60, '{status}', {stage}, now(), '{owner}',
            '{{\"file\": {{\"name\": \"users.csv\"}}}}')"
    );
    site.database.sql(&insert).await;
    std::fs::write(site.files.path().join(id.to_string()), "secrets").unwrap();
    id
}

#[actix_rt::test]
async fn a_key_without_users_read_gets_the_users_by_no_way_around() {
    let site = Site::open().await;
    let (chief, session) = site.log_in("chief", "admin").await;
    let narrow = site.key(chief, &[Permission::TasksRead, Permission::TasksWrite]).await;
    let wide = site.key(chief, &[Permission::TasksRead, Permission::TasksWrite, Permission::UsersRead]).await;
    let id = ended(&site, chief, "succeeded").await;
    let failed = ended(&site, chief, "failed").await;
    let made = site.post("/api/v1/schedules", &session, &schedule("report.users_csv", "mine")).await;
    let mine = format!("/api/v1/schedules/{}", made.json()["id"].as_str().unwrap());
    let other = site.post("/api/v1/schedules", &session, &schedule("noop", "other")).await;
    let other = format!("/api/v1/schedules/{}", other.json()["id"].as_str().unwrap());

    let batch = json!({"tasks": [{"task_type": "noop"}, report()]});
    for told in [
        site.post(TASKS, &narrow, &report()).await,
        site.post("/api/v1/tasks/batch", &narrow, &batch).await,
        site.post(&format!("{TASKS}/{failed}/retry"), &narrow, &json!({})).await,
        site.get(&format!("{TASKS}/{id}/file"), &narrow).await,
        site.post("/api/v1/schedules", &narrow, &schedule("report.users_csv", "new")).await,
        site.patch(&mine, &narrow, &json!({"cron": "* * * * *"})).await,
        site.patch(&other, &narrow, &json!({"task_type": "report.users_csv"})).await,
    ] {
        refused(&told, 403, "insufficient_scope");
    }
    assert_eq!(site.database.count("select count(*) from tasks").await, 2);

    // What is dangerous can be switched off by whoever may change schedules at all.
    assert_eq!(site.patch(&mine, &narrow, &json!({"enabled": false})).await.status, 200);
    assert_eq!(site.post(TASKS, &wide, &report()).await.status, 201);
    assert_eq!(site.get(&format!("{TASKS}/{id}/file"), &wide).await.text, "secrets");
    assert_eq!(site.post(&format!("{TASKS}/{failed}/retry"), &wide, &json!({})).await.status, 200);
}

#[actix_rt::test]
async fn a_demoted_admin_fetches_no_report_and_makes_none() {
    let site = Site::open().await;
    let (chief, token) = site.log_in("chief", "admin").await;
    let key = site.key(chief, &Permission::ALL).await;
    let id = ended(&site, chief, "succeeded").await;
    let failed = ended(&site, chief, "failed").await;
    let file = format!("{TASKS}/{id}/file");
    assert_eq!((site.get(&file, &token).await.status, site.get(&file, &key).await.status), (200, 200));

    site.database.sql(&format!("update users set role = 'user' where id = '{chief}'")).await;
    for credential in [&token, &key] {
        refused(&site.get(&file, credential).await, 403, "forbidden");
        refused(&site.post(TASKS, credential, &report()).await, 403, "forbidden");
        let retry = site.post(&format!("{TASKS}/{failed}/retry"), credential, &json!({})).await;
        refused(&retry, 403, "forbidden");
        assert_eq!(site.get(&format!("{TASKS}/{id}"), credential).await.status, 200);
    }
}

#[actix_rt::test]
async fn users_enqueue_only_the_types_that_are_open_to_them() {
    let site = Site::open().await;
    let (alice, token) = site.log_in("alice", "user").await;
    let key = site.key(alice, &[Permission::TasksRead, Permission::TasksWrite]).await;
    let (_, admin) = site.log_in("chief", "admin").await;
    let mail = json!({"to": "v@example.com", "subject": "s", "text": "t"});
    let hook = json!({"url": "https://example.com/", "event": "e", "data": 1});
    let types = [
        ("email.send", mail.clone()),
        ("webhook.deliver", hook),
        ("maintenance.sweep", json!({})),
        ("report.users_csv", json!({})),
    ];
    for (task_type, payload) in &types {
        let body = json!({"task_type": task_type, "payload": payload});
        refused(&site.post(TASKS, &token, &body).await, 403, "forbidden");
        let batch = json!({"tasks": [{"task_type": "noop"}, body]});
        refused(&site.post("/api/v1/tasks/batch", &token, &batch).await, 403, "forbidden");
        let by_key = site.post(TASKS, &key, &body).await;
        assert_eq!(by_key.status, 403, "{by_key:?}");
        assert_eq!(site.post(TASKS, &admin, &body).await.status, 201, "{task_type}");
    }
    assert_eq!(site.post(TASKS, &token, &json!({"task_type": "noop"})).await.status, 201);
    assert_eq!(site.post(TASKS, &token, &json!({"task_type": "nothing"})).await.fields(), ["/task_type"]);
    let owned = format!("select count(*) from tasks where created_by = '{alice}'");
    assert_eq!(site.database.count(&owned).await, 1);

    let site = Site::opening(&["webhook.deliver", "report.users_csv"], 50).await;
    let (_, token) = site.log_in("alice", "user").await;
    let status = async |task_type: &str, payload: &Value| {
        site.post(TASKS, &token, &json!({"task_type": task_type, "payload": payload})).await.status
    };
    assert_eq!(status("webhook.deliver", &types[1].1).await, 201);
    // What is not listed is closed, and the report is for whoever may read users, wherever it is listed.
    assert_eq!((status("noop", &json!({})).await, status("report.users_csv", &json!({})).await), (403, 403));
}

#[actix_rt::test]
async fn the_list_of_types_shows_what_each_takes_and_whether_the_caller_may() {
    let site = Site::open().await;
    let (_, user) = site.log_in("alice", "user").await;
    let (chief, admin) = site.log_in("chief", "admin").await;
    let key = site.key(chief, &[Permission::TasksWrite]).await;
    let shown = async |token: &str| {
        let types = site.get("/api/v1/tasks/types", token).await.json()["items"].clone();
        let find = |name: &str| {
            let types = types.as_array().unwrap();
            types.iter().find(|each| each["task_type"] == name).unwrap().clone()
        };
        (find("noop"), find("email.send"), find("report.users_csv"))
    };
    let (noop, mail, report) = shown(&user).await;
    assert_eq!(noop["enqueue"], json!({"role": "user", "permission": "tasks:write"}));
    assert_eq!(mail["enqueue"], json!({"role": "admin", "permission": "tasks:write"}));
    assert_eq!(report["enqueue"], json!({"role": "admin", "permission": "users:read"}));
    assert_eq!(report["file"], json!({"role": "admin", "permission": "users:read"}));
    let may = |(noop, mail, report): (Value, Value, Value)| {
        [noop, mail, report].map(|each| each["may_enqueue"].as_bool().unwrap())
    };
    assert_eq!(may(shown(&user).await), [true, false, false]);
    assert_eq!(may(shown(&admin).await), [true, true, true]);
    assert_eq!(may(shown(&key).await), [true, true, false]);
}
