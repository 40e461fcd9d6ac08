//! A clock that jumps, for the database and for the program at once (libfaketime; `scripts/prepare test` installs it).

use std::{
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
};

use starter::db::embedded::Cluster;

use super::*;

/// A PostgreSQL whose clock is set by a file, and whoever wants to share it.
struct Clock {
    library: PathBuf,
    offset: PathBuf,
    url: String,
    server: Child,
    _parent: TempDir,
}

fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    folders.map(|folder| folder.join("faketime/libfaketime.so.1")).find(|library| library.exists())
}

impl Clock {
    /// One that is so many seconds ahead; `None` without the library.
    async fn ahead(secs: i64) -> Option<Self> {
        let Some(library) = library() else {
            eprintln!("skipped: libfaketime is not installed (scripts/prepare test does it)");
            return None;
        };
        let parent = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir()
            .unwrap();
        // Made and stopped, to be started again under the library.
        let directory = parent.path().join("postgres");
        let cluster = Cluster::start_with(&directory, &[("fsync", "off")]).unwrap();
        let (url, data) = (cluster.url().to_owned(), directory.join("data"));
        let command = fs::read_to_string(data.join("postmaster.opts")).unwrap();
        cluster.stop().unwrap();

        let offset = parent.path().join("offset");
        fs::write(&offset, format!("{secs:+}\n")).unwrap();
        let owner = fs::metadata(&data).unwrap();
        let mut server = Command::new(command.split_whitespace().next().unwrap());
        let sockets = format!("unix_socket_directories=\"{}\"", directory.join("run").display());
        server.args(["-c", "listen_addresses=", "-c", "port=5432", "-c", &sockets, "-D"]).arg(&data);
        server.current_dir(&data).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        server.envs(faked(&library, &offset));
        if rustix::process::geteuid().is_root() {
            server.uid(owner.uid()).gid(owner.gid());
        }
        let clock = Self { library, offset, url, server: server.spawn().unwrap(), _parent: parent };
        eventually(LONG, || async { connect(&clock.url).await.is_some() }).await;
        Some(clock)
    }

    /// Sets it so many seconds ahead. Everybody sees it at their next look.
    fn set(&self, secs: i64) {
        // At once, so that nobody reads half of it.
        let new = self.offset.with_extension("new");
        fs::write(&new, format!("{secs:+}\n")).unwrap();
        fs::rename(new, &self.offset).unwrap();
    }

    async fn start(&self, mode: &str) -> Running {
        let library = faked(&self.library, &self.offset);
        let mut settings = vec![
            ("STARTER__DATABASE__AUTO_MIGRATE", "true"),
            ("STARTER__RATE_LIMIT__PER_SECOND", "0"),
            ("STARTER__WORKER__LEASE_SECS", "3"),
        ];
        settings.extend(library.iter().map(|(name, value)| (*name, value.as_str())));
        let running = Running::spawn(mode, &self.url, &settings);
        running.until_ready().await;
        running
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let _over = kill_process(Pid::from_child(&self.server), Signal::QUIT);
        let _over = self.server.wait();
    }
}

fn faked(library: &Path, offset: &Path) -> Vec<(&'static str, String)> {
    vec![
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", offset.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ("DONT_FAKE_MONOTONIC", "1".into()),
        ("FAKETIME_DISABLE_SHM", "1".into()),
    ]
}

async fn connect(url: &str) -> Option<AsyncPgConnection> {
    let session = Session { connect_timeout: LONG, statement_timeout: None, scans: true };
    Target::parse(&secrecy::SecretString::from(url.to_owned())).unwrap().dial(session).await.ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_ahead_takes_no_task_from_a_worker_that_lives() {
    let Some(clock) = Clock::ahead(0).await else { return };
    let running = clock.start("standalone").await;
    let token = running.log_in("root-of-all").await;
    let task = running.enqueue(&token, json!({ "sleep_ms": 8_000 })).await;
    running.until_status(&token, &task, "running").await;
    clock.set(7_200);
    // Longer than a lease, and than several looks of whoever gives up workers.
    running.until_status(&token, &task, "succeeded").await;
    let done = running.task(&token, &task).await;
    assert_eq!((&done["attempt"], &done["retry_count"]), (&json!(1), &json!(0)), "{done}");
    assert!(!running.log().contains("rescued"), "{}", running.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_clock_that_was_ahead_is_put_right_schedules_and_tasks_go_on() {
    let Some(clock) = Clock::ahead(3_600).await else { return };
    let running = clock.start("standalone").await;
    let token = running.log_in("root-of-all").await;
    let every_second = json!({ "name": "tick", "cron": "* * * * * *", "task_type": "noop" });
    assert_eq!(running.post(&token, "/api/v1/schedules", every_second).await.0, 201);
    let made = || async {
        let (_, list) = running.get(&token, "/api/v1/tasks?limit=1").await.unwrap();
        list["items"][0]["run_at"].as_str().map(str::to_owned).unwrap_or_default()
    };
    eventually(LONG, || async { !made().await.is_empty() }).await;

    // Waits in a queue that is paused until the clock is right.
    assert!(running.post(&token, "/api/v1/queues/default/pause", json!({})).await.0 < 300);
    let task = running.enqueue(&token, json!({})).await;
    clock.set(0);
    assert!(running.post(&token, "/api/v1/queues/default/resume", json!({})).await.0 < 300);
    running.until_status(&token, &task, "succeeded").await;
    let now = chrono::Utc::now().to_rfc3339();
    eventually(LONG, || async {
        let (_, list) = running.get(&token, "/api/v1/tasks?limit=100").await.unwrap();
        let new = |item: &Value| {
            let at = item["run_at"].as_str().unwrap_or_default();
            at > now.as_str() && item["unique_key"].as_str().is_some_and(|key| key.starts_with("schedule:"))
        };
        // Those of the hour that was ahead are later by far.
        let soon = (chrono::Utc::now() + chrono::TimeDelta::minutes(10)).to_rfc3339();
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .any(|item| new(item) && item["run_at"].as_str().unwrap() < soon.as_str())
    })
    .await;
}
