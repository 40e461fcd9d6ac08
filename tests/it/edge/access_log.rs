//! The access log: one line a request, and what is not in it.

use std::sync::{Mutex, Once};

use log::{Log, Metadata, Record, kv};
use starter::telemetry;

use super::*;

/// Everything logged in this process, by the request it is about.
struct Capture(Mutex<Vec<(Option<String>, String)>>);

static CAPTURE: Capture = Capture(Mutex::new(Vec::new()));
static START: Once = Once::new();

struct Fields(String);

impl<'kvs> kv::VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: kv::Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        self.0.push_str(&format!(" {key}={value}"));
        Ok(())
    }
}

impl Log for Capture {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut line = Fields(format!("{} {}", record.level(), record.args()));
        record.key_values().visit(&mut line).unwrap();
        let id = telemetry::request_id().map(|id| id.to_string());
        self.0.lock().unwrap().push((id, line.0));
    }

    fn flush(&self) {}
}

/// The lines about one request.
fn lines_about(id: &str) -> Vec<String> {
    let all = CAPTURE.0.lock().unwrap();
    all.iter().filter(|(about, _)| about.as_deref() == Some(id)).map(|(_, line)| line.clone()).collect()
}

fn capture() {
    START.call_once(|| {
        log::set_logger(&CAPTURE).unwrap();
        log::set_max_level(log::LevelFilter::Debug);
    });
}

#[test]
fn a_request_is_one_line_with_its_pattern_and_without_its_secrets() {
    capture();
    let edge = Edge::start(settings());
    edge.send(
        "GET /api/v1/users/01920f3e-7b6c-7d3a-9c1e-0123456789ab HTTP/1.1\r\nHost: x\r\nX-Request-Id: log-1\r\n\
         Authorization: Bearer sess_secret\r\nUser-Agent: curl/8\r\n\r\n",
    );
    let lines = lines_about("log-1");
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    for part in [
        "INFO request",
        "method=GET",
        "route=/api/v1/users/{id}",
        "status=200",
        "client=127.0.0.1",
        "user_agent=curl/8",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert!(!line.contains("secret") && !line.contains("01920f3e"), "{line}");
}

#[test]
fn a_refused_request_is_logged_without_what_it_said() {
    capture();
    let edge = Edge::start(settings());
    let id = "X-Request-Id: log-2";
    edge.send(&format!("GET /reset-password?token=secret HTTP/1.1\r\nHost: x\r\n{id}\r\n\r\n"));
    edge.send(&format!("GET /api/v1/users?token=secret HTTP/1.1\r\nHost: x\r\n{id}\r\n\r\n"));
    edge.send(&post(
        "/api/v1/auth/register",
        &format!("application/json\r\n{id}"),
        r#"{"username":"secret"}"#,
    ));
    let lines = lines_about("log-2");
    assert!(lines.iter().filter(|line| line.starts_with("INFO request")).count() == 3, "{lines:?}");
    assert!(!lines.concat().contains("secret"), "{lines:?}");
}

#[test]
fn an_internal_error_is_logged_once_with_its_cause() {
    capture();
    let edge = Edge::start(settings());
    edge.send("GET /api/v1/fail HTTP/1.1\r\nHost: x\r\nX-Request-Id: log-3\r\n\r\n");
    let lines = lines_about("log-3");
    let errors: Vec<_> = lines.iter().filter(|line| line.starts_with("ERROR")).collect();
    assert_eq!(errors.len(), 1, "{lines:?}");
    assert!(errors[0].contains("does not exist"), "{lines:?}");
}

#[test]
fn health_checks_are_for_debugging_only() {
    capture();
    let edge = Edge::start(settings());
    edge.send("GET /health/live HTTP/1.1\r\nHost: x\r\nX-Request-Id: log-4\r\n\r\n");
    let lines = lines_about("log-4");
    assert!(lines.len() == 1 && lines[0].starts_with("DEBUG request"), "{lines:?}");
}

#[test]
fn a_path_without_a_route_is_logged_at_debug() {
    capture();
    let edge = Edge::start(settings());
    edge.send("GET /openapi.jsn?token=secret HTTP/1.1\r\nHost: x\r\nX-Request-Id: log-5\r\n\r\n");

    let lines = lines_about("log-5");
    assert!(
        lines.iter().any(|line| line.starts_with("INFO request") && line.contains("route=- ")),
        "{lines:?}"
    );
    let with_path: Vec<_> = lines.iter().filter(|line| line.contains("/openapi.jsn")).collect();
    assert_eq!(with_path, ["DEBUG request matched no route path=/openapi.jsn"]);
    assert!(!lines.concat().contains("secret"), "{lines:?}");
}
