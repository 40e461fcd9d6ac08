//! The embedded database: real servers, started, shared, killed and taken over.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use diesel_async::SimpleAsyncConnection;
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};
use starter::db::{
    Session, Target,
    embedded::{Cluster, stop_unused},
};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(60);

/// A directory that the server's account can reach, also when these tests run as root.
/// A place for a cluster, where also the account that runs PostgreSQL may go.
pub(crate) fn directory() -> (TempDir, PathBuf) {
    let parent = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    let directory = parent.path().join("postgres");
    (parent, directory)
}

fn sql(url: &str, statements: &str) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let session = Session { connect_timeout: LONG, statement_timeout: None, scans: true };
        let target = Target::parse(&url.into()).unwrap();
        let mut connection = target.dial(session).await.map_err(|error| error.to_string())?;
        connection.batch_execute(statements).await.map_err(|error| error.to_string())
    })
}

fn server(directory: &Path) -> Option<Pid> {
    let file = fs::read_to_string(directory.join("data/postmaster.pid")).ok()?;
    Pid::from_raw(file.lines().next()?.parse().ok()?)
}

fn runs(pid: Pid) -> bool {
    // A zombie is no server any more.
    test_kill_process(pid).is_ok()
        && !fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).is_ok_and(|c| c.is_empty())
}

