//! The configuration as the real binary reads it: environment, `.env`, files, flags.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt};

use serde_json::Value;

use crate::process::{Starter, starter};

/// The value and the source of one variable in `starter config show --json`.
fn shown(show: Starter, variable: &str) -> (Option<String>, String) {
    let ran = show.run();
    assert_eq!(ran.code, 0, "{ran:?}");
    let values: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    let found = values.into_iter().find(|value| value["variable"] == variable).unwrap();
    (found["value"].as_str().map(str::to_owned), found["source"].as_str().unwrap().to_owned())
}

fn show(flags: &[&str]) -> Starter {
    starter(&[&["config", "show", "--json"], flags].concat())
}

#[test]
fn later_layers_win() {
    const PORT: &str = "STARTER__SERVER__PORT";
    let told = |value: &str, source: &str| (Some(value.to_owned()), source.to_owned());
    assert_eq!(shown(show(&[]), PORT), told("3000", "default"));

    let with_dotenv = |flags: &[&str]| {
        let show = show(flags);
        fs::write(show.directory().join(".env"), format!("# mine\n{PORT}=3001\n\nexport UNRELATED='x y'\n"))
            .unwrap();
        show
    };
    assert_eq!(shown(with_dotenv(&[]), PORT), told("3001", ".env"));
    assert_eq!(shown(with_dotenv(&[]).env(PORT, "3002"), PORT), told("3002", "environment"));
    assert_eq!(shown(with_dotenv(&["--port", "3003"]).env(PORT, "3002"), PORT), told("3003", "flag --port"));
    assert_eq!(shown(with_dotenv(&[]).env(PORT, ""), PORT), told("3001", ".env"), "empty is unset");
}

#[test]
fn every_problem_is_named_at_once() {
    let wrong = [
        ("STARTER__SERVER__PORT", "http"),
        ("STARTER__SERVER__WORKERS", "none"),
        ("STARTER__SERVER__TYPO", "1"),
        ("STARTER__TYPO__PORT", "1"),
        ("STARTER__TYPO", "1"),
        ("STARTER__DATABASE__MIN_CONNECTIONS", "50"),
        ("STARTER__MAIL__URL", "carrier-pigeon://roof"),
        ("STARTER__DATABASE__PASSWORD_FILE", "/no/such/file"),
    ];
    let run = |arguments: &[&str]| {
        wrong.iter().fold(starter(arguments), |starter, (variable, value)| starter.env(variable, value)).run()
    };
    let start = run(&["config", "show"]);
    assert_eq!((start.code, start.stdout.as_str()), (2, ""), "{start:?}");
    let check = run(&["config", "check"]);
    assert_eq!((check.code, check.stderr.as_str()), (1, ""), "{check:?}");
    for (text, prefix) in [(&start.stderr, "error: "), (&check.stdout, "")] {
        assert_eq!(text.lines().count(), wrong.len(), "{text}");
        for (variable, _) in wrong {
            let line = text.lines().find(|line| line.starts_with(&format!("{prefix}{variable}: ")));
            assert!(line.is_some_and(|line| line.contains("; ")), "{variable} is not in\n{text}");
        }
    }
    let report: Value = serde_json::from_str(&run(&["config", "check", "--json"]).stdout).unwrap();
    assert_eq!(report["valid"], false);
    assert_eq!(report["problems"].as_array().unwrap().len(), wrong.len());
}

#[test]
fn a_good_configuration_checks_out() {
    let ran = starter(&["config", "check"]).env("STARTER__SERVER__PORT", "0").run();
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
}

#[test]
fn a_flag_that_does_not_parse_is_a_problem_like_any_other() {
    let ran = starter(&["config", "show", "--port", "99999", "--concurrency", "0"]).run();
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(
        ran.stderr.contains("STARTER__SERVER__PORT: ") && ran.stderr.contains("(from flag --port)"),
        "{ran:?}"
    );
    assert!(
        ran.stderr.contains("STARTER__WORKER__CONCURRENCY: out of range (from flag --concurrency)"),
        "{ran:?}"
    );
}

#[test]
fn a_secret_from_a_file_serves_and_is_not_shown() {
    let show = show(&[]);
    fs::write(show.directory().join("secret"), "hunter2\n").unwrap();
    let (value, source) =
        shown(show.env("STARTER__DATABASE__PASSWORD_FILE", "secret"), "STARTER__DATABASE__PASSWORD");
    assert_eq!((value.as_deref(), source.as_str()), (Some("********"), "file secret"));

    let both = starter(&["config", "check"])
        .env("STARTER__DATABASE__PASSWORD_FILE", "secret")
        .env("STARTER__DATABASE__PASSWORD", "hunter2")
        .run();
    assert_eq!(both.code, 1);
    assert!(both.stdout.starts_with("STARTER__DATABASE__PASSWORD_FILE: set together with"), "{both:?}");
    assert!(!both.stdout.contains("hunter2"));
}

