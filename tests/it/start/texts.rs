//! What commands say, and where: nothing that was not asked for, and errors that say what to do.

use std::{
    fs,
    net::TcpListener,
    process::{Command, Stdio},
};

use serde_json::Value;
use starter::db::embedded::Cluster;

use super::{assert_failed, embedded};
use crate::{
    embedded::directory,
    process::{Ran, starter},
    support::db::TestDatabase,
};

#[test]
fn a_command_in_the_wrong_folder_says_so_and_makes_nothing() {
    for arguments in [&["admin", "user", "list"][..], &["migrate", "status"], &["migrate", "revert"]] {
        let command = starter(arguments).env("PATH", super::PATH);
        let folder = command.directory().to_owned();
        let look = || fs::read_dir(&folder).unwrap().count();
        assert_eq!(look(), 0);
        let kept = command.keep();
        assert_failed(&kept.0, "there is no database in .starter/postgres: run this where scripts/run runs");
        assert_eq!(look(), 0, "{arguments:?} made something");
    }
}

#[test]
fn a_command_prints_its_result_and_nothing_else() {
    let (_parent, directory) = directory();
    assert_eq!(embedded(&["migrate", "run"], &directory).run().code, 0);
    let _used_by_another = Cluster::start(&directory).unwrap();
    for arguments in [&["admin", "user", "list"][..], &["migrate", "status"], &["migrate", "run"]] {
        let ran = embedded(arguments, &directory).run();
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments:?}: {ran:?}");
    }
    let asked = embedded(&["admin", "--log-filter", "info", "user", "list"], &directory).run();
    assert!(asked.stderr.contains("embedded database"), "{asked:?}");
}

fn assert_json(ran: &Ran, code: i32, text: &str) {
    assert_eq!(ran.code, code, "{ran:?}");
    let lines: Vec<Value> = ran.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.last().unwrap();
    assert_eq!(last["level"], "error", "{ran:?}");
    assert!(last["message"].as_str().unwrap().contains(text) && last["timestamp"].is_string(), "{ran:?}");
}

#[test]
fn with_logs_in_json_every_error_is_json_too() {
    let json = |arguments: &[&str]| {
        embedded(arguments, "/dev/null/x".as_ref()).env("STARTER__TELEMETRY__LOG_FORMAT", "json")
    };
    for mode in ["standalone", "server", "worker"] {
        assert_json(&json(&[mode]).run(), 1, "/dev/null");
    }
    assert_json(&json(&["server"]).env("STARTER__SERVER__TYPO", "1").run(), 2, "STARTER__SERVER__TYPO");
    assert_json(&json(&["server", "--no-such-flag"]).run(), 2, "--no-such-flag");
    let by_flag = embedded(&["server", "--log-format", "json"], "/dev/null/x".as_ref());
    assert_json(&by_flag.run(), 1, "/dev/null");
    let by_flag = embedded(&["server", "--log-format=json", "--port", "x"], "/dev/null/x".as_ref());
    assert_json(&by_flag.run(), 2, "STARTER__SERVER__PORT");
    let by_file = embedded(&["worker"], "/dev/null/x".as_ref());
    fs::write(by_file.directory().join(".env"), "STARTER__TELEMETRY__LOG_FORMAT=json\n").unwrap();
    assert_json(&by_file.run(), 1, "/dev/null");
}

#[test]
fn a_port_in_use_is_told_with_how_to_take_another() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ran = starter(&["server", "--port", &port]).run();
    assert_failed(
        &ran,
        "is it running already? Another port: scripts/run --port 3001, or STARTER__SERVER__PORT",
    );
}

