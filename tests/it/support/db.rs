//! A database for each test.
//!
//! All test processes share one private cluster in `target/tmp` (an embedded one, with `fsync` off for
//! speed; its data is thrown away anyway). A test's database is a copy of a template that is migrated once for
//! each state of `migrations/`. The first test that needs the cluster starts it, and starts the reaper: this
//! same binary, running [`reaper_of_the_test_cluster`] in the background, which stops the cluster once it has
//! not been used for some seconds. Nothing is left running, however the tests end.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use diesel::{QueryableByName, sql_types::Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use secrecy::SecretString;
use serde_json::Value;
use sha2::{Digest, Sha256};
use starter::db::{
    Limits, Pool, Session, Target,
    embedded::{self, Cluster},
    migrate,
};

/// Longer than the longest pause between two tests of a run.
const QUIET: Duration = Duration::from_secs(10);
/// Advisory lock on the making of the template.
const TEMPLATE_LOCK: i64 = 7_361;

static CLUSTER: OnceLock<Cluster> = OnceLock::new();
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A database of its own for one test, dropped with this value.
#[derive(Debug)]
pub(crate) struct TestDatabase {
    name: String,
}

impl TestDatabase {
    /// One with all migrations run.
    pub(crate) async fn create() -> Self {
        Self::copy_of(&template().await).await
    }

    /// One without any table.
    pub(crate) async fn empty() -> Self {
        Self::copy_of("template0").await
    }

    async fn copy_of(template: &str) -> Self {
        let name = format!("test_{}_{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut admin = admin().await;
        let statement = format!("CREATE DATABASE {name} TEMPLATE {template}");
        admin.batch_execute(&statement).await.expect("create the test's database");
        Self { name }
    }

    /// For `STARTER__DATABASE__URL`.
    pub(crate) fn url(&self) -> String {
        url(&self.name)
    }

    /// For the functions in `db`.
    pub(crate) fn target(&self) -> Target {
        target(&self.name)
    }

    /// A pool of the usual size, and patient: tests run on busy machines.
    pub(crate) async fn pool(&self) -> Pool {
        let limits = Limits { connect_timeout: Duration::from_secs(30), ..Limits::default() };
        starter::db::connect(&self.target(), limits).await.expect("the test's database")
    }

    /// A connection outside of any pool.
    pub(crate) async fn connection(&self) -> AsyncPgConnection {
        dial(&self.name).await
    }

    /// Runs statements, as an administrator with psql would.
    pub(crate) async fn sql(&self, statements: &str) {
        self.connection().await.batch_execute(statements).await.expect("the statements of the test");
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let name = self.name.clone();
        // A thread of its own, since this may run inside of any runtime. Errors are for the sweep.
        let dropped = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(drop_database(&name));
        });
        let _ = dropped.join();
    }
}

async fn drop_database(name: &str) {
    let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
    if let Err(error) = admin().await.batch_execute(&statement).await {
        eprintln!("{name} is left behind: {error}");
    }
}

/// The cluster's directory.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("postgres")
}

/// The shared cluster, running. Held to the end of this process, and never stopped by it.
pub(crate) fn cluster() -> &'static Cluster {
    let cluster = CLUSTER.get_or_init(|| {
        super::raise_descriptor_limit();
        fs::create_dir_all(directory().parent().expect("a parent")).expect("target/tmp");
        let settings = [
            ("fsync", "off"),
            ("synchronous_commit", "off"),
            ("full_page_writes", "off"),
            ("max_connections", "400"),
        ];
        let cluster = Cluster::start_with(&directory(), &settings).expect("a cluster for the tests");
        start_reaper();
        cluster
    });
    File::create(directory().join("last_use")).expect("the cluster's directory");
    cluster
}

fn url(database: &str) -> String {
    let (place, _) = cluster().url().rsplit_once('/').expect("a URL");
    format!("{place}/{database}")
}

fn target(database: &str) -> Target {
    Target::parse(&SecretString::from(url(database))).expect("the URL of a test database")
}

async fn dial(database: &str) -> AsyncPgConnection {
    let session = Session { connect_timeout: Duration::from_secs(30), statement_timeout: None, scans: true };
    target(database).dial(session).await.expect("the cluster of the tests")
}

async fn admin() -> AsyncPgConnection {
    tokio::task::spawn_blocking(cluster).await.expect("a cluster for the tests");
    dial("postgres").await
}

