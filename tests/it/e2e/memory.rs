//! One user cannot have the process take much memory: the ways that were found, each eight at once, on the real binary.
//!
//! Its memory is limited to 512 MiB, so that a way that is open again ends it. What is measured is anonymous memory: a debug
//! build maps many megabytes of its own file.

use std::{
    fs,
    io::Write as _,
    net::TcpStream,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use futures_util::future::join_all;
use rustix::process::Pid;
use serde_json::json;

use super::{LONG, Running, client};
use crate::support::{db::TestDatabase, eventually};

const MIB: u64 = 1024 * 1024;
const PEAK: u64 = 256 * MIB;
const AFTERWARDS: u64 = 64 * MIB;
const AT_ONCE: usize = 8;
const OWNER: &str = "(select id from users where username = 'root-of-all')";

/// The payload that takes most as values: two bytes for each.
fn zeros() -> String {
    format!(r#"{{"url":"http://127.0.0.1:1/","event":"e","data":[0{}]}}"#, ",0".repeat(32_000))
}

fn anonymous(pid: Pid) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()? * 1024)
}

/// Looks at the memory of a process for as long as it lives.
struct Gauge {
    peak: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Gauge {
    fn on(pid: Pid) -> Self {
        let gauge = Self { peak: Arc::default(), over: Arc::default() };
        let (peak, over) = (Arc::clone(&gauge.peak), Arc::clone(&gauge.over));
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                peak.fetch_max(anonymous(pid).unwrap_or(0), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(10));
            }
        });
        gauge
    }

    /// The most since the last time.
    fn take(&self, way: &str) {
        let peak = self.peak.swap(0, Ordering::Relaxed);
        eprintln!("{way}: {} MiB", peak / MIB);
        assert!(peak < PEAK, "{way}: {} MiB", peak / MIB);
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

struct Attack {
    starter: Running,
    token: String,
    database: TestDatabase,
}

impl Attack {
    /// Large tasks that wait, of which some hold keys.
    async fn prepare() -> Self {
        let database = TestDatabase::create().await;
        let limited = r#"ulimit -d 524288; exec "$0" standalone"#;
        let mut command = Command::new("sh");
        let command = command.args(["-c", limited, env!("CARGO_BIN_EXE_starter")]);
        let unlimited = [("STARTER__RATE_LIMIT__PER_SECOND", "0"), ("PATH", "/usr/bin:/bin")];
        let starter = Running::spawn_as(command, &database.url(), &unlimited);
        starter.until_ready().await;
        let token = starter.log_in("root-of-all").await;
        let payload = zeros();
        database
            .sql(&format!(
                "insert into tasks (id, task_type, payload, max_attempts, timeout_secs, status, stage, run_at, created_by,
                    unique_key, held_key, unique_scope)
                select gen_random_uuid(), 'webhook.deliver', '{payload}', 1, 10, 'scheduled', 'waiting', now() + interval '1 day',
                    {OWNER}, 'k' || n, 'k' || n, {OWNER}
                from generate_series(1, 200) n"
            ))
            .await;
        Self { starter, token, database }
    }

    fn request(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        request.bearer_auth(&self.token)
    }

    fn url(&self, path: &str) -> String {
        self.starter.url().unwrap() + path
    }

    /// Statuses and sizes of the answers.
    async fn at_once(&self, requests: Vec<reqwest::RequestBuilder>) -> Vec<(u16, usize)> {
        join_all(requests.into_iter().map(async |request| {
            let answer = self.request(request).send().await.unwrap();
            (answer.status().as_u16(), answer.bytes().await.unwrap().len())
        }))
        .await
    }

    async fn lists(&self) {
        let list = || client().get(self.url("/api/v1/tasks?limit=100"));
        let got = self.at_once((0..AT_ONCE).map(|_| list()).collect()).await;
        assert!(got.iter().all(|(status, bytes)| *status == 200 && *bytes < 3 << 19), "{got:?}");
    }

    /// Keys that are held, asked for in small requests; under an `Idempotency-Key` each, or without.
    async fn batches(&self, keys: &[usize], kept: bool) -> Vec<(u16, usize)> {
        let tasks: Vec<_> =
            keys.iter().map(|key| json!({"task_type": "noop", "unique_key": format!("k{key}")})).collect();
        let body = json!({ "tasks": tasks });
        let batch = |n: usize| {
            let request = client().post(self.url("/api/v1/tasks/batch")).json(&body);
            if kept { request.header("idempotency-key", format!("{}-{n}", keys.len())) } else { request }
        };
        self.at_once((0..AT_ONCE).map(batch).collect()).await
    }

    async fn worker(&self) {
        let payload = zeros();
        self.database
            .sql(&format!(
                "insert into tasks (id, task_type, payload, max_attempts, timeout_secs, stage, priority, created_by)
                select gen_random_uuid(), 'noop', '{{}}'::json, 1, 10, 'due', 9, {OWNER} from generate_series(1, 1000)
                union all
                select gen_random_uuid(), 'webhook.deliver', '{payload}'::json, 1, 10, 'due', 0, {OWNER}
                from generate_series(1, 600);
                select pg_notify('starter_tasks', 'default')"
            ))
            .await;
        let left = "select count(*) from tasks where stage = 'due' or status = 'running'";
        eventually(LONG, async || self.database.count(left).await == 0).await;
    }

    /// Clients that ask and do not read.
    fn sleepers(&self) -> Vec<TcpStream> {
        let url = self.url("");
        let address = url.trim_start_matches("http://");
        let asks = format!(
            "GET /api/v1/tasks?limit=100 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
            self.token
        );
        let connect = |_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(asks.as_bytes()).unwrap();
            stream.set_nonblocking(true).unwrap();
            stream
        };
        (0..30).map(connect).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_user_takes_the_memory_of_all() {
    let attack = Attack::prepare().await;
    let gauge = Gauge::on(attack.starter.pid());

    attack.lists().await;
    gauge.take("a: lists of large tasks");

    let same = attack.batches(&[1; 1_000], false).await;
    assert!(same.iter().all(|(status, _)| *status == 422), "{same:?}");
    let many: Vec<usize> = (1..=200).collect();
    let different = attack.batches(&many, false).await;
    assert!(different.iter().all(|(status, _)| *status == 422), "{different:?}");
    gauge.take("b: batches of keys that large tasks hold");

    let few: Vec<usize> = (1..=25).collect();
    let kept = attack.batches(&few, true).await;
    assert!(kept.iter().all(|(status, bytes)| *status == 201 && *bytes > 1 << 20), "{kept:?}");
    let again = attack.batches(&few, true).await;
    assert_eq!(kept, again);
    let stored = "select coalesce(sum(pg_column_size(body) + pg_column_size(task_ids)), 0)::bigint from idempotency_keys";
    let stored = attack.database.count(stored).await;
    assert!(stored < 100_000, "{stored} bytes are kept");
    gauge.take("c: the same under an Idempotency-Key");

    // d: event streams.

    attack.worker().await;
    gauge.take("e: large tasks that are claimed ahead");

    let sleepers = attack.sleepers();
    let answered = || sleepers.iter().filter(|stream| stream.peek(&mut [0]).is_ok()).count();
    eventually(LONG, async || answered() >= 6).await;
    let me = attack.starter.get(&attack.token, "/api/v1/auth/me").await;
    assert!(me.is_some_and(|(status, _)| status == 200), "others are served");
    gauge.take("f: clients that do not read");
    drop(sleepers);

    let pid = attack.starter.pid();
    eventually(Duration::from_secs(30), async || anonymous(pid).is_some_and(|bytes| bytes < AFTERWARDS))
        .await;
    eprintln!("afterwards: {} MiB", anonymous(pid).unwrap() / MIB);
}
