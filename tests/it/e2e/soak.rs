//! Everything at once, from many clients. `STARTER_SOAK_SECS=60` makes it last.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const CLIENTS: usize = 50;

/// What one client did.
#[derive(Default)]
struct Done {
    registered: usize,
    enqueued: Vec<(String, Vec<String>)>,
}

/// Registers, logs in, makes a key, enqueues with either; until the end.
async fn client_until(end: Instant, number: usize, starter: &Running, refused: &AtomicUsize) -> Done {
    let mut done = Done::default();
    let mut round = 0;
    while Instant::now() < end {
        let name = format!("soak-{number}-{round}");
        round += 1;
        let email = format!("{name}@example.com");
        let body = json!({ "username": name, "email": email, "password": PASSWORD });
        let (status, body) = starter.post("", "/api/v1/auth/register", body).await;
        // Full queues are told, and nothing was done: an honest client comes again.
        if status == 503 && body["code"] == "overloaded" {
            refused.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        assert_eq!(status, 201, "{body}");
        done.registered += 1;
        let session = starter.log_in(&name).await;
        let wanted = json!({ "name": "soak", "permissions": ["tasks:write", "tasks:read"] });
        let (status, key) = starter.post(&session, "/api/v1/api-keys", wanted).await;
        assert_eq!(status, 201, "{key}");
        let key = key["key"].as_str().unwrap().to_owned();
        let mut ids = Vec::new();
        for turn in 0..10 {
            let credential = if turn % 2 == 0 { &key } else { &session };
            ids.push(starter.enqueue(credential, json!({})).await);
        }
        done.enqueued.push((session, ids));
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_clients_at_once_see_no_5xx_and_every_task_succeeds_once() {
    let seconds = std::env::var("STARTER_SOAK_SECS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let database = TestDatabase::create().await;
    let unlimited = [
        ("STARTER__RATE_LIMIT__PER_SECOND", "0"),
        ("STARTER__RATE_LIMIT__AUTH_PER_MINUTE", "0"),
        ("STARTER__AUTH__ARGON2_ITERATIONS", "1"),
        ("RUST_LOG", "warn"),
    ];
    let mut starter = Running::start("standalone", &database, &unlimited).await;
    let (end, refused) = (Instant::now() + Duration::from_secs(seconds), AtomicUsize::new(0));
    let clients = (0..CLIENTS).map(|number| client_until(end, number, &starter, &refused));
    let all = futures_util::future::join_all(clients).await;

    let registered: usize = all.iter().map(|done| done.registered).sum();
    let mut tasks = 0;
    for (session, ids) in all.iter().flat_map(|done| &done.enqueued) {
        for id in ids {
            starter.until_status(session, id, "succeeded").await;
            assert_eq!(starter.task(session, id).await["attempt"], 1, "run once");
            tasks += 1;
        }
    }
    assert!(registered >= CLIENTS && tasks == registered * 10, "{registered} accounts, {tasks} tasks");
    starter.signal(Signal::TERM);
    assert_eq!(starter.exit_code(), Some(0), "{}", starter.log());
    eprintln!(
        "{seconds} s: {registered} accounts, log-ins and keys, {tasks} tasks, {} times overloaded",
        refused.into_inner()
    );
}
