//! The real binary, as a user runs it: started, asked over HTTP, stopped by signals, killed.

mod cancel;
mod clocks;
mod crowd;
mod database_faults;
mod faults;
mod gauges;
mod hog;
mod kill;
mod listeners;
mod memory;
mod moments;
mod revocation;
mod soak;
mod stop;
pub(crate) mod streams;
mod tour;
mod wakeups;

use std::{
    fs,
    process::{Child, Command, Stdio},
    sync::LazyLock,
    time::{Duration, Instant},
};

use diesel_async::AsyncPgConnection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use starter::db::{Session, Target};
use tempfile::TempDir;

use crate::support::{db::TestDatabase, eventually};

/// For everything that happens in its own time, on a busy machine.
const LONG: Duration = Duration::from_secs(60);
pub(crate) const PASSWORD: &str = "a quiet engine hums";

/// A process of the real binary on a database.
pub(crate) struct Running {
    child: Child,
    directory: TempDir,
}

impl Running {
    /// `starter MODE`, ready to be asked.
    pub(crate) async fn start(mode: &str, database: &TestDatabase, variables: &[(&str, &str)]) -> Self {
        let running = Self::spawn(mode, &database.url(), variables);
        running.until_ready().await;
        running
    }

    async fn until_ready(&self) {
        eventually(LONG, || async { self.get("", "/health/ready").await.is_some_and(|got| got.0 == 200) })
            .await;
    }

    /// `starter MODE`, just begun.
    fn spawn(mode: &str, database_url: &str, variables: &[(&str, &str)]) -> Self {
        Self::spawn_as(Command::new(env!("CARGO_BIN_EXE_starter")).arg(mode), database_url, variables)
    }

    /// A command that becomes `starter`.
    fn spawn_as(command: &mut Command, database_url: &str, variables: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().unwrap();
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let child = command
            .env_clear()
            .env("STARTER__DATABASE__URL", database_url)
            .env("STARTER__DATABASE__MAX_CONNECTIONS", "4")
            .env("STARTER__SERVER__PORT", "0")
            .env("STARTER__WORKER__HEALTH_PORT", "0")
            .env("STARTER__SERVER__PORT_FILE", directory.path().join("port"))
            .env("STARTER__AUTH__ARGON2_MEMORY_KIB", "1024")
            .env("STARTER__INITIAL_ADMIN__USERNAME", "root-of-all")
            .env("STARTER__INITIAL_ADMIN__EMAIL", "root@example.com")
            .env("STARTER__INITIAL_ADMIN__PASSWORD", PASSWORD)
            .envs(variables.iter().copied())
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, directory }
    }

    pub(crate) fn url(&self) -> Option<String> {
        let port = fs::read_to_string(self.directory.path().join("port")).ok()?;
        Some(format!("http://127.0.0.1:{port}"))
    }

    /// Status and body; `None` when it does not answer.
    pub(crate) async fn get(&self, token: &str, path: &str) -> Option<(u16, Value)> {
        self.send(client().get(self.url()? + path), token).await
    }

    async fn post(&self, token: &str, path: &str, body: Value) -> (u16, Value) {
        let url = self.url().unwrap() + path;
        self.send(client().post(url).json(&body), token).await.unwrap()
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder, token: &str) -> Option<(u16, Value)> {
        let request = if token.is_empty() { request } else { request.bearer_auth(token) };
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        Some((status, response.json().await.unwrap_or(Value::Null)))
    }

    /// A session of somebody.
    pub(crate) async fn log_in(&self, login: &str) -> String {
        let (status, body) =
            self.post("", "/api/v1/auth/login", json!({ "login": login, "password": PASSWORD })).await;
        assert_eq!(status, 200, "{body}");
        body["token"].as_str().unwrap().to_owned()
    }

    /// A session of somebody who just registered.
    pub(crate) async fn register(&self, username: &str) -> String {
        let email = format!("{username}@example.com");
        let body = json!({ "username": username, "email": email, "password": PASSWORD });
        let (status, body) = self.post("", "/api/v1/auth/register", body).await;
        assert_eq!(status, 201, "{body}");
        self.log_in(username).await
    }

    /// Enqueues a `noop` and tells its id.
    async fn enqueue(&self, token: &str, payload: Value) -> String {
        let body = json!({ "task_type": "noop", "payload": payload });
        let (status, body) = self.post(token, "/api/v1/tasks", body).await;
        assert_eq!(status, 201, "{body}");
        body["id"].as_str().unwrap().to_owned()
    }

    async fn task(&self, token: &str, id: &str) -> Value {
        let (status, body) = self.get(token, &format!("/api/v1/tasks/{id}")).await.unwrap();
        assert_eq!(status, 200, "{body}");
        body
    }

    async fn until_status(&self, token: &str, id: &str, status: &str) {
        eventually(LONG, || async { self.task(token, id).await["status"] == status }).await;
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Its exit code; waits for its end.
    fn exit_code(&mut self) -> Option<i32> {
        let end = Instant::now() + LONG;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _over = self.child.kill();
        let _over = self.child.wait();
        if std::thread::panicking() {
            eprintln!("log of the process:\n{}", self.log());
        }
    }
}

/// One for the process, which keeps its connections.
pub(crate) fn client() -> reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        // Fails when it is done already.
        let _done = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder().timeout(LONG).pool_max_idle_per_host(0).build().unwrap()
    });
    CLIENT.clone()
}

/// `None` while the database is away.
async fn connect(url: &str) -> Option<AsyncPgConnection> {
    let session = Session { connect_timeout: Duration::from_secs(2), statement_timeout: None, scans: true };
    Target::parse(&url.into()).unwrap().dial(session).await.ok()
}
