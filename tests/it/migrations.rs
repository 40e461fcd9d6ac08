//! Migrations go up, down and up again, and `src/db/schema.rs` is what they make.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use diesel_async::RunQueryDsl;
use starter::db::migrate;

use crate::{process::starter, support::db::TestDatabase};

#[tokio::test]
async fn migrations_go_up_down_and_up_again() {
    let database = TestDatabase::empty().await;
    let target = database.target();
    let all = migrate::run(&target).await.unwrap();
    assert!(all.len() >= 6 && all[1].ends_with("create_users"), "{all:?}");
    assert_eq!(migrate::pending(&target).await.unwrap(), Vec::<String>::new());

    let mut taken_back = Vec::new();
    while let Some(name) = migrate::revert(&target).await.unwrap() {
        taken_back.insert(0, name);
    }
    assert_eq!(taken_back, all);
    assert_eq!(migrate::pending(&target).await.unwrap(), all);

    assert_eq!(migrate::run(&target).await.unwrap(), all);
}

#[tokio::test]
async fn redo_runs_the_last_migration_again() {
    let database = TestDatabase::create().await;
    let status = migrate::status(&database.target()).await.unwrap();
    assert!(status.iter().all(|migration| migration.applied));
    let again = migrate::redo(&database.target()).await.unwrap();
    assert_eq!(again.as_ref(), status.last().map(|migration| &migration.name));
    assert_eq!(migrate::pending(&database.target()).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn of_processes_that_start_at_once_one_migrates_and_the_others_wait() {
    let database = TestDatabase::empty().await;
    let target = database.target();
    let runs = futures_util::future::join_all((0..4).map(|_| migrate::run(&target))).await;
    let counts: BTreeSet<usize> = runs.into_iter().map(|run| run.unwrap().len()).collect();
    let all = migrate::status(&target).await.unwrap();
    assert_eq!(counts, BTreeSet::from([0, all.len()]));
}

#[tokio::test]
async fn schema_rs_has_the_tables_and_columns_that_the_migrations_make() {
    diesel::table! {
        information_schema.columns (table_name) {
            table_schema -> Text,
            table_name -> Text,
            column_name -> Text,
            udt_name -> Text,
            #[sql_name = "is_nullable"]
            nullable -> Text,
        }
    }
    use diesel::{ExpressionMethods, QueryDsl};

    let database = TestDatabase::create().await;
    let query = columns::table
        .filter(columns::table_schema.eq("public"))
        .filter(columns::table_name.ne("__diesel_schema_migrations"))
        .select((columns::table_name, columns::column_name, columns::udt_name, columns::nullable));
    let found: Vec<(String, String, String, String)> =
        query.load(&mut database.connection().await).await.unwrap();
    let found = found.into_iter().map(|(table, column, udt, nullable)| {
        let capital = |name: &str| name[..1].to_uppercase() + &name[1..];
        let kind = match udt.strip_prefix('_') {
            Some(element) => format!("Array<Nullable<{}>>", capital(element)),
            None => capital(&udt),
        };
        let kind = if nullable == "YES" { format!("Nullable<{kind}>") } else { kind };
        format!("{table}.{column} -> {kind}")
    });
    let (found, written) = (found.collect::<BTreeSet<_>>(), written());
    let differing: Vec<_> = written.symmetric_difference(&found).collect();
    assert!(differing.is_empty(), "run again with UPDATE_SCHEMA=1: {differing:?}");
}

/// The columns of `src/db/schema.rs`.
fn written() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("src/db/schema.rs")).unwrap();
    let mut table = "";
    let mut columns = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        match line.split_once(" -> ") {
            Some((column, kind)) if line.ends_with(',') => {
                columns.insert(format!("{table}.{column} -> {}", kind.trim_end_matches(',')));
            }
            _ if line.ends_with(") {") => table = line.split(' ').next().unwrap(),
            _ => {}
        }
    }
    columns
}

/// `scripts/test` installs the CLI; by hand: `cargo install diesel_cli --no-default-features --features postgres`.
/// With `UPDATE_SCHEMA=1` in the environment, what it prints is written to the file.
#[tokio::test]
async fn schema_rs_is_what_the_diesel_cli_prints_where_it_is_installed() {
    let cached = root().join(".cache/diesel_cli/bin/diesel");
    let diesel = if cached.exists() { cached.as_path() } else { Path::new("diesel") };
    let database = TestDatabase::create().await;
    let mut command = Command::new(diesel);
    command.args(["print-schema", "--database-url", &database.url()]).current_dir(root());
    let Ok(printed) = command.output() else { return };
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let (file, printed) = (root().join("src/db/schema.rs"), String::from_utf8(printed.stdout).unwrap());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(&file, &printed).unwrap();
    }
    let schema = fs::read_to_string(&file).unwrap();
    let differing = schema.lines().zip(printed.lines()).find(|(ours, theirs)| ours != theirs);
    assert!(schema == printed, "run again with UPDATE_SCHEMA=1; first difference: {differing:?}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_command_runs_takes_back_repeats_and_lists_migrations() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(TestDatabase::empty());
    let migrate = |arguments: &[&str]| {
        let ran = starter(arguments).env("STARTER__DATABASE__URL", database.url()).run();
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        ran.stdout
    };
    assert!(migrate(&["migrate", "status"]).contains("pending"));
    let run = migrate(&["migrate", "run", "--json"]);
    let run: Vec<serde_json::Value> = serde_json::from_str(&run).unwrap();
    assert!(run.len() >= 6 && run.iter().all(|row| row["state"] == "run"), "{run:?}");
    assert_eq!(migrate(&["migrate", "run", "--json"]).trim(), "[]");
    let last = run.last().unwrap()["migration"].as_str().unwrap();
    assert!(migrate(&["migrate", "redo"]).contains(last));
    assert!(migrate(&["migrate", "revert"]).contains(last));
    let status: Vec<serde_json::Value> =
        serde_json::from_str(&migrate(&["migrate", "status", "--json"])).unwrap();
    let pending: Vec<_> = status.iter().filter(|row| row["state"] == "pending").collect();
    assert!(pending.len() == 1 && pending[0]["migration"] == last, "{status:?}");
}

#[test]
fn without_the_database_the_command_says_which_one_it_missed() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("postgres://user:hunter2@{nobody}/name");
    let ran = starter(&["migrate", "status"]).env("STARTER__DATABASE__URL", url).run();
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains(&nobody.to_string()) && !ran.stderr.contains("hunter2"), "{ran:?}");
}
