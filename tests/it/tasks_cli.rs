//! `starter admin task|queue|schedule`: the real binary on a real database.

use serde_json::{Value, json};

use crate::{
    process::{Ran, starter},
    support::db::TestDatabase,
};

pub(crate) async fn run(database: &TestDatabase, arguments: &[&str]) -> Ran {
    let (url, mut all) = (database.url(), vec!["--json", "admin"]);
    all.extend(arguments);
    let ready = starter(&all).env("STARTER__DATABASE__URL", url);
    tokio::task::spawn_blocking(move || ready.run()).await.unwrap()
}

pub(crate) async fn json_of(database: &TestDatabase, arguments: &[&str]) -> Value {
    let ran = run(database, arguments).await;
    assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

#[tokio::test]
async fn tasks_are_enqueued_shown_cancelled_retried_and_pruned() {
    let database = TestDatabase::create().await;
    let args =
        ["task", "enqueue", "noop", "--payload", r#"{"sleep_ms":5}"#, "--priority", "-3", "--queue", "mail"];
    let task = json_of(&database, &args).await[0].clone();
    assert_eq!((&task["status"], &task["priority"]), (&json!("pending"), &json!(-3)));
    let id = task["id"].as_str().unwrap();
    assert_eq!(json_of(&database, &["task", "list", "--status", "pending"]).await, json!([task]));
    let shown = json_of(&database, &["task", "show", id]).await;
    assert_eq!((&shown["payload"], &shown["attempts"]), (&json!({"sleep_ms": 5}), &json!([])));
    assert_eq!(json_of(&database, &["task", "cancel", id]).await[0]["status"], "cancelled");
    assert_eq!(run(&database, &["task", "cancel", id]).await.code, 1);
    assert_eq!(json_of(&database, &["task", "retry", id]).await[0]["status"], "pending");
    let stats = json_of(&database, &["task", "stats"]).await;
    assert_eq!(
        stats["counts"],
        json!([{"status": "pending", "task_type": "noop", "queue": "mail", "count": 1}])
    );
    database
        .sql("update tasks set status = 'failed', stage = 'failed', held_key = null, finished_at = now()")
        .await;
    assert_eq!(json_of(&database, &["task", "retry", "--failed", "--queue", "other"]).await["retried"], 0);
    assert_eq!(json_of(&database, &["task", "retry", "--failed"]).await["retried"], 1);
    database.sql("update tasks set status = 'succeeded', stage = null, held_key = null, finished_at = now() - interval '9 days'").await;
    let unasked = run(&database, &["task", "prune"]).await;
    assert_eq!(unasked.code, 2, "{unasked:?}");
    assert_eq!(
        json_of(&database, &["task", "prune", "--yes", "--older-than-hours", "300"]).await["deleted"],
        0
    );
    assert_eq!(json_of(&database, &["task", "prune", "--yes"]).await["deleted"], 1);
    assert_eq!(run(&database, &["task", "show", id]).await.code, 1);
    assert_eq!(
        audited(&database).await,
        ["task.delete", "task.retry", "task.retry", "task.cancel", "task.create"]
    );
}

/// Whatever is retried fails at once.
const HOPELESS: &str = "
    create function hopeless() returns trigger language plpgsql as $$
    begin new.status = 'failed'; new.stage = 'failed'; new.finished_at = clock_timestamp(); return new; end $$;
    create trigger hopeless before update on tasks for each row
        when (old.status = 'failed' and new.status = 'pending') execute function hopeless()";

#[tokio::test]
async fn retrying_all_that_failed_ends_though_they_fail_again() {
    let database = TestDatabase::create().await;
    database.sql(HOPELESS).await;
    for _ in 0..2 {
        json_of(&database, &["task", "enqueue", "noop"]).await;
    }
    database
        .sql("update tasks set status = 'failed', stage = 'failed', held_key = null, finished_at = now()")
        .await;
    assert_eq!(json_of(&database, &["task", "retry", "--failed"]).await["retried"], 2);
}

/// What the command-line tool did, the last first.
async fn audited(database: &TestDatabase) -> Vec<String> {
    let entries = json_of(database, &["audit", "list"]).await;
    let entries = entries.as_array().unwrap().iter();
    entries
        .map(|entry| {
            assert_eq!(
                (&entry["actor_kind"], &entry["outcome"]),
                (&json!("cli"), &json!("success")),
                "{entry}"
            );
            entry["action"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[tokio::test]
async fn people_get_a_table_with_a_head_and_a_line_for_each_thing() {
    let database = TestDatabase::create().await;
    database.user("ada").await;
    database
        .sql(
            r#"insert into schedules (id, name, cron, task_type) values
                 ('018f3e2a-0000-7000-8000-000000000000', 'nightly', '0 3 * * *', 'noop');
             insert into api_keys (id, created_by, name, key_hash, key_prefix, permissions)
                 select '018f3e2a-0000-7000-8000-000000000001', id, 'deploy', decode(repeat('ab', 32), 'hex'),
                     'key_abcdefgh', '["tasks:read"]' from users;
             insert into sessions (id, user_id, token_hash, auth_version, idle_expires_at, expires_at)
                 select '018f3e2a-0000-7000-8000-000000000002', id, decode(repeat('cd', 32), 'hex'), 0,
                     now() + interval '1 hour', now() + interval '1 day' from users"#,
        )
        .await;
    for arguments in [&["task", "enqueue", "noop", "--queue", "mail"][..], &["queue", "pause", "mail"]] {
        assert_eq!(run(&database, arguments).await.code, 0, "{arguments:?}");
    }
    for (arguments, shown, lines) in [
        (&["session", "list"][..], "ada", 2),
        (&["api-key", "list"], "deploy", 2),
        (&["api-key", "show", "018f3e2a-0000-7000-8000-000000000001"], "key_abcdefgh", 2),
        (&["task", "list"], "noop", 2),
        (&["queue", "list"], "mail", 3),
        (&["schedule", "list"], "nightly", 2),
    ] {
        let (url, mut all) = (database.url(), vec!["admin"]);
        all.extend(arguments);
        let ready = starter(&all).env("STARTER__DATABASE__URL", url);
        let ran = tokio::task::spawn_blocking(move || ready.run()).await.unwrap();
        assert_eq!((ran.code, ran.stdout.lines().count()), (0, lines), "{arguments:?}: {ran:?}");
        let head = ran.stdout.lines().next().unwrap();
        assert!(head.starts_with(|first: char| first.is_ascii_uppercase()), "{arguments:?}: {head}");
        assert!(ran.stdout.contains(shown), "{arguments:?}: {ran:?}");
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_wrong_usage() {
    let database = TestDatabase::create().await;
    for arguments in [
        &["task", "enqueue", "nothing"][..],
        &["task", "enqueue", "noop", "--payload", "[]"],
        &["task", "enqueue", "noop", "--max-attempts", "0"],
        &["task", "list", "--status", "lost"],
        &["task", "show", "x"],
        &["task", "retry"],
        &["task", "prune", "--status", "running", "--yes"],
        &["queue", "pause", "No Way"],
    ] {
        let ran = run(&database, arguments).await;
        assert_eq!(ran.code, 2, "{arguments:?}: {ran:?}");
    }
}

#[tokio::test]
async fn queues_and_schedules_are_listed_and_switched() {
    let database = TestDatabase::create().await;
    let paused = json_of(&database, &["queue", "pause", "mail"]).await;
    assert!(paused[0]["paused_at"].is_string());
    assert_eq!(json_of(&database, &["queue", "list"]).await.as_array().unwrap().len(), 2);
    assert_eq!(json_of(&database, &["queue", "resume", "mail"]).await[0]["paused_at"], Value::Null);
    database
        .sql(
            "insert into schedules (id, name, cron, task_type) values
             ('018f3e2a-0000-7000-8000-000000000000', 'nightly', '0 3 * * *', 'noop')",
        )
        .await;
    let off = json_of(&database, &["schedule", "disable", "nightly"]).await;
    assert_eq!((&off[0]["enabled"], &off[0]["next_run_at"]), (&json!(false), &Value::Null));
    let on = json_of(&database, &["schedule", "enable", "018f3e2a-0000-7000-8000-000000000000"]).await;
    assert!(on[0]["enabled"] == true && on[0]["next_run_at"].is_string());
    assert_eq!(json_of(&database, &["schedule", "list"]).await, on);
    assert_eq!(run(&database, &["schedule", "enable", "weekly"]).await.code, 1);
    let done = ["schedule.update", "schedule.update", "queue.resume", "queue.pause"];
    assert_eq!(audited(&database).await, done);
}

#[tokio::test]
async fn all_tasks_of_a_user_are_cancelled_at_once() {
    let database = TestDatabase::create().await;
    let (alice, bob) = (database.user("alice").await, database.user("bobby").await);
    for owner in [alice, bob] {
        let text = format!(
            "insert into tasks (id, task_type, max_attempts, timeout_secs, created_by)
             select gen_random_uuid(), 'noop', 3, 1, '{owner}' from generate_series(1, 1200)"
        );
        database.sql(&text).await;
    }
    assert_eq!(
        json_of(&database, &["task", "cancel", "--user", "alice"]).await,
        json!({ "cancelled": 1200 })
    );
    assert_eq!(json_of(&database, &["task", "cancel", "--user", "alice"]).await, json!({ "cancelled": 0 }));
    let id = bob.to_string();
    assert_eq!(json_of(&database, &["task", "cancel", "--user", &id]).await, json!({ "cancelled": 1200 }));
    assert_eq!(run(&database, &["task", "cancel", "--user", "nobody"]).await.code, 1);
    assert_eq!(run(&database, &["task", "cancel", "--user", "alice", &id]).await.code, 2);
}
