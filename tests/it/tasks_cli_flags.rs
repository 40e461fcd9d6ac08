//! `starter admin task …`: each flag does what it says.

use serde_json::{Value, json};

use crate::{
    support::db::TestDatabase,
    tasks_cli::{json_of, run},
};

async fn enqueue(database: &TestDatabase, flags: &[&str]) -> Value {
    let mut arguments = vec!["task", "enqueue", "noop"];
    arguments.extend(flags);
    json_of(database, &arguments).await[0].clone()
}

#[tokio::test]
async fn every_flag_of_enqueue_has_its_effect() {
    let database = TestDatabase::create().await;
    let bare = enqueue(&database, &[]).await;
    let tomorrow = (chrono::Utc::now() + chrono::TimeDelta::days(1)).format("%Y-%m-%dT%H:%M:%SZ").to_string();
    for (flag, given, field, value) in [
        ("--payload", r#"{"sleep_ms":7}"#, "payload", json!({ "sleep_ms": 7 })),
        ("--queue", "mail", "queue", json!("mail")),
        ("--priority", "-100", "priority", json!(-100)),
        ("--max-attempts", "9", "max_attempts", json!(9)),
        ("--unique-key", "nightly", "unique_key", json!("nightly")),
        ("--run-at", &tomorrow, "status", json!("scheduled")),
        ("--delay-secs", "3600.5", "status", json!("scheduled")),
    ] {
        let task = enqueue(&database, &[flag, given]).await;
        assert!(task[field] == value && bare[field] != value, "{flag}: {task}");
        // And no other.
        for untouched in ["payload", "queue", "priority", "max_attempts", "unique_key", "status"] {
            assert!(untouched == field || task[untouched] == bare[untouched], "{flag}, {untouched}: {task}");
        }
    }
    for (condition, tasks) in [
        (&*format!("run_at = '{tomorrow}'"), 1),
        ("run_at between created_at + interval '3600 s' and created_at + interval '3601 s'", 1),
        ("run_at > now()", 2),
        ("timeout_secs = 77", 0),
    ] {
        let count = format!("select count(*) from tasks where {condition}");
        assert_eq!(database.count(&count).await, tasks, "{condition}");
    }
    enqueue(&database, &["--timeout-secs", "77"]).await;
    assert_eq!(database.count("select count(*) from tasks where timeout_secs = 77").await, 1);
    let all = database.count("select count(*) from tasks").await;
    let holder = enqueue(&database, &["--unique-key", "nightly"]).await;
    assert_eq!(json_of(&database, &["task", "list", "--unique-key", "nightly"]).await, json!([holder]));
    assert_eq!(database.count("select count(*) from tasks").await, all, "the key is held");
    let both = ["task", "enqueue", "noop", "--delay-secs", "1", "--run-at", &tomorrow];
    assert_eq!(run(&database, &both).await.code, 2);
}

/// One of each status, one type and queue each but the first two, the last made last.
const OF_EACH: &str = "
    insert into tasks (id, task_type, queue, status, stage, max_attempts, timeout_secs, finished_at, lease, worker_id, unique_key, unique_scope)
    select ('018f3e2a-0000-7000-8000-00000000000' || n)::uuid, type, queue, status, stage, 1, 1, finished, lease, lease,
        'k' || n, '00000000-0000-0000-0000-000000000000'
    from (values
        (1, 'noop', 'default', 'pending', 'due', null::timestamptz, null::bigint),
        (2, 'noop', 'default', 'scheduled', 'waiting', null, null),
        (3, 'noop', 'mail', 'retrying', 'waiting', null, null),
        (4, 'email.send', 'mail', 'running', null, null, 7),
        (5, 'email.send', 'default', 'succeeded', null, now() - interval '3 days', null),
        (6, 'noop', 'default', 'failed', 'failed', now() - interval '2 days', null),
        (7, 'email.send', 'mail', 'failed', 'failed', now() - interval '4 days', null),
        (8, 'noop', 'default', 'cancelled', 'cancelled', now() - interval '5 days', null)
    ) as t (n, type, queue, status, stage, finished, lease);
    insert into task_claims (lease, worker_id, task_ids) values (7, 7, '{018f3e2a-0000-7000-8000-000000000004}')";

/// The numbers of the tasks that are listed.
async fn listed(database: &TestDatabase, flags: &[&str]) -> Vec<u32> {
    let mut arguments = vec!["task", "list"];
    arguments.extend(flags);
    let tasks = json_of(database, &arguments).await;
    let number = |task: &Value| task["unique_key"].as_str().unwrap()[1..].parse().unwrap();
    tasks.as_array().unwrap().iter().map(number).collect()
}

#[tokio::test]
async fn every_flag_of_list_has_its_effect() {
    let database = TestDatabase::create().await;
    database.sql(OF_EACH).await;
    for (flags, numbers) in [
        (&[][..], &[8, 7, 6, 5, 4, 3, 2, 1][..]),
        (&["--status", "pending"], &[1]),
        (&["--status", "scheduled"], &[2]),
        (&["--status", "retrying"], &[3]),
        (&["--status", "running"], &[4]),
        (&["--status", "succeeded"], &[5]),
        (&["--status", "failed"], &[7, 6]),
        (&["--status", "cancelled"], &[8]),
        (&["--type", "email.send"], &[7, 5, 4]),
        (&["--type", "unheard.of"], &[]),
        (&["--queue", "mail"], &[7, 4, 3]),
        (&["--unique-key", "k3"], &[3]),
        (&["--limit", "2"], &[8, 7]),
        (&["--queue", "mail", "--type", "email.send", "--status", "failed"], &[7]),
        (&["--queue", "default", "--limit", "3"], &[8, 6, 5]),
    ] {
        assert_eq!(listed(&database, flags).await, numbers, "{flags:?}");
    }
    for limit in ["0", "10001", "many"] {
        assert_eq!(run(&database, &["task", "list", "--limit", limit]).await.code, 2, "{limit}");
    }
}

#[tokio::test]
async fn every_flag_of_retry_and_prune_has_its_effect() {
    let database = TestDatabase::create().await;
    database.sql(OF_EACH).await;
    // None of these retries one of a kind that another flag leaves out.
    for (flags, retried, left) in [
        (&["--type", "unheard.of"][..], 0, &[7, 6][..]),
        (&["--type", "noop", "--queue", "mail"], 0, &[7, 6]),
        (&["--type", "noop"], 1, &[7]),
        (&["--queue", "mail"], 1, &[]),
    ] {
        let arguments = [&["task", "retry", "--failed"], flags].concat();
        assert_eq!(json_of(&database, &arguments).await, json!({ "retried": retried }), "{flags:?}");
        assert_eq!(listed(&database, &["--status", "failed"]).await, left, "{flags:?}");
    }
    let database = TestDatabase::create().await;
    database.sql(OF_EACH).await;
    for (flags, left) in [
        (&[][..], &[8, 7, 6, 5, 4, 3, 2, 1][..]),
        (&["--older-than-hours", "60", "--status", "failed", "--type", "noop"], &[8, 7, 6, 5, 4, 3, 2, 1]),
        (&["--older-than-hours", "60", "--status", "failed", "--status", "cancelled"], &[6, 5, 4, 3, 2, 1]),
        (&["--older-than-hours", "1", "--type", "email.send"], &[6, 4, 3, 2, 1]),
        (&["--older-than-hours", "1"], &[4, 3, 2, 1]),
    ] {
        json_of(&database, &[&["task", "prune", "--yes"], flags].concat()).await;
        assert_eq!(listed(&database, &[]).await, left, "{flags:?}");
    }
}

#[tokio::test]
async fn the_types_that_may_be_enqueued_are_told() {
    let database = TestDatabase::create().await;
    let types = json_of(&database, &["task", "types"]).await;
    let types = types.as_array().unwrap();
    let names: Vec<&str> = types.iter().map(|one| one["task_type"].as_str().unwrap()).collect();
    let builtin = ["email.send", "maintenance.sweep", "noop", "report.users_csv", "webhook.deliver"];
    assert_eq!(names, builtin, "and none that only the program itself enqueues");
    for one in types {
        assert!(one["payload_schema"]["type"] == "object" && one["retry"].is_object(), "{one}");
        assert!(one["defaults"]["max_attempts"].is_number() && one["description"] != "", "{one}");
    }
    let noop = &types[2];
    assert!(noop["payload_schema"]["properties"]["sleep_ms"].is_object(), "{noop}");
}
