//! Schedules over HTTP and by the command-line tool: which expressions are taken, and what can be done with those that
//! are stored and would be refused today.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    support::{
        db::{TestDatabase, rows},
        site::{Site, Told, read},
    },
    tasks_cli::{json_of, run},
};

/// Stored by an earlier version, or by plain SQL: enabled, with an expression that is refused today.
const REFUSED: &str = "
    insert into schedules (id, name, cron, task_type, next_run_at, enabled)
    values ('018f3e2a-0000-7000-8000-000000000001', 'last days', '0 0 3 L * * 2020', 'noop', null, true)";
const PATH: &str = "/api/v1/schedules/018f3e2a-0000-7000-8000-000000000001";

async fn create(site: &Site, token: &str, name: &str, cron: &str) -> Told {
    let body = json!({"name": name, "cron": cron, "task_type": "noop"});
    site.post("/api/v1/schedules", token, &body).await
}

async fn patch(site: &Site, token: &str, body: Value) -> Told {
    read(site.request(Method::PATCH, PATH, token).json(&body)).await
}

#[actix_rt::test]
async fn an_expression_means_what_crontab_says_or_is_refused() {
    let site = Site::open().await;
    let (_, admin) = site.log_in("chief", "admin").await;
    for cron in [
        ", * * * *",
        ", * * * * *",
        "* * 30 2 *",
        "0 0 1 1 * * 2020",
        "1MON * * * *",
        "0 0 * * JAN",
        "0 0 * MON *",
        "*/90 * * * *",
        "0, * * * *",
        "0,,5 * * * *",
        "0 0 15W5 * *",
        "0 0 15 * L",
        "@reboot",
    ] {
        let refused = create(&site, &admin, "never", cron).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (422, "validation_failed"),
            "{cron}: {refused:?}"
        );
        assert_eq!(refused.fields(), ["/cron"], "{cron}");
        let message = refused.json()["errors"][0]["message"].as_str().unwrap().to_owned();
        assert!(!message.is_empty() && !message.contains("JAN1"), "{message}");
    }

    for (n, cron) in ["@midnight", "0 0 */2 * 1", "30 2,14 * * *", "0 9 * jan-mar mon-fri"].iter().enumerate()
    {
        let made = create(&site, &admin, &format!("schedule {n}"), cron).await;
        assert_eq!(made.status, 201, "{cron}: {made:?}");
        assert_eq!(made.json()["disabled_reason"], Value::Null);
    }
}

#[actix_rt::test]
async fn what_is_stored_can_be_renamed_disabled_and_mended_whatever_todays_rules_are() {
    let site = Site::open().await;
    let (_, admin) = site.log_in("chief", "admin").await;
    site.database.sql(REFUSED).await;

    let renamed =
        patch(&site, &admin, json!({"name": "final days", "payload": {"sleep_ms": 1}, "queue": "mail"}))
            .await;
    assert_eq!((renamed.status, &renamed.json()["name"]), (200, &json!("final days")), "{renamed:?}");
    let disabled = patch(&site, &admin, json!({"enabled": false})).await;
    assert_eq!((disabled.status, &disabled.json()["enabled"]), (200, &json!(false)), "{disabled:?}");
    let zone = patch(&site, &admin, json!({"timezone": "Europe/Berlin"})).await;
    assert_eq!((zone.status, &zone.json()["timezone"]), (200, &json!("Europe/Berlin")), "{zone:?}");

    // It cannot be enabled as it is, and the error is at the field that was sent.
    let refused = patch(&site, &admin, json!({"enabled": true})).await;
    assert_eq!((refused.status, refused.fields()), (422, vec!["/enabled".to_owned()]), "{refused:?}");
    let refused = patch(&site, &admin, json!({"enabled": true, "cron": "0 0 3 L * *"})).await;
    assert_eq!((refused.status, refused.fields()), (422, vec!["/cron".to_owned()]), "{refused:?}");

    let mended = patch(&site, &admin, json!({"enabled": true, "cron": "0 3 28-31 * *"})).await;
    assert_eq!(mended.status, 200, "{mended:?}");
    assert!(mended.json()["next_run_at"].is_string() && mended.json()["disabled_reason"].is_null());
}

#[actix_rt::test]
async fn a_change_of_the_zone_of_what_has_no_next_tick_disables_it_with_the_reason() {
    let site = Site::open().await;
    let (_, admin) = site.log_in("chief", "admin").await;
    site.database.sql(REFUSED).await;
    let told = patch(&site, &admin, json!({"timezone": "Europe/Berlin"})).await.json();
    assert_eq!((&told["enabled"], &told["timezone"]), (&json!(false), &json!("Europe/Berlin")));
    assert!(told["disabled_reason"].as_str().unwrap().starts_with("cron: 5 fields"), "{told}");

    // The reason stays until the times or `enabled` change.
    assert_eq!(
        patch(&site, &admin, json!({"name": "x"})).await.json()["disabled_reason"],
        told["disabled_reason"]
    );
    let mended = patch(&site, &admin, json!({"cron": "@weekly"})).await.json();
    assert_eq!((&mended["enabled"], &mended["disabled_reason"]), (&json!(false), &Value::Null));
}

#[tokio::test]
async fn the_command_line_disables_what_todays_rules_refuse() {
    let database = TestDatabase::create().await;
    database.sql(REFUSED).await;
    let off = json_of(&database, &["schedule", "disable", "last days"]).await;
    assert_eq!((&off[0]["enabled"], &off[0]["next_run_at"]), (&json!(false), &Value::Null));
    assert_eq!(run(&database, &["schedule", "enable", "last days"]).await.code, 2);
    assert_eq!(run(&database, &["schedule", "list"]).await.code, 0);
}

#[actix_rt::test]
async fn queues_named_like_steps_in_a_path_are_refused() {
    let site = Site::open().await;
    let (_, admin) = site.log_in("chief", "admin").await;
    for queue in [".", ".."] {
        let task = json!({"task_type": "noop", "queue": queue});
        let refused = site.post("/api/v1/tasks", &admin, &task).await;
        assert_eq!((refused.status, refused.fields()), (422, vec!["/queue".to_owned()]), "{refused:?}");
        let refused = site.post("/api/v1/tasks/batch", &admin, &json!({"tasks": [task]})).await;
        assert_eq!(
            (refused.status, refused.fields()),
            (422, vec!["/tasks/0/queue".to_owned()]),
            "{refused:?}"
        );
        let schedule = json!({"name": "n", "cron": "@daily", "task_type": "noop", "queue": queue});
        let refused = site.post("/api/v1/schedules", &admin, &schedule).await;
        assert_eq!((refused.status, refused.fields()), (422, vec!["/queue".to_owned()]), "{refused:?}");
    }
}

#[tokio::test]
async fn queues_named_like_steps_in_a_path_can_still_be_paused_and_resumed() {
    let database = TestDatabase::create().await;
    for queue in [".", ".."] {
        assert!(json_of(&database, &["queue", "pause", queue]).await[0]["paused_at"].is_string());
        assert_eq!(json_of(&database, &["queue", "resume", queue]).await[0]["paused_at"], Value::Null);
        assert_eq!(run(&database, &["task", "enqueue", "noop", "--queue", queue]).await.code, 2);
    }
    let paused =
        rows(&mut database.connection().await, "select name from queues where paused_at is not null").await;
    assert!(paused.is_empty(), "{paused:?}");
}
