//! A database that lacks migrations or an admin: said once, answered with 503, and over as soon as they are run.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    e2e::{PASSWORD, client},
    process::starter,
    support::{db::TestDatabase, eventually},
};

const LONG: Duration = Duration::from_secs(60);

/// A process of the real binary on a database that may lack everything.
struct Process {
    child: Child,
    directory: TempDir,
}

impl Process {
    fn spawn(mode: &str, url: &str, variables: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().unwrap();
        let file = |name: &str| fs::File::create(directory.path().join(name)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_starter"));
        command.arg(mode).current_dir(directory.path()).env_clear().env("STARTER__DATABASE__URL", url);
        command.env("STARTER__SERVER__PORT", "0").env("STARTER__AUTH__ARGON2_MEMORY_KIB", "1024");
        command.env("STARTER__SERVER__PORT_FILE", "port").env("STARTER__WORKER__HEALTH_PORT", "0");
        command.envs(variables.iter().copied()).stdin(Stdio::null());
        let child = command.stdout(file("stdout")).stderr(file("stderr")).spawn().unwrap();
        Self { child, directory }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }

    /// Warnings and errors.
    fn complaints(&self) -> Vec<String> {
        let log = self.read("stderr");
        let bad = log.lines().filter(|line| !line.contains(r#""level":"info""#));
        bad.map(str::to_owned).collect()
    }

    async fn ask(&self, path: &str) -> Option<(u16, Option<String>, Value)> {
        let url = format!("http://127.0.0.1:{}{path}", self.read("port"));
        let answer = client().get(url).send().await.ok()?;
        let retry = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        Some((answer.status().as_u16(), retry, answer.json().await.unwrap_or_default()))
    }

    async fn end(&mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let status = std::cell::Cell::new(None);
        let child = std::cell::RefCell::new(&mut self.child);
        eventually(LONG, async || {
            status.set(child.borrow_mut().try_wait().unwrap());
            status.get().is_some()
        })
        .await;
        status.get().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _over = self.child.kill();
        let _over = self.child.wait();
    }
}

fn migrate(url: &str) {
    let ran = starter(&["migrate", "run"]).env("STARTER__DATABASE__URL", url).run();
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[tokio::test]
async fn a_database_without_migrations_is_said_once_and_answered_with_503() {
    let database = TestDatabase::empty().await;
    let admin = [
        ("STARTER__INITIAL_ADMIN__USERNAME", "boss"),
        ("STARTER__INITIAL_ADMIN__EMAIL", "boss@example.com"),
        ("STARTER__INITIAL_ADMIN__PASSWORD", PASSWORD),
    ];
    let mut process = Process::spawn("standalone", &database.url(), &admin);
    eventually(LONG, async || process.ask("/health/live").await.is_some_and(|told| told.0 == 200)).await;

    for path in ["/health/ready", "/api/v1/tasks", "/api/v1/auth/me", "/", "/no/such/thing"] {
        for _ in 0..10 {
            let (status, retry_after, problem) = process.ask(path).await.unwrap();
            assert_eq!((status, problem["code"].as_str()), (503, Some("unavailable")), "{path}: {problem}");
            assert!(retry_after.unwrap().parse::<u32>().unwrap() >= 1);
        }
    }

    let (status, _, health) = process.ask("/health").await.unwrap();
    assert_eq!(
        (status, &health["status"], &health["checks"]["migrations"]),
        (503, &json!("down"), &json!("down"))
    );
    assert_eq!(health["checks"]["database"], "ok");

    let greeting = process.read("stdout");
    assert!(
        greeting.contains("is not ready: ") && greeting.contains("pending; run: starter migrate run"),
        "{greeting}"
    );
    assert!(!greeting.contains("is up at"), "{greeting}");
    let complaints = process.complaints();
    assert!(complaints.len() == 1 && complaints[0].contains("migrations are pending"), "{complaints:?}");

    let url = database.url();
    tokio::task::spawn_blocking(move || migrate(&url)).await.unwrap();
    eventually(LONG, async || process.ask("/health/ready").await.is_some_and(|told| told.0 == 200)).await;
    let login = json!({ "login": "boss", "password": PASSWORD });
    let address = format!("http://127.0.0.1:{}/api/v1/auth/login", process.read("port"));
    assert_eq!(client().post(address).json(&login).send().await.unwrap().status(), 200, "the admin was made");
    assert!(
        process.read("stdout").contains("starter is up at http://127.0.0.1:"),
        "{}",
        process.read("stdout")
    );
    assert_eq!(process.end(Signal::TERM).await, Some(0), "{}", process.read("stderr"));
}

#[tokio::test]
async fn every_mode_waits_and_can_be_ended_meanwhile() {
    let database = TestDatabase::empty().await;
    for mode in ["server", "worker", "standalone"] {
        let mut process = Process::spawn(mode, &database.url(), &[]);
        eventually(LONG, async || process.ask("/health/ready").await.is_some_and(|told| told.0 == 503)).await;
        assert_eq!(process.end(Signal::TERM).await, Some(0), "{mode}: {}", process.read("stderr"));
        assert_eq!(process.complaints().len(), 1, "{mode}: {}", process.read("stderr"));
    }
}

#[tokio::test]
async fn a_database_without_an_admin_is_said_with_what_to_do() {
    let database = TestDatabase::create().await;
    let mut process = Process::spawn("standalone", &database.url(), &[]);
    eventually(LONG, async || process.read("stdout").contains("Ctrl-C")).await;
    let greeting = process.read("stdout");
    assert!(greeting.contains("There is no admin yet; make one: starter admin user create"), "{greeting}");
    assert!(!greeting.contains("curl") && !greeting.contains("password\":"), "{greeting}");
    assert!(greeting.contains("(environment)"), "who said where the database is: {greeting}");
    assert_eq!(process.end(Signal::INT).await, Some(0));
}

#[tokio::test]
async fn what_is_ready_is_healthy() {
    let database = TestDatabase::create().await;
    for _ in 0..3 {
        let process = Process::spawn("server", &database.url(), &[]);
        let health = std::cell::RefCell::new(Value::Null);
        eventually(LONG, async || {
            let ready = process.ask("/health/ready").await.is_some_and(|told| told.0 == 200);
            if ready {
                *health.borrow_mut() = process.ask("/health").await.unwrap().2;
            }
            ready
        })
        .await;
        assert_eq!(health.borrow()["status"], "ok", "{}", health.borrow());
    }
}

#[tokio::test]
async fn log_fields_that_are_numbers_are_numbers() {
    let database = TestDatabase::create().await;
    let process = Process::spawn("standalone", &database.url(), &[]);
    eventually(LONG, async || process.ask("/health/ready").await.is_some_and(|told| told.0 == 200)).await;
    process.ask("/api/v1/auth/me").await.unwrap();

    let lines = || -> Vec<Value> {
        process.read("stderr").lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    let of = |message: &str| lines().into_iter().find(|line| line["message"] == message);
    eventually(LONG, async || of("request").is_some() && of("the worker is registered").is_some()).await;
    let started = of("started").unwrap();
    assert_eq!((&started["mode"], started["port"].is_u64()), (&json!("standalone"), true), "{started}");
    assert!(of("request").unwrap()["ms"].is_number(), "{:?}", of("request"));
    assert!(of("the worker is registered").unwrap()["worker_id"].is_i64());
    assert!(lines().iter().all(|line| !line["target"].as_str().unwrap().starts_with("actix_server")));
}