/// The name of a database with the migrations of now; made when there is none.
async fn template() -> String {
    static KNOWN: OnceLock<String> = OnceLock::new();
    if let Some(name) = KNOWN.get() {
        return name.clone();
    }
    let name = format!("template_{}", migrations_hash());
    let mut admin = admin().await;
    admin.batch_execute(&format!("SELECT pg_advisory_lock({TEMPLATE_LOCK})")).await.expect("the lock");
    let databases = databases(&mut admin).await;
    if !databases.contains(&name) {
        make_template(&mut admin, &name).await;
    }
    sweep(&mut admin, &databases, &name).await;
    KNOWN.get_or_init(|| name).clone()
}

async fn make_template(admin: &mut AsyncPgConnection, name: &str) {
    let new = format!("{name}_new");
    for statement in [
        format!("DROP DATABASE IF EXISTS {new} WITH (FORCE)"),
        format!("CREATE DATABASE {new} TEMPLATE template0"),
    ] {
        admin.batch_execute(&statement).await.expect("a new template");
    }
    migrate::run(&target(&new)).await.expect("the migrations run");
    // Nobody connects to it from now on, vacuum included: that would stand in the way of copying.
    for statement in [
        format!("ALTER DATABASE {new} ALLOW_CONNECTIONS false"),
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{new}'"),
        format!("ALTER DATABASE {new} RENAME TO {name}"),
    ] {
        admin.batch_execute(&statement).await.expect("the template");
    }
}

/// Drops what killed tests and former migrations left behind.
async fn sweep(admin: &mut AsyncPgConnection, databases: &[String], template: &str) {
    for name in databases {
        let orphan = name.strip_prefix("test_").and_then(|rest| rest.split('_').next()).is_some_and(is_dead);
        if orphan || (name.starts_with("template_") && name != template) {
            // Another process may be sweeping too.
            let _ = admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
        }
    }
}

fn is_dead(pid: &str) -> bool {
    let pid = pid.parse().ok().and_then(rustix::process::Pid::from_raw);
    pid.is_none_or(|pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}

async fn databases(admin: &mut AsyncPgConnection) -> Vec<String> {
    diesel::table! { pg_database (datname) { datname -> Text, } }
    let query = diesel::QueryDsl::select(pg_database::table, pg_database::datname);
    query.load(admin).await.expect("the names of the databases")
}

fn migrations_hash() -> String {
    let mut files = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    for folder in fs::read_dir(root).expect("migrations").flatten().filter(|entry| entry.path().is_dir()) {
        files.extend(fs::read_dir(folder.path()).expect("a migration").flatten().map(|entry| entry.path()));
    }
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        hash.update(file.as_os_str().as_encoded_bytes());
        hash.update(fs::read(file).expect("a migration's file"));
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn start_reaper() {
    if reaper_lock().try_lock().is_err() {
        return;
    }
    let arguments = ["--exact", "support::db::reaper_of_the_test_cluster", "--ignored"];
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(arguments).process_group(0).env_remove("NEXTEST_EXECUTION_MODE");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut reaper = command.spawn().expect("the reaper");
    // Usually it outlives this process; should it not, somebody has to collect it.
    thread::spawn(move || reaper.wait());
}

fn reaper_lock() -> File {
    File::create(directory().join("reaper.lock")).expect("the cluster's directory")
}

#[test]
#[ignore = "run by the tests themselves, in the background"]
fn reaper_of_the_test_cluster() {
    let only_one = reaper_lock();
    if only_one.try_lock().is_err() {
        return;
    }
    loop {
        thread::sleep(Duration::from_secs(1));
        let last_use = fs::metadata(directory().join("last_use")).and_then(|m| m.modified());
        let quiet = last_use.map_or(QUIET, |then| SystemTime::now().duration_since(then).unwrap_or_default());
        if quiet >= QUIET && embedded::stop_unused(&directory()).unwrap_or(true) {
            return;
        }
    }
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    json: String,
}

/// What a query finds, as JSON objects.
pub(crate) async fn rows(connection: &mut AsyncPgConnection, query: &str) -> Vec<Value> {
    let query = format!("select to_jsonb(rows)::text as json from ({query}) as rows");
    let rows: Vec<Row> = diesel::sql_query(query).load(connection).await.unwrap();
    rows.into_iter().map(|row| serde_json::from_str(&row.json).unwrap()).collect()
}

/// The one number that `select …` finds.
pub(crate) async fn number(connection: &mut AsyncPgConnection, select: &str) -> i64 {
    let found = rows(connection, &format!("select ({select})::int8 as n")).await;
    found[0]["n"].as_i64().unwrap()
}
