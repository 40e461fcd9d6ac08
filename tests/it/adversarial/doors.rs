//! Every route from outside: without a credential, with tricks in the path, with the limits on.

use starter::http::{self, Settings};

use super::{NOBODY, refused};
use crate::{
    edge::{Edge, raw::Peer, settings},
    openapi::{document, operations},
    support::{people::PASSWORD, site::Site},
};

/// Who has no credential is answered here all the same.
const PUBLIC: [&str; 19] = [
    "get /",
    "get /api-docs",
    "get /api-docs/",
    "get /api-docs/assets/{file}",
    "get /api-docs/openapi.json",
    "get /health",
    "get /health/live",
    "get /health/ready",
    "get /pages/script.js",
    "get /pages/style.css",
    "get /problems",
    "get /problems/{code}",
    "get /reset-password",
    "get /verify-email",
    "post /api/v1/auth/email/verify",
    "post /api/v1/auth/login",
    "post /api/v1/auth/password/forgot",
    "post /api/v1/auth/password/reset",
    "post /api/v1/auth/register",
];

#[test]
fn every_route_that_is_not_listed_as_public_wants_a_credential() {
    let edge = Edge::start_with(settings(), http::routes);
    let mut public = Vec::new();
    for (path, method, operation) in operations(&document()) {
        if operation["security"].as_array().is_none_or(Vec::is_empty) {
            public.push(format!("{method} {path}"));
            continue;
        }
        // Public where it is configured so, which is told when it is asked.
        if path == "/metrics" {
            continue;
        }
        let path = path.replace("{name}", "default").replace("{id}", NOBODY);
        let method = method.to_uppercase();
        for (line, challenge) in [
            ("", "Bearer realm=\"starter\""),
            ("Authorization: Bearer nonsense\r\n", "Bearer realm=\"starter\", error=\"invalid_token\""),
        ] {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{line}Content-Length: 0\r\n\r\n");
            let answer = edge.send(&request);
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (401, "unauthenticated"),
                "{method} {path}: {answer:?}"
            );
            assert_eq!(answer.header("www-authenticate"), Some(challenge), "{method} {path}");
        }
    }
    public.sort();
    assert_eq!(public, PUBLIC);
}

#[test]
fn the_routes_that_take_a_password_share_the_limit_of_an_address() {
    let limited = Settings { auth_per_minute: std::num::NonZeroU32::new(1), ..settings() };
    let edge = Edge::start_with(limited, http::routes);
    let ask = |method: &str, path: &str| {
        edge.send(&format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        ))
    };
    ask("POST", "/api/v1/auth/register");
    for (method, path) in [
        ("POST", "/api/v1/auth/register"),
        ("POST", "/api/v1/auth/login"),
        ("POST", "/api/v1/auth/password"),
        ("POST", "/api/v1/auth/password/forgot"),
        ("POST", "/api/v1/auth/password/reset"),
        ("POST", "/api/v1/users"),
        ("DELETE", "/api/v1/users/me"),
    ] {
        let answer = ask(method, path);
        assert_eq!((answer.status, answer.code().as_str()), (429, "rate_limited"), "{method} {path}");
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
    }
    assert_eq!(ask("GET", "/api/v1/users/me").status, 401);
}

#[test]
fn the_limits_are_those_of_the_contract_unless_configured() {
    let defaults = Settings::default();
    assert_eq!(defaults.auth_per_minute.unwrap().get(), 30);
    let (per_second, burst) = defaults.rate_limit.unwrap();
    assert_eq!((per_second.get(), burst.get()), (50, 100));
    assert!(defaults.head_timeout.as_secs() <= 10 && defaults.body.patience.as_secs() <= 20);
}

