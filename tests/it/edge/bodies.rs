//! Bodies, queries and ids (security.md 3.B, 3.I).

use std::time::Duration;

use starter::http::json::BodyRules;

use super::*;

const REGISTER: &str = "/api/v1/auth/register";
const ECHO: &str = "/api/v1/echo";

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_sound(answer);
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer:?}");
}

#[test]
fn a_good_body_is_taken_and_all_that_is_wrong_with_another_is_told() {
    let edge = Edge::start(settings());
    let good = edge.post(REGISTER, r#"{"username":"alice","password":"correct horse battery"}"#);
    assert_eq!((good.status, &good.json()["username"]), (201, &"alice".into()));
    assert_sound(&good);

    let bad = edge.post(
        REGISTER,
        r#"{"username":"a","password":"short-secret"#.to_owned().replace("short-secret", "short\"}").as_str(),
    );
    refused(&bad, 422, "validation_failed");
    assert_eq!(bad.json()["errors"].as_array().unwrap().len(), 2);
    let missing = edge.post(REGISTER, "{}");
    refused(&missing, 422, "validation_failed");
    assert_eq!(missing.json()["errors"][1]["field"], "/password");
}

#[test]
fn what_is_no_json_object_of_the_right_form_is_malformed() {
    let edge = Edge::start(settings());
    for body in [
        r#"{"email":"#,
        r#"["alice","correct horse battery"]"#,
        r#"[null,"alice"]"#,
        "null",
        "",
        r#"{"username":null,"password":"correct horse battery"}"#,
        r#"{"username":1,"password":"correct horse battery"}"#,
        r#"{"username":"alice","password":"correct horse battery","role":"admin"}"#,
        r#"{"username":"alice","username":"bob","password":"correct horse battery"}"#,
        r#"{"username":"a\u0000lice","password":"correct horse battery"}"#,
        r#"{"username":"\ud800","password":"correct horse battery"}"#,
        "\u{feff}{}",
    ] {
        let answer = edge.post(REGISTER, body);
        refused(&answer, 400, "malformed_request");
        assert!(!answer.text().contains("correct horse") && !answer.text().contains("admin"), "{answer:?}");
    }
    refused(&edge.post(ECHO, r#"{"payload":{"deep":[{"\u0000":1}]}}"#), 400, "malformed_request");
}

#[test]
fn only_json_in_utf8_without_encoding_is_a_supported_media_type() {
    let edge = Edge::start(settings());
    let body = r#"{"payload":1}"#;
    for good in ["application/json", "APPLICATION/JSON", "application/json; charset=utf-8"] {
        assert_eq!(edge.send(&post(ECHO, good, body)).status, 200, "{good}");
    }
    for bad in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"] {
        refused(&edge.send(&post(ECHO, bad, body)), 415, "unsupported_media_type");
    }
    let none = edge.send(&format!("POST {ECHO} HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n{body}"));
    refused(&none, 415, "unsupported_media_type");
    let encoded = post(ECHO, "application/json\r\nContent-Encoding: gzip", body);
    refused(&edge.send(&encoded), 415, "unsupported_media_type");
}

#[test]
fn large_bodies_are_refused_declared_or_chunked() {
    let edge = Edge::start(settings());
    let body = |bytes: usize| format!(r#"{{"payload":"{}"}}"#, "x".repeat(bytes));
    assert_eq!(edge.post(ECHO, &body(200_000)).status, 200);
    refused(&edge.post(ECHO, &body(270_000)), 413, "payload_too_large");
    refused(&edge.post(REGISTER, &body(17_000)), 413, "payload_too_large");

    let mut peer = edge.connect();
    peer.send(format!("POST {ECHO} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"));
    let chunk = format!("1000\r\n{}\r\n", "{".repeat(0x1000));
    for _ in 0..70 {
        peer.send(&chunk);
    }
    refused(&peer.read(false), 413, "payload_too_large");
    assert!(peer.is_closed());
}

#[test]
fn a_body_that_dribbles_in_is_cut_off() {
    let body = BodyRules { patience: Duration::from_millis(400), ..BodyRules::default() };
    let edge = Edge::start(Settings { body, ..settings() });
    for framing in ["Content-Length: 1000", "Transfer-Encoding: chunked"] {
        let mut peer = edge.connect();
        peer.send(format!(
            "POST {ECHO} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
        ));
        for _ in 0..5 {
            peer.send(if framing.starts_with('T') { "1\r\n{\r\n" } else { "{" });
            std::thread::sleep(Duration::from_millis(10));
        }
        let answer = peer.read(false);
        refused(&answer, 408, "request_timeout");
        assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
        assert!(peer.is_closed(), "{framing}");
    }
}

#[test]
fn queries_are_as_documented_or_malformed() {
    let edge = Edge::start(settings());
    assert_eq!(edge.get("/api/v1/users?limit=3&q=%C3%A9").json()["q"], "é");
    for query in ["limit=1&limit=2", "limit=x", "offset=1", "q=%00", "q=%FF", "access_token=secret"] {
        let answer = edge.get(&format!("/api/v1/users?{query}"));
        refused(&answer, 400, "malformed_request");
        assert!(!answer.text().contains("secret") && !answer.text().contains("access_token"), "{answer:?}");
    }
    refused(&edge.get("/api/v1/users/me?x=1"), 400, "malformed_request");
    refused(&edge.get("/api/v1/users?limit=-1"), 422, "validation_failed");
    assert_eq!(edge.get("/health/live?probe=1").status, 200);
}

#[test]
fn ids_are_canonical_or_malformed_and_never_repeated() {
    let edge = Edge::start(settings());
    let id = "01920f3e-7b6c-7d3a-9c1e-0123456789ab";
    assert_eq!(edge.get(&format!("/api/v1/users/{id}")).json(), id);
    assert_eq!(edge.get("/api/v1/users/me").json(), "me");
    for bad in
        [&id.to_uppercase(), "abc", "1'%20or%201=1--", "%00", "..%2f..%2fetc%2fpasswd", &"a".repeat(10_000)]
    {
        let answer = edge.get(&format!("/api/v1/users/{bad}"));
        assert!([400, 404].contains(&answer.status), "{answer:?}");
        assert_sound(&answer);
        assert!(!answer.text().contains("etc"), "{answer:?}");
    }
}
