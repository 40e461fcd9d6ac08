//! Time, rate, and the end of the process.

use std::{num::NonZeroU32, time::Duration};

use super::*;

const fn of(n: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(n)
}

#[test]
fn a_request_that_takes_too_long_is_unavailable() {
    let edge = Edge::start(Settings { request_timeout: Duration::from_millis(200), ..settings() });
    let mut peer = edge.connect();
    let answer = peer.ask("GET /api/v1/slow HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_sound(&answer);
    assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
    assert!(answer.header("retry-after").is_some());
    assert_eq!(peer.ask("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
}

#[test]
fn a_flood_from_one_address_is_slowed_down_but_health_is_answered() {
    let edge = Edge::start(Settings { rate_limit: of(1).zip(of(5)), ..settings() });
    let mut peer = edge.connect();
    let statuses: Vec<u16> =
        (0..20).map(|_| peer.ask("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n").status).collect();
    assert_eq!(statuses[..5], [404; 5]);
    assert!(statuses.contains(&429), "{statuses:?}");
    let mut refused = peer.ask("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n");
    while refused.status != 429 {
        refused = peer.ask("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    assert_sound(&refused);
    assert_eq!((refused.code().as_str(), refused.header("retry-after")), ("rate_limited", Some("1")));
    for _ in 0..20 {
        assert_eq!(peer.ask("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
    }
}

#[test]
fn routes_that_take_a_password_have_a_limit_of_their_own() {
    let edge = Edge::start(Settings { auth_per_minute: of(3), ..settings() });
    let register = || edge.post("/api/v1/auth/register", "{}");
    for _ in 0..3 {
        assert_eq!(register().status, 422);
    }
    let refused = register();
    assert_sound(&refused);
    assert_eq!(refused.code(), "rate_limited");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    for _ in 0..10 {
        assert_eq!(edge.get("/api/v1/users/me").status, 200);
    }
}

#[test]
fn the_word_of_a_proxy_counts_only_when_it_is_trusted() {
    let trusting = Settings { trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()], ..settings() };
    let ask = |edge: &Edge| {
        edge.send("GET /api/v1/whoami HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 6.6.6.6, 203.0.113.9\r\n\r\n")
            .json()
    };
    assert_eq!(ask(&Edge::start(trusting)), "203.0.113.9");
    assert_eq!(ask(&Edge::start(settings())), "127.0.0.1");
}

#[test]
fn clients_behind_a_trusted_proxy_are_limited_each_for_itself() {
    let edge = Edge::start(Settings {
        trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        rate_limit: of(1).zip(of(2)),
        ..settings()
    });
    let ask = |client: &str| {
        edge.send(&format!("GET /nowhere HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {client}\r\n\r\n")).status
    };
    let statuses: Vec<u16> = (0..10).map(|_| ask("203.0.113.1")).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(ask("203.0.113.2"), 404);
}

#[test]
fn connections_end_with_their_next_answer_once_the_process_stops() {
    let edge = Edge::start(settings());
    let mut peer = edge.connect();
    let request = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(peer.ask(request).header("connection"), None);
    edge.draining.begin();
    assert_eq!(peer.ask(request).header("connection"), Some("close"));
    assert!(peer.is_closed());
}

#[test]
fn an_idle_connection_is_closed_after_a_while() {
    let edge = Edge::start(Settings { keep_alive: Duration::from_secs(1), ..settings() });
    let mut peer = edge.connect();
    assert_eq!(peer.ask("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
    assert!(peer.is_closed());
}

#[test]
fn a_graceful_stop_finishes_what_is_under_way_and_closes_what_is_idle() {
    let mut edge = Edge::start(Settings { shutdown_timeout: PATIENCE * 10, ..settings() });
    let mut idle = edge.connect();
    assert_eq!(idle.ask("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
    let mut busy = edge.connect();
    let body = r#"{"payload":"under way"}"#;
    let request = post("/api/v1/echo", "application/json\r\nExpect: 100-continue", body);
    let (head, _) = request.split_at(request.len() - body.len());
    assert_eq!(busy.ask(head).status, 100, "the request is known to have begun");

    drop(edge.handle.stop(true));
    assert!(idle.is_closed());
    let answer = busy.ask(body);
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(busy.is_closed());
    edge.thread.take().unwrap().join().unwrap();
    assert!(std::net::TcpStream::connect(edge.address).is_err(), "nobody listens any more");
}