#[actix_rt::test]
async fn no_spelling_of_a_path_leads_around_its_policy() {
    let site = Site::open().await;
    let (_, alice) = site.log_in("alice", "user").await;
    let (other, _) = site.log_in("bobby", "user").await;
    for path in [
        format!("/api/v1/users/me/../{other}"),
        "/api/v1/users/%2e%2e/users".to_owned(),
        "/api/v1/auth/../users".to_owned(),
        "/api/v1/users;x=1".to_owned(),
        format!("/api/v1/users/{other}.json"),
        format!("/api/v1/users%2F{other}"),
        "/api/v1//users".to_owned(),
        "//api/v1/users".to_owned(),
        "/api/v1/USERS".to_owned(),
        "/API/V1/users".to_owned(),
        "/api/v1/users/".to_owned(),
        "/api/v1/users?limit=1".to_owned(),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice}\r\n\r\n");
        let answer = Peer::connect(site.address()).ask(&request);
        assert!([400, 403, 404].contains(&answer.status), "{path}: {answer:?}");
    }
}

#[actix_rt::test]
async fn on_one_connection_each_request_is_judged_anew() {
    let site = Site::open().await;
    let (alice, token) = site.log_in("alice", "admin").await;
    let (_, chief) = site.log_in("chief", "admin").await;
    let request = format!("GET /api/v1/users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    let mut connection = Peer::connect(site.address());
    assert_eq!(connection.ask(&request).status, 200);
    let path = format!("/api/v1/users/{alice}");
    assert_eq!(site.patch(&path, &chief, &serde_json::json!({"role": "user"})).await.status, 200);
    assert_eq!(connection.ask(&request).status, 403);
}

#[actix_rt::test]
async fn lines_that_end_without_a_carriage_return_make_nobody_an_admin() {
    let site = Site::open().await;
    let (_, token) = site.log_in("alice", "user").await;
    let ask = |lines: &str| {
        Peer::connect(site.address()).ask(&format!("GET /api/v1/users HTTP/1.1\r\nHost: x\n{lines}\r\n\r\n"))
    };
    let answer = ask(&format!("X-Role: admin\nX-User-Id: 1\r\nAuthorization: Bearer {token}"));
    assert!([400, 403].contains(&answer.status), "{answer:?}");
    let answer = ask(&format!("Authorization: Bearer {token}\nAuthorization: Bearer {token}"));
    assert_eq!(answer.status, 400, "{answer:?}");
    let answer = ask("Content-Length: 5\nTransfer-Encoding: chunked");
    assert_eq!(answer.status, 400, "{answer:?}");
}

#[actix_rt::test]
async fn options_tell_nothing_of_the_caller() {
    let site = Site::open().await;
    let (alice, token) = site.log_in("alice", "user").await;
    let told = site.send(reqwest::Method::OPTIONS, "/api/v1/auth/me", &token).await;
    assert_eq!((told.status, told.header("allow")), (405, Some("GET, HEAD")));
    assert!(!told.text.contains("alice") && !told.text.contains(&alice.to_string()), "{told:?}");
}

#[actix_rt::test]
async fn whoever_wants_a_page_gets_json_all_the_same() {
    let site = Site::open().await;
    let (_, token) = site.log_in("alice", "user").await;
    for wanted in ["text/html", "application/xml", "image/*"] {
        let request = site.request(reqwest::Method::GET, "/api/v1/users/me", &token).header("accept", wanted);
        let told = crate::support::site::read(request).await;
        assert_eq!((told.status, told.header("content-type")), (200, Some("application/json")), "{wanted}");
        assert!(!told.text.contains(PASSWORD));
    }
}

#[actix_rt::test]
async fn cursors_that_are_none_or_another_lists_open_nothing() {
    let site = Site::open().await;
    let (_, admin) = site.log_in("chief", "admin").await;
    site.log_in("alice", "user").await;
    let page = site.get("/api/v1/users?limit=1", &admin).await.json();
    let cursor = page["next_cursor"].as_str().unwrap();
    let flipped = format!("{}{}", &cursor[..cursor.len() - 1], if cursor.ends_with('A') { 'B' } else { 'A' });
    for (path, cursor) in [
        ("users", "a".repeat(10_000)),
        ("users", "!".to_owned()),
        ("audit", cursor.to_owned()),
        ("users", flipped),
    ] {
        let told = site.get(&format!("/api/v1/{path}?cursor={cursor}"), &admin).await;
        refused(&told, 400, "malformed_request");
    }
}
