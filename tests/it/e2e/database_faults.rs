//! A database that takes no writes, has no room, or is stricter by default than the program: the real binary says so in good
//! time and without a defect, and goes on when it may.

use std::{os::unix::fs::MetadataExt as _, path::Path};

use diesel_async::SimpleAsyncConnection as _;
use futures_util::future::join_all;
use starter::db::embedded::Cluster;

use super::*;

const NO_LIMIT: (&str, &str) = ("STARTER__RATE_LIMIT__PER_SECOND", "0");

/// Changes a setting for all who connect from now on, and has everybody connect anew.
async fn set(database: &TestDatabase, setting: &str) {
    let mut connection = database.connection().await;
    for statement in [
        // Where writes are forbidden by default, they are allowed to who asks for it.
        "set default_transaction_read_only = off".to_owned(),
        format!("do $$ begin execute format('alter database %I {setting}', current_database()); end $$"),
        "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid()"
            .to_owned(),
    ] {
        connection.batch_execute(&statement).await.unwrap();
    }
}

async fn until_ready_is(server: &Running, status: u16) {
    eventually(LONG, || async { server.get("", "/health/ready").await.is_some_and(|got| got.0 == status) })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_takes_no_writes_is_not_ready_and_no_defect() {
    let database = TestDatabase::create().await;
    let server = Running::start("server", &database, &[NO_LIMIT]).await;
    let token = server.register("alice").await;
    // Read only; and no room for files, as on a full disk.
    for (setting, back) in [
        ("set default_transaction_read_only = on", "reset default_transaction_read_only"),
        ("set temp_file_limit = 0", "reset temp_file_limit"),
    ] {
        set(&database, setting).await;
        until_ready_is(&server, 503).await;
        if setting.contains("read_only") {
            let task = json!({ "task_type": "noop" });
            let (status, body) = server.post(&token, "/api/v1/tasks", task).await;
            assert_eq!((status, &body["code"]), (503, &json!("unavailable")), "{body}");
        }
        set(&database, back).await;
        until_ready_is(&server, 200).await;
        // Connections that were ended are replaced one by one, as requests meet them.
        let accepted = async || {
            let (status, body) = server.post(&token, "/api/v1/tasks", json!({ "task_type": "noop" })).await;
            assert!(status == 201 || body["code"] == "unavailable", "{body}");
            status == 201
        };
        eventually(LONG, accepted).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_database_that_is_serializable_by_default_nobody_is_turned_away() {
    let database = TestDatabase::create().await;
    for level in ["serializable", "repeatable read"] {
        set(&database, &format!("set default_transaction_isolation = ''{level}''")).await;
        let settings = [NO_LIMIT, ("STARTER__RATE_LIMIT__AUTH_PER_MINUTE", "0")];
        let server = Running::start("standalone", &database, &settings).await;
        let name = format!("alice-{}", &level[..4]);
        let token = server.register(&name).await;
        let enqueued = join_all((0..200).map(|_| server.enqueue(&token, json!({})))).await;
        assert_eq!(enqueued.len(), 200);
        join_all((0..20).map(|_| server.log_in(&name))).await;
    }
}

/// A file system of so many MB, if this process may mount one.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let place = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir()
            .unwrap();
        let options = format!("size={size},mode=0755");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(place.path()).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then(|| Self(place))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _left = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Fills the disk, but for what a file system keeps back.
fn fill(disk: &Path) -> std::path::PathBuf {
    let ballast = disk.join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    let block = [0; 4_096];
    while std::io::Write::write_all(&mut file, &block).is_ok() {}
    ballast
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_unavailable_and_not_ready_until_there_is_room() {
    let Some(disk) = SmallDisk::mount("170m") else {
        eprintln!("skipped: only root may mount a small file system");
        return;
    };
    let cluster = Cluster::start_with(&disk.0.path().join("postgres"), &[("fsync", "off")]).unwrap();
    let url = cluster.url().to_owned();
    let settings = [NO_LIMIT, ("STARTER__DATABASE__AUTO_MIGRATE", "true")];
    let server = Running::spawn("server", &url, &settings);
    server.until_ready().await;
    let token = server.register("alice").await;
    server.enqueue(&token, json!({})).await;

    let ballast = fill(disk.0.path());
    assert!(fs::metadata(&ballast).unwrap().size() > 0);
    until_ready_is(&server, 503).await;
    let mut refused = 0;
    while refused < 20 {
        // What fits into what was there already is taken.
        let tasks: Vec<_> = (0..500).map(|_| json!({ "task_type": "noop" })).collect();
        let (status, body) = server.post(&token, "/api/v1/tasks/batch", json!({ "tasks": tasks })).await;
        assert!(status == 201 || (status == 503 && body["code"] == "unavailable"), "{status} {body}");
        refused += usize::from(status == 503);
    }

    fs::remove_file(ballast).unwrap();
    until_ready_is(&server, 200).await;
    server.enqueue(&token, json!({})).await;
    drop(server);
    cluster.stop().unwrap();
}