#[test]
fn show_never_shows_a_secret() {
    let variables = [
        ("STARTER__DATABASE__URL", "postgres://app:hunter2@db:5432/app?sslpassword=hunter2"),
        ("STARTER__DATABASE__LISTEN_URL", "postgres://app:hunter2@db2/app"),
        ("STARTER__MAIL__URL", "smtp://mailer:hunter2@mail:587?tls=required"),
        ("STARTER__WEBHOOK__SECRET", "whsec_aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMmh1bnRlcjI="),
        ("STARTER__INITIAL_ADMIN__USERNAME", "root"),
        ("STARTER__INITIAL_ADMIN__EMAIL", "root@example.org"),
        ("STARTER__INITIAL_ADMIN__PASSWORD", "hunter2 hunted no deer"),
    ];
    for form in [&["config", "show"][..], &["config", "show", "--json"]] {
        let show = variables.iter().fold(starter(form), |show, (variable, value)| show.env(variable, value));
        let ran = show.run();
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(!ran.stdout.contains("hunter2") && !ran.stdout.contains("aHVudGVy"), "{}", ran.stdout);
        assert!(
            ran.stdout.contains("postgres://app:********@db:5432/app?sslpassword=********"),
            "{}",
            ran.stdout
        );
        assert!(ran.stdout.contains("smtp://mailer:********@mail:587?tls=required"), "{}", ran.stdout);
    }
}

#[test]
fn a_dotenv_that_cannot_be_read_is_a_problem_and_is_not_quoted() {
    let check = starter(&["config", "check"]);
    fs::write(check.directory().join(".env"), "STARTER__SERVER__PORT=1\nSTARTER__MAIL__URL='hunter2\n")
        .unwrap();
    let ran = check.run();
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stdout.starts_with(".env: the line after STARTER__SERVER__PORT cannot be read; "), "{ran:?}");
    assert!(!ran.stdout.contains("hunter2"));

    let check = starter(&["config", "check"]);
    fs::create_dir(check.directory().join(".env")).unwrap();
    let ran = check.run();
    assert_eq!((ran.code, ran.stdout.starts_with(".env: cannot be read; ")), (1, true), "{ran:?}");
}

#[test]
fn a_value_that_is_not_utf8_is_a_problem() {
    let ran = starter(&["config", "check"])
        .env("STARTER__SERVER__HOST", OsStr::from_bytes(b"\xff"))
        .env("UNRELATED", OsStr::from_bytes(b"\xff"))
        .run();
    assert_eq!((ran.code, ran.stdout.as_str()), (1, "STARTER__SERVER__HOST: not UTF-8; text in UTF-8\n"));
}

#[test]
fn the_example_is_what_the_program_prints() {
    assert_eq!(starter(&["config", "example"]).run().stdout, include_str!("../../.env.example"));
}

#[test]
fn database_url_and_rust_log_are_taken_by_their_usual_names() {
    let with_both = || show(&[]).env("DATABASE_URL", "postgres://u@h/d").env("RUST_LOG", "debug");
    assert_eq!(
        shown(with_both(), "STARTER__DATABASE__URL"),
        (Some("postgres://u@h/d".to_owned()), "environment DATABASE_URL".to_owned())
    );
    assert_eq!(
        shown(with_both(), "STARTER__TELEMETRY__LOG_FILTER"),
        (Some("debug".to_owned()), "environment RUST_LOG".to_owned())
    );
}

#[test]
fn a_task_type_that_there_is_not_cannot_be_opened_to_users() {
    const TYPES: &str = "STARTER__WORKER__USER_TASK_TYPES";
    let listed = |arguments: &[&str], types: &str| starter(arguments).env(TYPES, types).run();
    for types in ["noop,email.sned", "email.account", "noop,Email.Send"] {
        let start = listed(&["config", "show"], types);
        assert_eq!((start.code, start.stdout.as_str()), (2, ""), "{start:?}");
        let check = listed(&["config", "check"], types);
        assert_eq!(check.code, 1, "{check:?}");
        for text in [&start.stderr, &check.stdout] {
            assert!(text.contains(TYPES) && text.contains("webhook.deliver"), "{text}");
        }
    }
    assert_eq!(listed(&["config", "check"], "noop,email.send,webhook.deliver").code, 0);
}
