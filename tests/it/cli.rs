//! The command line: the real binary, its output and its exit codes.

use std::{
    io::{Read, Write},
    net::TcpListener,
    process::{Command, Stdio},
    thread,
};

use crate::process::{Ran, starter};

#[test]
fn every_level_has_help_and_the_program_a_version() {
    for arguments in [
        vec!["--help"],
        vec!["config", "--help"],
        vec!["config", "show", "--help"],
        vec!["config", "check", "--help"],
        vec!["config", "example", "--help"],
        vec!["health", "--help"],
        vec!["completions", "--help"],
        vec!["man", "--help"],
    ] {
        let ran = starter(&arguments).run();
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        assert!(ran.stdout.contains("Usage: starter") && ran.stderr.is_empty(), "{ran:?}");
    }
    let version = starter(&["--version"]).run();
    assert_eq!(version.stdout, concat!("starter ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn wrong_usage_ends_with_2_and_says_why_on_standard_error() {
    for arguments in
        [&[][..], &["no-such-command"], &["config", "show", "--no-such-flag"], &["completions", "dos"]]
    {
        let ran = starter(arguments).run();
        assert_eq!(ran.code, 2, "{arguments:?}: {ran:?}");
        assert!(
            ran.stdout.is_empty() && ran.stderr.contains("Usage:") || ran.stderr.contains("error:"),
            "{ran:?}"
        );
    }
}

#[test]
fn completions_and_the_manual_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = starter(&["completions", shell]).run();
        assert!(ran.code == 0 && ran.stdout.contains("health"), "{shell}: {ran:?}");
    }
    let manual = starter(&["man"]).run();
    assert!(
        manual.stdout.contains(".TH starter 1") && manual.stdout.contains("starter\\-config\\-show"),
        "{manual:?}"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_starter"))
        .args(["completions", "bash"])
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut complaint = String::new();
    child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
    assert_eq!((child.wait().unwrap().code(), complaint.as_str()), (Some(0), ""));
}

#[test]
fn health_prints_the_answer_and_ends_as_the_server_is() {
    for (status, code) in [("200 OK", 0), ("503 Service Unavailable", 1), ("302 Found\r\nLocation: /x", 1)] {
        let (url, asked) = answer_once(status, r#"{"status":"told"}"#);
        let ran = starter(&["health", "--url", &url]).run();
        assert_eq!((ran.code, ran.stdout.as_str()), (code, "{\"status\":\"told\"}\n"), "{status}: {ran:?}");
        assert!(asked.join().unwrap().starts_with("GET /health HTTP/1.1\r\n"));
    }
}

#[test]
fn health_finds_the_server_of_the_configuration() {
    let (url, asked) = answer_once("200 OK", "{}");
    let port = url.rsplit(':').next().unwrap();
    let ran =
        starter(&["health"]).env("STARTER__SERVER__PORT", port).env("STARTER__SERVER__HOST", "0.0.0.0").run();
    assert_eq!(ran.code, 0, "{ran:?}");
    asked.join().unwrap();

    let (url, asked) = answer_once("200 OK", "{}");
    let starter = starter(&["health"]);
    std::fs::write(starter.directory().join("port"), url.rsplit(':').next().unwrap()).unwrap();
    let ran = starter.env("STARTER__SERVER__PORT", "0").env("STARTER__SERVER__PORT_FILE", "port").run();
    assert_eq!(ran.code, 0, "{ran:?}");
    asked.join().unwrap();
}

#[test]
fn health_of_nobody_fails() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ran: Ran = starter(&["health", "--url", &format!("http://127.0.0.1:{port}")]).run();
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stdout.is_empty() && ran.stderr.starts_with("error: nothing listens at http://127.0.0.1:"),
        "{ran:?}"
    );
    let ran = starter(&["health"]).env("STARTER__SERVER__PORT", "0").run();
    assert_eq!(ran.code, 2, "{ran:?}");
}

/// A server for one request: its address, and what it was asked.
fn answer_once(status: &str, body: &str) -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    let asked = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.extend(byte);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    });
    (url, asked)
}
