//! What every answer has, whoever made it (security.md 3.K).

use super::*;

#[test]
fn errors_of_the_framework_are_problem_documents() {
    let edge = Edge::start(settings());
    for (answer, code) in [
        (edge.get("/nowhere"), "not_found"),
        (edge.get("/api/v1/users/"), "not_found"),
        (edge.get("/api/v1/auth/register"), "method_not_allowed"),
        (edge.send("BREW /api/v1/users HTTP/1.1\r\nHost: x\r\n\r\n"), "method_not_allowed"),
        (edge.send("OPTIONS /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"), "not_found"),
    ] {
        assert_sound(&answer);
        assert_eq!(answer.code(), code, "{answer:?}");
    }
}

#[test]
fn options_of_the_whole_server_are_answered() {
    let edge = Edge::start(settings());
    let answer = edge.send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((answer.status, answer.text().as_str()), (204, ""));
    assert_eq!(answer.header("allow"), Some("GET, HEAD, POST, PATCH, DELETE, OPTIONS"));
    assert_sound(&answer);
    assert_eq!(edge.send("GET * HTTP/1.1\r\nHost: x\r\n\r\n").status, 404);
}

#[test]
fn a_wrong_method_is_told_the_right_ones() {
    let edge = Edge::start(settings());
    let answer =
        edge.send("PUT /api/v1/users/01920f3e-7b6c-7d3a-9c1e-0123456789ab HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(answer.status, 405);
    assert_eq!(answer.header("allow"), Some("GET, HEAD, DELETE"));
}

#[test]
fn head_is_answered_as_get_without_the_body() {
    let edge = Edge::start(settings());
    let mut peer = edge.connect();
    let head = peer.ask("HEAD /api/v1/users/me HTTP/1.1\r\nHost: x\r\n\r\n");
    let get = peer.ask("GET /api/v1/users/me HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((head.status, get.status), (200, 200));
    assert_eq!(head.header("content-length"), get.header("content-length"));
    assert_eq!(head.header("content-type"), get.header("content-type"));
    let missing = peer.ask("HEAD /nowhere HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(missing.status, 404);
    assert_sound(&missing);
}

#[test]
fn request_ids_are_kept_when_printable_and_short_else_made() {
    let edge = Edge::start(settings());
    let with = |id: &str| {
        let answer = edge.send(&format!("GET /nowhere HTTP/1.1\r\nHost: x\r\nX-Request-Id: {id}\r\n\r\n"));
        assert_sound(&answer);
        answer.header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(with("my-id 1/2"), "my-id 1/2");
    assert_eq!(with(&"x".repeat(128)), "x".repeat(128));
    for bad in [&"x".repeat(129), "é", "a\tb", &"x".repeat(10_000)] {
        assert_eq!(with(bad).len(), 36);
    }
}

#[test]
fn a_panic_is_an_internal_error_and_harms_nobody_else() {
    let edge = Edge::start(settings());
    let mut bystander = edge.connect();
    assert_eq!(bystander.ask("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
    for method in ["GET", "POST"] {
        let mut peer = edge.connect();
        let answer = peer.ask(&format!("{method} /api/v1/panic HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_sound(&answer);
        assert_eq!((answer.status, answer.code().as_str()), (500, "internal"));
        assert!(!answer.text().contains("secret"), "{answer:?}");
        assert_eq!(peer.ask("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
    }
    assert_eq!(bystander.ask("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").status, 200);
}

#[test]
fn an_internal_error_says_nothing_about_itself() {
    let edge = Edge::start(settings());
    let answer = edge.get("/api/v1/fail");
    assert_sound(&answer);
    assert_eq!(answer.code(), "internal");
    assert!(!answer.text().contains("users"), "{answer:?}");
}

#[test]
fn strict_transport_security_is_sent_when_the_public_address_is_https() {
    let secure = Edge::start(Settings { secure: true, ..settings() });
    for request in ["GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", "nonsense\r\n\r\n"] {
        assert!(secure.send(request).header("strict-transport-security").is_some());
    }
    assert!(Edge::start(settings()).get("/nowhere").header("strict-transport-security").is_none());
}

#[test]
fn pages_of_listed_origins_may_read_answers_and_no_others() {
    let edge = Edge::start(Settings { cors_origins: vec!["https://app.example".into()], ..settings() });
    let ask = |method: &str, origin: &str, more: &str| {
        edge.send(&format!("{method} /api/v1/users/me HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\n{more}\r\n"))
    };
    let preflight =
        "Access-Control-Request-Method: PATCH\r\nAccess-Control-Request-Headers: authorization\r\n";
    let granted = ask("OPTIONS", "https://app.example", preflight);
    assert_eq!(granted.status, 204);
    assert_eq!(granted.header("access-control-allow-origin"), Some("https://app.example"));
    assert!(granted.header("access-control-allow-methods").unwrap().contains("PATCH"));
    assert!(granted.header("access-control-allow-headers").unwrap().contains("authorization"));
    assert_eq!(granted.header("vary"), Some("Origin"));
    let answer = ask("GET", "https://app.example", "");
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (200, Some("https://app.example"))
    );
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    let wrong_method = ask("PUT", "https://app.example", "");
    assert_eq!(wrong_method.header("access-control-allow-origin"), Some("https://app.example"), "errors too");

    for origin in
        ["https://evil.example", "null", "https://app.example.evil.example", "https://app.example:444"]
    {
        for answer in [ask("OPTIONS", origin, preflight), ask("GET", origin, "")] {
            assert_sound(&answer);
            assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}");
            assert_eq!(answer.header("vary"), Some("Origin"), "{origin}");
        }
    }
}

#[test]
fn answers_are_json_whatever_the_client_would_like() {
    let edge = Edge::start(settings());
    let answer = edge.send("GET /nowhere HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n");
    assert_sound(&answer);
}

#[test]
fn an_error_status_that_a_handler_explains_in_json_is_left_as_it_is() {
    let answer = Edge::start(settings()).get("/health");
    assert_eq!((answer.status, &answer.json()["status"]), (503, &"down".into()));
}

#[test]
fn two_credentials_are_refused_on_every_route_of_the_api() {
    let edge = Edge::start(settings());
    for more in
        ["Authorization: Bearer a\r\nAuthorization: Bearer b", "Authorization: Bearer a\r\nX-API-Key: b"]
    {
        for request in ["GET /api/v1/users/me", "POST /api/v1/auth/logout"] {
            let answer = edge.send(&format!("{request} HTTP/1.1\r\nHost: x\r\n{more}\r\n\r\n"));
            assert_sound(&answer);
            assert_eq!((answer.status, answer.code().as_str()), (400, "multiple_credentials"));
        }
    }
}