#[test]
fn the_address_of_a_server_is_refused_in_its_own_terms() {
    for url in ["localhost:3000", "ftp://localhost", "3000", "null"] {
        let ran = starter(&["health", "--url", url]).run();
        assert_eq!(ran.code, 2, "{ran:?}");
        assert_eq!(ran.stderr, format!("error: --url {url}: begin with http:// or https://\n"));
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ran = starter(&["health"]).env("STARTER__SERVER__PORT", port.to_string()).run();
    assert_eq!((ran.code, ran.stderr), (1, format!("error: nothing listens at http://127.0.0.1:{port}\n")));
}

#[test]
fn a_flag_that_would_do_nothing_is_refused() {
    let ran = starter(&["standalone", "--health-port", "3778"]).run();
    assert!(ran.code == 2 && ran.stderr.contains("--health-port"), "{ran:?}");
    assert!(starter(&["worker", "--help"]).run().stdout.contains("--health-port"));
}

#[test]
fn a_value_that_does_not_parse_is_told_in_words() {
    for (variable, value, wrong) in [
        ("STARTER__SERVER__PORT", "http", "not a whole number"),
        ("STARTER__SERVER__PORT", "70000", "too large"),
        ("STARTER__AUTH__CACHE", "maybe", "neither true nor false"),
        ("STARTER_PORT", "1", "unknown variable"),
        ("STARTER_SERVER__PORT", "1", "unknown variable"),
    ] {
        let ran = starter(&["config", "show"]).env(variable, value).run();
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.starts_with(&format!("error: {variable}: {wrong}; ")), "{ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_new_user_is_told_before_a_password_is_asked_for() {
    let url = TestDatabase::create().await;
    let arguments = ["admin", "user", "create", "--username", "x", "--email", "y"];
    let create = starter(&arguments).env("STARTER__DATABASE__URL", url.url());
    let ran = tokio::task::spawn_blocking(|| create.run()).await.unwrap();
    let lines: Vec<_> = ran.stderr.lines().collect();
    assert_eq!((ran.code, lines.len()), (2, 2), "{ran:?}");
    assert!(
        lines[0].starts_with("error: --username: ") && lines[1].starts_with("error: --email: "),
        "{ran:?}"
    );
}

#[test]
fn a_byte_order_mark_is_part_of_no_secret() {
    let check = starter(&["config", "check"]);
    let secret = check.directory().join("secret");
    fs::write(&secret, "\u{feff}hunter2\n").unwrap();
    let ran = check.env("STARTER__DATABASE__PASSWORD_FILE", &secret).run();
    assert!(ran.code == 1 && ran.stdout.contains("begins with a byte order mark"), "{ran:?}");
    let check = starter(&["config", "check"]);
    fs::write(check.directory().join(".env"), "\u{feff}STARTER__SERVER__PORT=1\n").unwrap();
    let ran = check.run();
    assert!(ran.code == 1 && ran.stdout.starts_with(".env: begins with a byte order mark"), "{ran:?}");
}

#[test]
fn a_small_pool_needs_no_second_setting() {
    let ran = starter(&["config", "show", "--json"]).env("STARTER__DATABASE__MAX_CONNECTIONS", "1").run();
    assert_eq!(ran.code, 0, "{ran:?}");
    let values: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    let min = values.iter().find(|value| value["variable"] == "STARTER__DATABASE__MIN_CONNECTIONS").unwrap();
    assert_eq!(min["value"], "1");
    let both = starter(&["config", "show"]).env("STARTER__DATABASE__MAX_CONNECTIONS", "1");
    assert_eq!(both.env("STARTER__DATABASE__MIN_CONNECTIONS", "2").run().code, 2);
}

#[test]
fn an_empty_variable_hides_nothing_of_a_file() {
    let show = starter(&["config", "show", "--json"]).env("STARTER__SERVER__PORT", "");
    fs::write(show.directory().join(".env"), "STARTER__SERVER__PORT=3001\n").unwrap();
    let values: Vec<Value> = serde_json::from_str(&show.run().stdout).unwrap();
    let port = values.iter().find(|value| value["variable"] == "STARTER__SERVER__PORT").unwrap();
    assert_eq!((&port["value"], &port["source"]), (&"3001".into(), &".env".into()));
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    for arguments in [&["--version"][..], &["--help"], &["openapi"]] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_starter"));
        let output =
            command.args(arguments).env_clear().stdout(full).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.starts_with("error: cannot write to standard output"), "{said}");
    }
}

#[test]
fn the_manual_has_a_date() {
    let manual = starter(&["man"]).run().stdout;
    let title = manual.lines().find(|line| line.starts_with(".TH")).unwrap();
    assert!(title.contains("20") && title.contains('-'), "{title}");
}
