//! Credentials that are nearly right.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::json;
use starter::domain::{
    Permission,
    api_key::ApiKeySecret,
    token::{OneTimeToken, SessionToken},
};

use super::{NOBODY, refused};
use crate::support::{
    people::PASSWORD,
    site::{Site, read},
};

const ME: &str = "/api/v1/auth/me";

#[actix_rt::test]
async fn what_the_database_holds_of_a_credential_is_none() {
    let site = Site::open().await;
    let (user, good) = site.log_in("alice", "user").await;
    let key = site.key(user, &[Permission::TasksRead]).await;
    let unknown = site.get(ME, SessionToken::generate().expose()).await.essence();
    let hash = SessionToken::parse(&good).unwrap().hash();
    let hexed: String = hash.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let id = |told: serde_json::Value| told["credential"]["id"].as_str().unwrap().to_owned();
    for bad in [
        id(site.get(ME, &good).await.json()),
        id(site.get(ME, &key).await.json()),
        hexed,
        format!("sess_{}", URL_SAFE_NO_PAD.encode(hash.as_bytes())),
    ] {
        assert_eq!(site.get(ME, &bad).await.essence(), unknown, "{bad}");
    }
}

#[test]
fn of_a_thousand_secrets_no_two_have_more_in_common_than_their_kind() {
    type Generate = fn() -> String;
    let kinds: [(&str, Generate); 3] = [
        ("sess_", || SessionToken::generate().expose().to_owned()),
        ("ott_", || OneTimeToken::generate().expose().to_owned()),
        ("key_", || ApiKeySecret::generate().expose().to_owned()),
    ];
    for (prefix, generate) in kinds {
        let mut all: Vec<String> = (0..1_000).map(|_| generate()).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 1_000);
        let first: std::collections::HashSet<_> = all.iter().map(|secret| &secret[..=prefix.len()]).collect();
        assert!(all.iter().all(|secret| secret.starts_with(prefix)) && first.len() > 20, "{first:?}");
    }
}

#[actix_rt::test]
async fn a_credential_that_comes_along_with_a_log_in_is_not_looked_at() {
    let site = Site::open().await;
    let token = site.member("alice").await;
    let log_in = || {
        site.anonymous(Method::POST, "/api/v1/auth/login")
            .json(&json!({"login": "alice", "password": PASSWORD}))
    };
    for with in [token.as_str(), "nonsense"] {
        let told = read(log_in().bearer_auth(with)).await;
        assert_eq!(told.status, 200, "{with}");
        let another = told.json()["token"].as_str().unwrap().to_owned();
        assert_ne!(another, token);
        for alive in [&another, &token] {
            assert_eq!(site.get(ME, alive).await.status, 200);
        }
    }
    refused(&read(log_in().bearer_auth(&token).bearer_auth(&token)).await, 400, "multiple_credentials");
}

#[actix_rt::test]
async fn what_is_not_ones_own_is_not_told_from_what_is_not_there() {
    let site = Site::open().await;
    let (alice, token) = site.log_in("alice", "user").await;
    site.key(alice, &[Permission::TasksRead]).await;
    let key =
        site.get("/api/v1/api-keys", &token).await.json()["items"][0]["id"].as_str().unwrap().to_owned();
    let task = site.post("/api/v1/tasks", &token, &json!({"task_type": "noop"})).await.json();
    let task = task["id"].as_str().unwrap().to_owned();
    let (_, stranger) = site.log_in("bobby", "user").await;
    let requests = [
        (Method::GET, "/api/v1/api-keys/ID", None),
        (Method::PATCH, "/api/v1/api-keys/ID", Some(json!({"name": "mine"}))),
        (Method::POST, "/api/v1/api-keys/ID/rotate", Some(json!({}))),
        (Method::DELETE, "/api/v1/api-keys/ID", None),
        (Method::GET, "/api/v1/tasks/ID", None),
        (Method::GET, "/api/v1/tasks/ID/attempts", None),
        (Method::POST, "/api/v1/tasks/ID/cancel", None),
        (Method::POST, "/api/v1/tasks/ID/retry", None),
        (Method::GET, "/api/v1/users/ID", None),
        (Method::PATCH, "/api/v1/users/ID", Some(json!({"role": "user"}))),
        (Method::DELETE, "/api/v1/users/ID", None),
        (Method::DELETE, "/api/v1/users/ID/sessions", None),
    ];
    for (method, path, body) in requests {
        let owned = if path.contains("api-keys") {
            &key
        } else if path.contains("tasks") {
            &task
        } else {
            &alice.to_string()
        };
        let ask = async |id: &str| {
            let request = site.request(method.clone(), &path.replace("ID", id), &stranger);
            read(if let Some(body) = &body { request.json(body) } else { request }).await
        };
        let (there, nowhere) = (ask(owned).await, ask(NOBODY).await);
        assert!([403, 404].contains(&there.status), "{method} {path}: {there:?}");
        assert_eq!(there.essence(), nowhere.essence(), "{method} {path}");
    }
}
