//! Clients that enqueue, and ask again under the same `Idempotency-Key` until they are answered.

use std::collections::BTreeSet;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::*;

/// What was answered.
#[derive(Debug, Default)]
pub(super) struct Accepted {
    /// Tasks that were promised.
    pub(super) tasks: BTreeSet<String>,
    /// Tasks that somebody wanted cancelled.
    pub(super) cancelled: BTreeSet<String>,
}

impl Accepted {
    pub(super) fn add(&mut self, other: Self) {
        let before = self.tasks.len();
        let others = other.tasks.len();
        self.tasks.extend(other.tasks);
        assert_eq!(self.tasks.len(), before + others, "two keys, one task");
        self.cancelled.extend(other.cancelled);
    }
}

pub(super) async fn enqueue_until(
    end: Instant,
    site: Arc<Site>,
    session: String,
    client: u64,
    seed: u64,
) -> Accepted {
    let mut random = StdRng::seed_from_u64(seed ^ (client + 1));
    let mut accepted = Accepted::default();
    let mut last = None;
    let mut n = 0_u32;
    while Instant::now() < end {
        let key = format!("{client}-{n}");
        n += 1;
        let id = enqueue(&site, &session, &key, work(&mut random)).await;
        if random.random_bool(0.1) {
            let victim: String = last.take().unwrap_or_else(|| id.clone());
            let path = format!("/api/v1/tasks/{victim}/cancel");
            accepted.cancelled.insert(victim);
            // Whether the answer comes does not matter: it may be cancelled now.
            let server = site.server();
            if let Some(url) = server.url() {
                let _answer = server.send(client_for(url + &path), &session).await;
            }
        }
        assert!(accepted.tasks.insert(id.clone()), "{key} was answered with another key's task");
        last = Some(id);
        tokio::time::sleep(Duration::from_millis(random.random_range(0..20))).await;
    }
    accepted
}

fn client_for(url: String) -> reqwest::RequestBuilder {
    client().post(url).timeout(Duration::from_secs(10))
}

fn work(random: &mut StdRng) -> Value {
    let kind: u32 = random.random_range(0..100);
    let sleep_ms: u32 = random.random_range(0..3_000);
    match kind {
        0..50 => json!({ "task_type": "noop", "payload": {} }),
        50..65 => json!({ "task_type": "noop", "payload": { "sleep_ms": sleep_ms } }),
        65..75 => json!({ "task_type": "noop", "payload": { "fail_times": 1 } }),
        75..80 => json!({ "task_type": "noop", "payload": { "panic": true }, "max_attempts": 2 }),
        80..90 => json!({ "task_type": "noop", "payload": {}, "delay_secs": sleep_ms / 1_000 }),
        _ => json!({ "task_type": "noop", "payload": { "sleep_ms": sleep_ms / 10 }, "priority": -5 }),
    }
}

/// Asks until it is answered.
async fn enqueue(site: &Site, session: &str, key: &str, work: Value) -> String {
    let end = Instant::now() + LONG * 2;
    loop {
        let server = site.server();
        if let Some(url) = server.url() {
            let request = client_for(url + "/api/v1/tasks").header("Idempotency-Key", key).json(&work);
            match server.send(request, session).await {
                Some((201, task)) => return task["id"].as_str().unwrap().to_owned(),
                // The first try is still under way, or the database is away.
                Some((409 | 503, _)) | None => {}
                Some((status, body)) => panic!("{key}: {status} {body}"),
            }
        }
        assert!(Instant::now() < end, "{key} is not accepted:\n{}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
