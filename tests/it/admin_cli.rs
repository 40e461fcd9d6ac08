//! `starter admin`: the real binary on a real database.

use serde_json::Value;

use crate::{
    process::{Ran, starter},
    support::db::TestDatabase,
};

const PASSWORD: &str = "correct horse battery stap";
const OTHER: &str = "another long passphrase 42";

/// Runs `starter admin ARGUMENTS…` with `input` as its standard input.
async fn admin(database: &TestDatabase, arguments: &[&str], input: &str) -> Ran {
    let arguments: Vec<String> =
        std::iter::once("admin").chain(arguments.iter().copied()).map(str::to_owned).collect();
    let (url, input) = (database.url(), input.to_owned());
    let run = move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        starter(&arguments)
            .env("STARTER__DATABASE__URL", url)
            .env("STARTER__AUTH__ARGON2_MEMORY_KIB", "64")
            .env("RUST_LOG", "error")
            .input(&input)
            .run()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

async fn json(database: &TestDatabase, arguments: &[&str], input: &str) -> Value {
    let ran = admin(database, &[arguments, &["--json"]].concat(), input).await;
    assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

async fn create(database: &TestDatabase, username: &str, role: &str) -> Value {
    let email = format!("{username}@example.com");
    let arguments =
        ["user", "create", "--username", username, "--email", &email, "--role", role, "--password-stdin"];
    json(database, &arguments, &format!("{PASSWORD}\n")).await
}

fn failed(ran: &Ran, code: i32, told: &str) {
    assert_eq!(ran.code, code, "{ran:?}");
    assert!(ran.stdout.is_empty() && ran.stderr.contains(told), "{ran:?}");
}

#[tokio::test]
async fn a_user_is_made_shown_changed_and_deleted() {
    let database = TestDatabase::create().await;
    let made = create(&database, "boss", "admin").await;
    assert_eq!((&made["role"], &made["is_active"]), (&"admin".into(), &true.into()));
    assert!(made.get("password_hash").is_none());
    create(&database, "bob", "user").await;
    for reference in ["bob", "BOB@example.com"] {
        assert_eq!(json(&database, &["user", "show", reference], "").await["username"], "bob");
    }
    assert_eq!(json(&database, &["user", "set-role", "bob", "admin"], "").await["role"], "admin");
    assert_eq!(json(&database, &["user", "deactivate", "bob"], "").await["is_active"], false);
    assert_eq!(json(&database, &["user", "activate", "bob"], "").await["is_active"], true);
    let listed = json(&database, &["user", "list", "--role", "admin", "--search", "BO"], "").await;
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(listed[0]["username"], "bob", "newest first");
    json(&database, &["user", "delete", "bob", "--yes"], "").await;
    failed(&admin(&database, &["user", "show", "bob"], "").await, 1, "there is no user bob");
    let table = admin(&database, &["user", "list"], "").await;
    assert!(table.stdout.starts_with("ID ") && table.stdout.contains("boss@example.com"), "{table:?}");
}

#[tokio::test]
async fn mistakes_are_told_and_change_nothing() {
    let database = TestDatabase::create().await;
    create(&database, "boss", "admin").await;
    for (arguments, input, code, told) in [
        (
            &["user", "create", "--username", "x", "--email", "y", "--password-stdin"][..],
            "short\n",
            2,
            "--username",
        ),
        (
            &["user", "create", "--username", "BOSS", "--email", "b@example.com", "--password-stdin"],
            "correct horse battery stap\n",
            1,
            "already in use",
        ),
        (&["user", "create", "--username", "bob", "--email", "b@example.com"], "", 2, "--password-stdin"),
        (&["user", "set-role", "boss", "moderator"], "", 2, "either admin or user"),
        (&["user", "set-role", "boss", "user"], "", 1, "last active admin"),
        (&["user", "deactivate", "boss"], "", 1, "last active admin"),
        (&["user", "delete", "boss", "--yes"], "", 1, "last active admin"),
        (&["user", "delete", "boss"], "y\n", 2, "--yes"),
        (&["session", "revoke", "01920f3e-7b6c-7d3a-9c1e-0123456789ab"], "", 1, "no session"),
        (&["session", "revoke", "nonsense"], "", 2, "invalid"),
        (&["api-key", "show", "01920f3e-7b6c-7d3a-9c1e-0123456789ab"], "", 1, "no such key"),
        (
            &["api-key", "create", "boss", "--name", "k", "--permissions", "moon:land"],
            "",
            2,
            "/permissions/0",
        ),
        (&["user", "frobnicate"], "", 2, "unrecognized"),
    ] {
        failed(&admin(&database, arguments, input).await, code, told);
    }
    assert_eq!(json(&database, &["user", "list"], "").await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_new_password_ends_the_sessions_and_leaves_a_trace() {
    let database = TestDatabase::create().await;
    let bob = create(&database, "bob", "user").await;
    database
        .sql(
            "insert into sessions (id, user_id, token_hash, auth_version, idle_expires_at, expires_at)
             select gen_random_uuid(), id, sha256('x'), 0, now() + interval '1 day', now() + interval '1 day' from users",
        )
        .await;
    let sessions = json(&database, &["session", "list", "bob"], "").await;
    assert_eq!(sessions[0]["username"], "bob");
    assert!(sessions[0].get("token_hash").is_none());
    json(&database, &["user", "set-password", "bob", "--password-stdin"], &format!("{OTHER}\r\n")).await;
    assert_eq!(json(&database, &["session", "list"], "").await, serde_json::json!([]));
    failed(
        &admin(&database, &["user", "set-password", "bob", "--password-stdin"], "bob\n").await,
        2,
        "the password: at least 12 characters",
    );
    let entries = json(&database, &["audit", "list", "--target", bob["id"].as_str().unwrap()], "").await;
    let actions: Vec<_> =
        entries.as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["user.password.set", "user.create"]);
    assert!(entries.as_array().unwrap().iter().all(|entry| entry["actor_kind"] == "cli"));
    let table = admin(&database, &["audit", "list", "--action", "user."], "").await;
    assert_eq!(table.stdout.lines().count(), 3, "{table:?}");
}

#[tokio::test]
async fn sessions_are_ended_one_by_one_or_all_of_a_user() {
    let database = TestDatabase::create().await;
    for name in ["alice", "bob"] {
        create(&database, name, "user").await;
    }
    database
        .sql(
            "insert into sessions (id, user_id, token_hash, auth_version, idle_expires_at, expires_at)
             select gen_random_uuid(), u.id, sha256((u.username || n)::bytea), 0,
                 now() + interval '1 day', now() + interval '1 day'
             from users u, generate_series(1, 3) n",
        )
        .await;
    let all = json(&database, &["session", "list"], "").await;
    assert_eq!(all.as_array().unwrap().len(), 6);
    let one = all[0]["id"].as_str().unwrap();
    assert_eq!(json(&database, &["session", "revoke", one], "").await["revoked"], 1);
    assert_eq!(json(&database, &["session", "list"], "").await.as_array().unwrap().len(), 5);
    json(&database, &["session", "revoke-all", "alice"], "").await;
    let left = json(&database, &["session", "list"], "").await;
    assert!(left.as_array().unwrap().iter().all(|session| session["username"] == "bob"), "{left}");
    failed(&admin(&database, &["session", "revoke-all", "nobody"], "").await, 1, "no user");
}

#[tokio::test]
async fn a_key_is_shown_once_rotated_and_revoked() {
    let database = TestDatabase::create().await;
    create(&database, "bob", "user").await;
    let create_key = ["api-key", "create", "bob", "--name", "ci", "--permissions", "tasks:read,tasks:write"];
    let made = json(&database, &create_key, "").await;
    let (id, secret) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert!(secret.starts_with("key_") && secret.len() == 40);
    assert_eq!(made["permissions"], serde_json::json!(["tasks:read", "tasks:write"]));
    let shown = json(&database, &["api-key", "show", id], "").await;
    assert!(shown.get("key").is_none() && shown["key_prefix"] == secret[..12]);
    let rotated = json(&database, &["api-key", "rotate", id, "--grace-secs", "60"], "").await;
    assert!(rotated["id"] == id && rotated["key"] != secret);
    json(&database, &["api-key", "revoke", id], "").await;
    let listed = json(&database, &["api-key", "list", "bob"], "").await;
    assert!(listed[0]["revoked_at"].is_string());
    let too_much = ["api-key", "create", "bob", "--name", "k", "--permissions", "users:read"];
    failed(&admin(&database, &too_much, "").await, 1, "no more than the role");
    let table = admin(&database, &create_key, "").await;
    assert!(table.stdout.contains("shown this once:\nkey_"), "{table:?}");
    let entries = json(&database, &["audit", "list", "--action", "api_key."], "").await;
    assert!(!entries.to_string().contains("\"key_"), "{entries}");
    assert_eq!(entries.as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn a_database_without_its_tables_is_told_about() {
    let database = TestDatabase::empty().await;
    failed(&admin(&database, &["user", "list"], "").await, 1, "starter migrate run");
}

#[test]
fn every_level_has_help() {
    for arguments in [
        &["admin", "--help"][..],
        &["admin", "user", "--help"],
        &["admin", "user", "create", "--help"],
        &["admin", "session", "--help"],
        &["admin", "api-key", "rotate", "--help"],
        &["admin", "audit", "list", "--help"],
    ] {
        let ran = starter(arguments).run();
        assert!(ran.code == 0 && ran.stdout.contains("Usage: starter admin"), "{ran:?}");
        assert!(!ran.stdout.contains("--password "), "a password is never an argument");
    }
}