fn wait_until(condition: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end, "still not so after {LONG:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// This test binary again, using the cluster until its standard input ends; see [`another_process`].
struct Other {
    child: Child,
    pid: Pid,
}

impl Other {
    fn start(directory: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "embedded::another_process", "--ignored", "--nocapture"]);
        command.env("TEST_CLUSTER", directory).process_group(0);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let said = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let ready = said.map_while(Result::ok).any(|line| line.contains("ready"));
        assert!(ready, "the other process ended");
        let pid = Pid::from_child(&child);
        Self { child, pid }
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }

    fn kill(mut self) {
        kill_process(self.pid, Signal::KILL).unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
#[ignore = "run by the other tests here, as a process of its own"]
fn another_process() {
    let Some(directory) = std::env::var_os("TEST_CLUSTER") else { return };
    let cluster = Cluster::start(Path::new(&directory)).unwrap();
    println!("ready");
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().lock().read_line(&mut String::new());
    cluster.stop().unwrap();
}

#[test]
fn data_survives_a_stop_and_the_server_does_not() {
    let (_parent, directory) = directory();
    let cluster = Cluster::start(&directory).unwrap();
    sql(cluster.url(), "CREATE TABLE t (n int); INSERT INTO t VALUES (1)").unwrap();
    let pid = server(&directory).unwrap();
    cluster.stop().unwrap();
    assert!(!runs(pid) && server(&directory).is_none());
    cluster.stop().unwrap();

    let cluster = Cluster::start(&directory).unwrap();
    sql(cluster.url(), "DO $$ BEGIN ASSERT (SELECT count(*) FROM t) = 1; END $$").unwrap();
    let pid = server(&directory).unwrap();
    drop(cluster);
    assert!(!runs(pid));
}

#[test]
fn it_is_durable_private_and_listens_to_no_network() {
    let (_parent, directory) = directory();
    let cluster = Cluster::start(&directory).unwrap();
    for (name, value) in [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("listen_addresses", ""),
        ("unix_socket_permissions", "0700"),
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
        ("max_connections", "200"),
    ] {
        let statement = format!(
            "DO $$ BEGIN ASSERT current_setting('{name}') = '{value}', current_setting('{name}'); END $$"
        );
        sql(cluster.url(), &statement).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for private in [directory.clone(), directory.join("run"), directory.join("data")] {
        assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o700, "{private:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_server_never_runs_as_root() {
    use std::os::unix::fs::MetadataExt;
    let (_parent, directory) = directory();
    let _cluster = Cluster::start(&directory).unwrap();
    let pid = server(&directory).unwrap().as_raw_nonzero();
    let owner = fs::metadata(format!("/proc/{pid}")).unwrap().uid();
    assert_ne!(owner, 0);
    assert_eq!(owner, fs::metadata(directory.join("data")).unwrap().uid());
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
    assert!(!groups.split_whitespace().any(|group| group == "0"), "root's groups: {groups}");
}

#[test]
fn processes_share_one_server_and_the_last_one_out_stops_it() {
    let (_parent, directory) = directory();
    let other = Other::start(&directory);
    let pid = server(&directory).unwrap();
    let cluster = Cluster::start(&directory).unwrap();
    assert_eq!(server(&directory), Some(pid));
    other.end();
    assert!(runs(pid), "pulled from under a process that uses it");
    sql(cluster.url(), "SELECT 1").unwrap();
    let another = Other::start(&directory);
    cluster.stop().unwrap();
    assert!(runs(pid));
    another.end();
    wait_until(|| !runs(pid));
}

#[test]
fn processes_that_start_at_once_make_one_cluster() {
    let (_parent, directory) = directory();
    let urls: Vec<_> = thread::scope(|scope| {
        let starts: Vec<_> = (0..3).map(|_| scope.spawn(|| Other::start(&directory))).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    let pid = server(&directory).unwrap();
    urls.into_iter().for_each(Other::end);
    wait_until(|| !runs(pid));
}

#[test]
fn a_server_left_behind_by_a_killed_process_is_taken_over() {
    let (_parent, directory) = directory();
    let other = Other::start(&directory);
    let pid = server(&directory).unwrap();
    other.kill();
    assert!(runs(pid));
    let cluster = Cluster::start(&directory).unwrap();
    assert_eq!(server(&directory), Some(pid));
    sql(cluster.url(), "SELECT 1").unwrap();
    cluster.stop().unwrap();
    assert!(!runs(pid));
}

#[test]
fn a_server_left_behind_can_be_stopped() {
    let (_parent, directory) = directory();
    let other = Other::start(&directory);
    let pid = server(&directory).unwrap();
    assert!(!stop_unused(&directory).unwrap() && runs(pid));
    other.kill();
    assert!(stop_unused(&directory).unwrap() && !runs(pid));
    assert!(stop_unused(&directory).unwrap());
}

#[test]
fn a_killed_server_is_started_again_with_everything_committed() {
    let (_parent, directory) = directory();
    let other = Other::start(&directory);
    let pid = server(&directory).unwrap();
    let url = format!("postgresql://starter@{}/starter", percent(&directory.join("run")));
    sql(&url, "CREATE TABLE t (n int); INSERT INTO t SELECT generate_series(1, 1000)").unwrap();
    other.kill();
    kill_process(pid, Signal::KILL).unwrap();
    wait_until(|| !runs(pid));
    assert!(directory.join("data/postmaster.pid").exists());

    let cluster = Cluster::start(&directory).unwrap();
    sql(cluster.url(), "DO $$ BEGIN ASSERT (SELECT count(*) FROM t) = 1000; END $$").unwrap();
}

#[test]
fn a_server_that_dies_under_its_users_is_started_again_by_one_of_them() {
    let (_parent, directory) = directory();
    let other = Other::start(&directory);
    let cluster = Cluster::start(&directory).unwrap();
    sql(cluster.url(), "CREATE TABLE t (n int); INSERT INTO t VALUES (1)").unwrap();
    for _ in 0..2 {
        let pid = server(&directory).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        wait_until(|| !runs(pid) && server(&directory).is_some_and(|new| new != pid));
        wait_until(|| sql(cluster.url(), "SELECT n FROM t").is_ok());
    }
    let pid = server(&directory).unwrap();
    other.end();
    cluster.stop().unwrap();
    assert!(!runs(pid));
}

#[test]
fn a_pid_file_whose_number_now_belongs_to_another_process_does_not_stop_the_start() {
    let (_parent, directory) = directory();
    Cluster::start(&directory).unwrap().stop().unwrap();
    // Run by the owner of the data, for whom PostgreSQL is most afraid.
    let owner =
        fs::metadata(directory.join("data")).map(|m| std::os::unix::fs::MetadataExt::uid(&m)).unwrap();
    let mut bystander = Command::new("sleep").arg("600").uid(owner).spawn().unwrap();
    let file = directory.join("data/postmaster.pid");
    let text = format!("{}\n{}\n1\n5432\n/nowhere\n\n  1 1\nready   \n", bystander.id(), directory.display());
    fs::write(&file, text).unwrap();
    std::os::unix::fs::chown(&file, Some(owner), None).unwrap();
    let cluster = Cluster::start(&directory);
    let lives = bystander.try_wait().unwrap().is_none();
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    sql(cluster.unwrap().url(), "SELECT 1").unwrap();
    assert!(lives);
}

#[test]
fn half_a_cluster_is_thrown_away_and_made_anew() {
    let (_parent, directory) = directory();
    fs::create_dir(&directory).unwrap();
    fs::create_dir(directory.join("data.new-1")).unwrap();
    fs::write(directory.join("data.new-1/PG_VERSION"), "15\n").unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    let cluster = Cluster::start(&directory).unwrap();
    sql(cluster.url(), "SELECT 1").unwrap();
    assert!(!directory.join("data.new-1").exists());
}

#[test]
fn ctrl_c_in_a_terminal_does_not_reach_the_server_before_the_program() {
    let (_parent, directory) = directory();
    let other = Other::start(&directory);
    let pid = server(&directory).unwrap();
    // As a terminal does: to the whole group of the program.
    kill_process_group(other.pid, Signal::INT).unwrap();
    let cluster = Cluster::start(&directory).unwrap();
    assert_eq!(server(&directory), Some(pid));
    sql(cluster.url(), "SELECT 1").unwrap();
    other.kill();
}

#[test]
fn a_long_path_gets_a_short_socket() {
    let (_parent, directory) = directory();
    let deep = directory.join("d".repeat(60)).join("e".repeat(60));
    fs::create_dir_all(deep.parent().unwrap()).unwrap();
    let cluster = Cluster::start(&deep).unwrap();
    sql(cluster.url(), "SELECT 1").unwrap();
    let socket = fs::read_to_string(deep.join("data/postmaster.pid")).unwrap();
    let socket = PathBuf::from(socket.lines().nth(4).unwrap());
    assert!(socket.starts_with("/tmp"), "{socket:?}");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o700);
    let again = Cluster::start(&deep).unwrap();
    assert_eq!(again.url(), cluster.url());
    drop((again, cluster));
    fs::remove_dir_all(socket).unwrap();
}

#[test]
fn where_the_servers_account_cannot_go_a_link_leads_to_the_data() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // Mode 0700, as root's home has.
    let parent = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap();
    let directory = parent.path().join(".starter/postgres");
    let cluster = Cluster::start(&directory).unwrap();
    sql(cluster.url(), "CREATE TABLE t (n int)").unwrap();
    cluster.stop().unwrap();
    let target = fs::read_link(&directory).unwrap();
    assert!(target.starts_with("/var/lib/starter"), "{target:?}");
    let cluster = Cluster::start(&directory).unwrap();
    sql(cluster.url(), "SELECT n FROM t").unwrap();
    drop(cluster);
    fs::remove_dir_all(target).unwrap();
    // A link to nothing is a fresh start.
    drop(Cluster::start(&directory).unwrap());
    fs::remove_dir_all(fs::read_link(&directory).unwrap()).unwrap();
}

#[test]
fn data_of_a_version_that_is_not_installed_is_left_alone() {
    let (_parent, directory) = directory();
    fs::create_dir_all(directory.join("data")).unwrap();
    fs::write(directory.join("data/PG_VERSION"), "9\n").unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    let error = Cluster::start(&directory).unwrap_err().to_string();
    assert!(error.contains("PostgreSQL 9") && error.contains("postgresql-9"), "{error}");
}

#[test]
fn a_directory_that_is_none_is_named() {
    let (parent, _) = directory();
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Cluster::start(&file.join("postgres")).unwrap_err().to_string();
    assert!(error.contains("STARTER__DATABASE__EMBEDDED_DIR"), "{error}");
}

fn percent(path: &Path) -> String {
    path.to_str().unwrap().replace('/', "%2F")
}

#[test]
fn a_command_that_is_told_to_stop_leaves_no_server_behind() {
    let (parent, directory) = directory();
    let mut command = Command::new(env!("CARGO_BIN_EXE_starter"));
    command.args(["migrate", "run"]).current_dir(parent.path()).env_clear();
    command.env("PATH", "/usr/bin:/bin").env("STARTER__DATABASE__EMBEDDED_DIR", &directory);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // It is at work: it makes the cluster.
    wait_until(|| directory.join("start.lock").exists());
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
    assert!(said.contains("told to stop") && server(&directory).is_none(), "{said}");
}
