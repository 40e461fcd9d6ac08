//! What the tools of others make of the OpenAPI document: a validator, two generators of clients, and schemathesis.
//!
//! `scripts/foreign-tools` installs them, pinned by `tests/foreign`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use starter::http::openapi;
use tempfile::TempDir;

use crate::{e2e::Running, support::db::TestDatabase};

/// Where `scripts/foreign-tools` installs, if it did.
fn installed(path: &str) -> PathBuf {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/foreign").join(path);
    assert!(place.exists(), "{} is not there: run scripts/foreign-tools", place.display());
    place
}

fn python(program: &str) -> Command {
    Command::new(installed("venv/bin").join(program))
}

/// An empty folder but for the document, and what these files of `tests/foreign` are copied to.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("openapi.json"), openapi::document()).unwrap();
    for (from, to) in files {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign").join(from);
        fs::copy(from, folder.path().join(to)).unwrap();
    }
    folder
}

/// Runs a command in that folder to its end, and shows what it wrote if it failed.
async fn succeeds(mut command: Command, folder: &Path) -> String {
    command.current_dir(folder).stdin(Stdio::null()).env("NO_COLOR", "1");
    let shown = format!("{command:?}");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text =
        format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{shown}: {}\n{text}", output.status);
    text
}

/// A server, asked by tools that do not wait.
async fn server(database: &TestDatabase) -> Running {
    let unlimited = [("STARTER__RATE_LIMIT__PER_SECOND", "0"), ("STARTER__RATE_LIMIT__AUTH_PER_MINUTE", "0")];
    Running::start("server", database, &unlimited).await
}

#[tokio::test]
async fn the_openapi_document_is_valid() {
    let folder = folder(&[]);
    let mut command = python("openapi-spec-validator");
    command.arg("openapi.json");
    succeeds(command, folder.path()).await;
}

#[tokio::test]
async fn a_python_client_is_made_of_the_document_and_works() {
    let folder = folder(&[("client.py", "client.py")]);
    let mut generate = python("openapi-python-client");
    generate.args(["generate", "--path", "openapi.json", "--meta", "none", "--output-path", "client"]);
    // It calls formatters by their names.
    let path = std::env::var("PATH").unwrap_or_default();
    generate.env("PATH", format!("{}:{path}", installed("venv/bin").display()));
    let told = succeeds(generate, folder.path()).await.to_lowercase();
    assert!(!told.contains("warning") && !told.contains("unable"), "{told}");

    let database = TestDatabase::create().await;
    let server = server(&database).await;
    let token = server.register("alice").await;
    let mut client = python("python");
    client.args(["client.py", &server.url().unwrap(), &token]);
    succeeds(client, folder.path()).await;
}

#[tokio::test]
async fn a_typescript_client_is_made_of_the_document_and_works() {
    let folder = folder(&[("client.ts", "client.ts"), ("client.tsconfig.json", "tsconfig.json")]);
    let modules = installed("node/node_modules");
    std::os::unix::fs::symlink(&modules, folder.path().join("node_modules")).unwrap();
    fs::write(folder.path().join("package.json"), r#"{"type": "module"}"#).unwrap();
    let mut generate = Command::new(modules.join(".bin/openapi-typescript"));
    generate.args(["openapi.json", "-o", "api.d.ts"]);
    succeeds(generate, folder.path()).await;
    succeeds(Command::new(modules.join(".bin/tsc")), folder.path()).await;

    let database = TestDatabase::create().await;
    let server = server(&database).await;
    let token = server.register("alice").await;
    let mut client = Command::new("node");
    client.args(["client.js", &server.url().unwrap(), &token]);
    succeeds(client, folder.path()).await;
}

/// Operations that end the session by which the others are asked.
const ENDING: [&str; 5] =
    ["auth_logout", "auth_logout_all", "auth_refresh", "auth_close", "users_close_sessions"];
/// Operations that end it when they meet the caller: schemathesis takes ids out of the answers that it has got.
const DEPARTING: [&str; 2] = ["users_update", "users_delete"];
/// A stream without an end.
const ENDLESS: &str = "tasks_events";

/// Asks for so many seconds about the operations that `choice` selects.
async fn schemathesis(server: &Running, token: &str, seconds: &str, choice: Vec<[&str; 2]>) {
    let folder = folder(&[]);
    let mut command = python("schemathesis");
    command.args(["run", "openapi.json", "--url", &server.url().unwrap()]);
    command.args(["--header", &format!("Authorization: Bearer {token}")]);
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                  response_schema_conformance";
    command.args(["--checks", checks, "--phases", "examples,coverage,fuzzing", "--max-time", seconds]);
    command.args(["--max-examples", "10", "--seed", "1", "--no-shrink", "--workers", "1"]);
    command.args(["--generation-database", "none", "--request-timeout", "30"]);
    command.args(choice.into_iter().flatten());
    succeeds(command, folder.path()).await;
}

/// Asks about all operations, those last that may end the session.
async fn ask_everything(server: &Running, token: &str) {
    let apart = ENDING.into_iter().chain(DEPARTING).chain([ENDLESS]);
    let others = apart.map(|operation| ["--exclude-operation-id", operation]).collect();
    schemathesis(server, token, "40", others).await;
    let (status, me): (u16, Value) = server.get(token, "/api/v1/auth/me").await.unwrap();
    assert_eq!(status, 200, "the session ended on the way, so that little was asked: {me}");

    let departing = DEPARTING.map(|operation| ["--include-operation-id", operation]).to_vec();
    schemathesis(server, token, "10", departing).await;
}

#[tokio::test]
async fn schemathesis_finds_nothing_as_a_user() {
    let database = TestDatabase::create().await;
    let server = server(&database).await;
    let token = server.register("alice").await;
    ask_everything(&server, &token).await;
}

#[tokio::test]
async fn schemathesis_finds_nothing_as_an_admin() {
    let database = TestDatabase::create().await;
    let server = server(&database).await;
    let token = server.log_in("root-of-all").await;
    ask_everything(&server, &token).await;
}
