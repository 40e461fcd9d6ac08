//! The ways to ask for the end, and to ask twice.

use std::{
    fs,
    io::Read as _,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags, open},
    process::{Pid, Signal, kill_process, test_kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::PATH;
use crate::{e2e::client, embedded::directory, support::eventually};

const LONG: Duration = Duration::from_secs(60);
const SIGNALS: [Signal; 4] = [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP];
const ADMIN: [(&str, &str); 3] = [
    ("STARTER__INITIAL_ADMIN__USERNAME", "boss"),
    ("STARTER__INITIAL_ADMIN__EMAIL", "boss@example.com"),
    ("STARTER__INITIAL_ADMIN__PASSWORD", "a quiet engine hums"),
];

/// `starter standalone` on an embedded database of its own.
struct Standalone {
    child: Child,
    cluster: PathBuf,
    log: PathBuf,
    _parent: TempDir,
}

impl Standalone {
    fn spawn(mut command: Command, terminal: Option<&OwnedFd>) -> Self {
        let (parent, cluster) = directory();
        let log = parent.path().join("stderr");
        let end = || terminal.map(|line| Stdio::from(line.try_clone().unwrap()));
        command.current_dir(parent.path()).env_clear().env("PATH", PATH).envs(ADMIN);
        command.env("STARTER__DATABASE__EMBEDDED_DIR", &cluster).env("STARTER__SERVER__PORT", "0");
        command.env("STARTER__SERVER__PORT_FILE", parent.path().join("port"));
        command.env("STARTER__AUTH__ARGON2_MEMORY_KIB", "1024");
        command.stdin(end().unwrap_or_else(Stdio::null)).stdout(end().unwrap_or_else(Stdio::null));
        let child = command.stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
        Self { child, cluster, log, _parent: parent }
    }

    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_starter"));
        command.arg("standalone");
        Self::spawn(command, None)
    }

    async fn ready() -> Self {
        let this = Self::start();
        this.until_ready().await;
        this
    }

    fn url(&self) -> Option<String> {
        let port = fs::read_to_string(self.cluster.with_file_name("port")).ok()?;
        Some(format!("http://127.0.0.1:{port}"))
    }

    async fn until_ready(&self) {
        eventually(LONG, async || {
            let Some(url) = self.url() else { return false };
            let answer = client().get(url + "/health/ready").send().await;
            answer.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
    }

    async fn post(&self, path: &str, token: &str, body: Value) -> Value {
        let request = client().post(self.url().unwrap() + path).bearer_auth(token).json(&body);
        request.send().await.unwrap().json().await.unwrap()
    }

    /// A task that outlasts every test, at work.
    async fn busy(&self) {
        let login = json!({ "login": "boss", "password": "a quiet engine hums" });
        let session = self.post("/api/v1/auth/login", "none", login).await;
        let token = session["token"].as_str().unwrap().to_owned();
        let body = json!({ "task_type": "noop", "payload": { "sleep_ms": 600_000 }, "timeout_secs": 900 });
        let task = self.post("/api/v1/tasks", &token, body).await;
        let path = format!("/api/v1/tasks/{}", task["id"].as_str().unwrap());
        eventually(LONG, async || {
            let request = client().get(self.url().unwrap() + &path).bearer_auth(&token);
            request.send().await.unwrap().json::<Value>().await.unwrap()["status"] == "running"
        })
        .await;
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn server(&self) -> Option<Pid> {
        let file = fs::read_to_string(self.cluster.join("data/postmaster.pid")).ok()?;
        Pid::from_raw(file.lines().next()?.parse().ok()?)
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    async fn until_said(&self, text: &str) {
        eventually(LONG, async || self.log().contains(text)).await;
    }

    /// Its exit code; and nothing of it runs any more.
    async fn end(&mut self, server: Option<Pid>) -> Option<i32> {
        let end = Instant::now() + LONG;
        let code = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.code();
            }
            assert!(Instant::now() < end, "it does not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert!(server.is_none_or(|pid| test_kill_process(pid).is_err() || is_zombie(pid)), "{}", self.log());
        assert!(
            !self.cluster.join("data/postmaster.pid").exists(),
            "the database server runs:\n{}",
            self.log()
        );
        code
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        let _over = self.child.kill();
        let _over = self.child.wait();
        let _stopped = starter::db::embedded::stop_unused(&self.cluster);
    }
}

fn is_zombie(pid: Pid) -> bool {
    fs::read(Path::new("/proc").join(pid.as_raw_nonzero().to_string()).join("cmdline"))
        .is_ok_and(|c| c.is_empty())
}

#[tokio::test]
async fn every_signal_that_asks_for_the_end_ends_in_order_and_leaves_nothing() {
    for signal in SIGNALS {
        let mut process = Standalone::ready().await;
        let server = process.server();
        process.signal(signal);
        assert_eq!(process.end(server).await, Some(0), "{signal:?}: {}", process.log());
        assert!(process.log().contains("embedded database stopped"), "{}", process.log());
    }
}

#[tokio::test]
async fn a_second_signal_ends_at_once_and_leaves_nothing_and_no_complaints() {
    for signal in SIGNALS {
        let mut process = Standalone::ready().await;
        process.busy().await;
        let server = process.server();
        process.signal(signal);
        process.until_said("\"stopping\"").await;
        process.signal(signal);
        let begun = Instant::now();
        assert_eq!(process.end(server).await, Some(0), "{signal:?}: {}", process.log());
        assert!(begun.elapsed() < Duration::from_secs(25), "the grace is 30 s");
        let warnings = process
            .log()
            .lines()
            .filter(|line| line.contains("\"warn\"") || line.contains("\"error\""))
            .count();
        assert!(warnings <= 1, "{}", process.log());
    }
}

#[tokio::test]
async fn two_signals_while_the_database_is_made_leave_nothing() {
    for second in [false, true] {
        let mut process = Standalone::start();
        eventually(LONG, async || process.cluster.join("start.lock").exists()).await;
        process.signal(Signal::INT);
        if second {
            process.until_said("stopping before everything was started").await;
            process.signal(Signal::INT);
        }
        let code = process.end(None).await;
        assert!(code == Some(0) || second && code == Some(1), "{code:?}: {}", process.log());
        assert!(!process.log().contains("panicked"), "{}", process.log());
        // A grandchild, such as what initdb runs, ends when it reads the end of its input.
        let place = process.cluster.to_string_lossy();
        eventually(LONG, async || !processes().iter().any(|line| line.contains(&*place))).await;
    }
}

/// The command lines of all processes.
fn processes() -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).collect()
}

#[tokio::test]
async fn a_terminal_that_is_closed_ends_it_in_order() {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let line = open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    // The leader of a session whose terminal this is.
    let mut command = Command::new("setsid");
    command.args(["--ctty", env!("CARGO_BIN_EXE_starter"), "standalone"]);
    let mut process = Standalone::spawn(command, Some(&line));
    drop(line);

    let mut screen = fs::File::from(ours);
    process.until_ready().await;
    let server = process.server();

    // The greeting came through, so it is this terminal.
    let mut some = [0; 64];
    assert!(screen.read(&mut some).unwrap() > 0);
    drop(screen);
    assert_eq!(process.end(server).await, Some(0), "{}", process.log());
    assert!(process.log().contains("SIGHUP"), "{}", process.log());
}

#[tokio::test]
async fn what_is_started_to_outlive_its_terminal_does() {
    let mut command = Command::new("nohup");
    command.args([env!("CARGO_BIN_EXE_starter"), "standalone"]);
    let mut process = Standalone::spawn(command, None);
    process.until_ready().await;
    process.signal(Signal::HUP);
    process.until_ready().await;
    let server = process.server();
    process.signal(Signal::TERM);
    assert_eq!(process.end(server).await, Some(0), "{}", process.log());
    assert!(process.log().contains("SIGTERM") && !process.log().contains("SIGHUP"), "{}", process.log());
}
