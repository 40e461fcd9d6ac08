//! Requests that are no good HTTP (security.md 3.A).

use std::time::{Duration, Instant};

use super::*;

#[track_caller]
fn refused(edge: &Edge, request: impl AsRef<[u8]>, statuses: &[u16]) {
    let mut peer = edge.connect();
    peer.send(request);
    let answer = peer.read(false);
    assert!(statuses.contains(&answer.status), "{answer:?}");
    assert_sound(&answer);
    assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
    assert!(peer.is_closed());
}

#[test]
fn heads_that_are_not_understood_are_counted() {
    let settings = settings();
    let mut registry = prometheus_client::registry::Registry::default();
    settings.metrics.register(&mut registry);
    let edge = Edge::start(settings);
    refused(&edge, "rubbish\r\n\r\n", &[400]);
    refused(&edge, "GET / HTTP/1.1\r\nbad header\r\n\r\n", &[400]);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("http_rejected_requests_total{status=\"400\"} 2\n"), "{text}");
}

#[test]
fn a_smuggled_request_is_not_answered() {
    let edge = Edge::start(settings());
    let smuggled = "GET /api/v1/users/me HTTP/1.1\r\nHost: x\r\n\r\n";
    let request = format!(
        "POST /api/v1/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\
         Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
    );
    refused(&edge, request, &[400]);
}

#[test]
fn lengths_and_chunks_that_are_no_numbers_are_malformed() {
    let edge = Edge::start(settings());
    for length in ["+5", "-1", "5 5", "0x5", "99999999999999999999"] {
        let request = format!(
            "POST /api/v1/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{{}}"
        );
        refused(&edge, request, &[400]);
    }
    for chunk in ["ZZ", "10000000000000000"] {
        let request = format!(
            "POST /api/v1/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Transfer-Encoding: chunked\r\n\r\n{chunk}\r\n"
        );
        refused(&edge, request, &[400]);
    }
}

#[test]
fn a_request_that_cannot_be_parsed_gets_a_problem_document() {
    let edge = Edge::start(settings());
    for request in [
        "nonsense\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
    ] {
        refused(&edge, request, &[400]);
    }
}

#[test]
fn too_many_or_too_large_headers_are_refused() {
    let edge = Edge::start(settings());
    let many: String = (0..97).map(|n| format!("X-{n}: 1\r\n")).collect();
    refused(&edge, format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n"), &[431]);
    for request in [
        format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(200_000)),
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(200_000)),
    ] {
        let mut peer = edge.connect();
        peer.send(request);
        if let Some(answer) = peer.try_read(false) {
            assert!([414, 431].contains(&answer.status), "{answer:?}");
            assert_sound(&answer);
        }
    }
    assert_eq!(edge.get("/health/live").status, 200);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let edge = Edge::start(settings());
    let mut peer = edge.connect();
    let requests: String = (0..51)
        .map(|n| format!("GET /health/live HTTP/1.1\r\nHost: x\r\nX-Request-Id: {n}\r\n\r\n"))
        .collect();
    peer.send(requests);
    for n in 0..51 {
        let answer = peer.read(false);
        assert_eq!((answer.status, answer.header("x-request-id")), (200, Some(n.to_string().as_str())));
    }
}

#[test]
fn a_good_request_before_a_bad_one_keeps_its_answer() {
    let edge = Edge::start(settings());
    let mut peer = edge.connect();
    peer.send("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n");
    assert_eq!(peer.read(false).status, 200);
    let bad = peer.read(false);
    assert_eq!(bad.status, 400);
    assert_sound(&bad);
    assert!(peer.is_closed());
}

#[test]
fn a_head_that_does_not_end_is_cut_off() {
    let edge = Edge::start(Settings { head_timeout: Duration::from_millis(300), ..settings() });
    let begun = Instant::now();
    refused(&edge, "GET /health/live HTTP/1.1\r\nHost:", &[408]);
    assert!(begun.elapsed() < PATIENCE);
}

#[test]
fn a_later_head_that_does_not_end_is_cut_off_too() {
    let mut settings = settings();
    settings.silence = Duration::from_millis(500);
    let edge = Edge::start(settings);
    let mut peer = edge.connect();
    assert_eq!(peer.ask("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
    peer.send("GET /health/live HTTP/1.1\r\nHo");
    assert!(peer.is_closed());
}

#[test]
fn a_client_that_asks_first_is_told_before_it_sends_too_much() {
    let edge = Edge::start(settings());
    let ask = |path: &str, length: usize| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n\
             Content-Length: {length}\r\n\r\n"
        )
    };
    for (path, length) in [("/api/v1/echo", 300_000), ("/api/v1/auth/register", 17_000)] {
        let answer = edge.send(&ask(path, length));
        assert_eq!(answer.status, 413);
        assert_sound(&answer);
    }

    let mut peer = edge.connect();
    let body = r#"{"payload":1}"#;
    assert_eq!(peer.ask(&ask("/api/v1/echo", body.len())).status, 100);
    assert_eq!(peer.ask(body).json()["payload"], 1);
}

#[test]
fn bodies_where_none_is_due_do_not_disturb_the_next_request() {
    let edge = Edge::start(settings());
    for method in ["GET", "DELETE", "POST"] {
        let mut peer = edge.connect();
        let path = if method == "POST" {
            "/api/v1/auth/logout"
        } else {
            "/api/v1/users/01920f3e-7b6c-7d3a-9c1e-0123456789ab"
        };
        let answer = peer
            .ask(&format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{{\"a\": 12}}"));
        assert!(answer.status < 300, "{answer:?}");
        assert_sound(&answer);
        if answer.header("connection") != Some("close") {
            assert_eq!(peer.ask("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
        }
    }
}

#[test]
fn idle_connections_do_not_keep_others_waiting() {
    let edge = Edge::start(settings());
    let silent: Vec<Peer> = (0..300)
        .map(|_| {
            let mut peer = edge.connect();
            peer.send("POST /api/v1/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{");
            peer
        })
        .collect();
    for _ in 0..50 {
        assert_eq!(edge.get("/health/live").status, 200);
    }
    drop(silent);
    assert_eq!(edge.get("/health/live").status, 200);
}

#[test]
fn unusual_methods_versions_and_targets_do_no_harm() {
    let edge = Edge::start(settings());
    for (request, statuses) in [
        ("CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", &[400, 404][..]),
        ("TRACE /api/v1/users/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n\r\n", &[405]),
        ("GET http://x/api/v1/users/me HTTP/1.1\r\nHost: x\r\n\r\n", &[200]),
        ("GET http://evil/api/v1/users/me HTTP/1.1\r\nHost: x\r\n\r\n", &[200, 400]),
        (
            "GET /api/v1/users/me HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            &[200],
        ),
        ("GET /api/v1/users/me HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", &[200]),
        ("GET //api/v1/users/me HTTP/1.1\r\nHost: x\r\n\r\n", &[404]),
        ("GET /api/v1/../v1/users/me HTTP/1.1\r\nHost: x\r\n\r\n", &[404]),
        ("GET /API/v1/users/me HTTP/1.1\r\nHost: x\r\n\r\n", &[404]),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[400]),
    ] {
        let answer = edge.send(request);
        assert!(statuses.contains(&answer.status), "{request}: {answer:?}");
        assert_sound(&answer);
        assert!(!answer.text().contains("secret"), "{answer:?}");
    }
    let old = edge.send("GET /api/v1/users/me HTTP/1.0\r\n\r\n");
    assert!([200, 400].contains(&old.status), "{old:?}");
}
