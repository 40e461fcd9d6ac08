//! Sessions and API keys over HTTP: the cases of security.md, sections 3.E and 3.H.

use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use starter::domain::{Permission, api_key::ApiKeySecret, token::SessionToken};

use crate::{
    edge::raw::Peer,
    support::site::{Site, Told, read},
};

const ME: &str = "/api/v1/auth/me";
const KEYS: &str = "/api/v1/api-keys";

async fn me(site: &Site, token: &str) -> u16 {
    site.get(ME, token).await.status
}

fn bare(site: &Site, path: &str) -> RequestBuilder {
    site.anonymous(Method::GET, path)
}

fn fields(value: &Value) -> Vec<&str> {
    let mut fields: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    fields
}

#[actix_rt::test]
async fn whatever_is_wrong_with_a_credential_the_answer_is_the_same() {
    let site = Site::open().await;
    let (user, good) = site.log_in("alice", "user").await;
    let anonymous = read(bare(&site, ME)).await;
    assert_eq!((anonymous.status, anonymous.code()), (401, "unauthenticated".to_owned()));
    assert_eq!(anonymous.header("www-authenticate"), Some("Bearer realm=\"starter\""));
    let unknown = site.get(ME, SessionToken::generate().expose()).await;
    let challenge = unknown.header("www-authenticate").map(str::to_owned);
    let unknown = unknown.essence();
    assert_eq!(challenge.as_deref(), Some("Bearer realm=\"starter\", error=\"invalid_token\""));
    let key = site.key(user, &[Permission::TasksRead]).await;
    let flipped = |text: &str| {
        let (start, last) = text.split_at(text.len() - 1);
        format!("{start}{}", if last == "A" { "Q" } else { "A" })
    };
    for bad in [
        flipped(&good),
        flipped(&key),
        good[..good.len() - 1].to_owned(),
        format!("{good}="),
        format!("{good}%00"),
        good.to_uppercase(),
        user.to_string(),
        "x".repeat(5_000),
        ApiKeySecret::generate().expose().to_owned(),
        format!("key_{}", "0".repeat(36)),
    ] {
        assert_eq!(site.get(ME, &bad).await.essence(), unknown, "{bad}");
    }
    for line in ["Bearer", "Bearer ", "Basic dTpw", good.as_str()] {
        let told = read(bare(&site, ME).header("authorization", line)).await;
        assert_eq!(told.essence(), unknown, "{line}");
    }
    for line in [format!("bearer {good}"), format!("BEARER   {good}")] {
        assert_eq!(read(bare(&site, ME).header("authorization", line)).await.status, 200);
    }
    site.database.sql("update users set is_active = false").await;
    assert_eq!(site.get(ME, &good).await.essence(), unknown);
    assert_eq!(site.get(ME, &key).await.essence(), unknown);
}

#[actix_rt::test]
async fn two_credentials_in_one_request_are_refused_in_any_order() {
    let site = Site::open().await;
    let (_, good) = site.log_in("alice", "user").await;
    let bad = SessionToken::generate();
    for (first, second) in [(good.as_str(), bad.expose()), (bad.expose(), &good), (&good, &good)] {
        let request = bare(&site, ME)
            .header("authorization", format!("Bearer {first}"))
            .header("authorization", format!("Bearer {second}"));
        let told = read(request).await;
        assert_eq!((told.status, told.code()), (400, "multiple_credentials".to_owned()));
    }
}

#[actix_rt::test]
async fn me_tells_who_is_asking_and_with_what() {
    let site = Site::open().await;
    let (user, token) = site.log_in("alice", "user").await;
    let told = site.get(ME, &token).await.json();
    assert_eq!(fields(&told), ["credential", "user"]);
    assert_eq!(fields(&told["credential"]), ["expires_at", "id", "kind", "permissions"]);
    assert_eq!((&told["credential"]["kind"], &told["user"]["id"]), (&json!("session"), &json!(user)));
    let key = site.key(user, &[Permission::TasksRead]).await;
    let told = site.get(ME, &key).await.json();
    assert_eq!(told["credential"]["kind"], "api_key");
    assert_eq!(told["credential"]["permissions"], json!(["tasks:read"]));
    assert_eq!(told["credential"]["expires_at"], Value::Null);
    let head = site.send(Method::HEAD, ME, &token).await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
}

#[actix_rt::test]
async fn logging_out_kills_the_token_and_only_that() {
    let site = Site::open().await;
    let (user, token) = site.log_in("alice", "user").await;
    let other = site.stores.open(user).await.token;
    assert_eq!(site.send(Method::POST, "/api/v1/auth/logout", &token).await.status, 204);
    assert_eq!(me(&site, &token).await, 401);
    assert_eq!(site.send(Method::POST, "/api/v1/auth/logout", &token).await.status, 401);
    assert_eq!(me(&site, other.expose()).await, 200);
    assert_eq!(site.database.count("select count(*) from audit_log where action = 'session.close'").await, 1);
}

#[actix_rt::test]
async fn logging_out_everywhere_kills_every_session_and_tells_how_many() {
    let site = Site::open().await;
    let (user, token) = site.log_in("alice", "user").await;
    let mut others = Vec::new();
    for _ in 0..5 {
        others.push(site.stores.open(user).await.token);
    }
    let told = site.send(Method::POST, "/api/v1/auth/logout-all", &token).await;
    assert_eq!((told.status, told.json()), (200, json!({"revoked": 6})));
    assert_eq!(me(&site, &token).await, 401);
    for other in others {
        assert_eq!(me(&site, other.expose()).await, 401);
    }
    let written = "select count(*) from audit_log where action = 'session.close_all' and actor_kind = 'session' \
                   and request_id is not null and ip_address is not null and detail = '{\"closed\": 6}'";
    assert_eq!(site.database.count(written).await, 1);
}

#[actix_rt::test]
async fn refreshing_gives_a_new_token_and_never_a_later_end() {
    let site = Site::open().await;
    let (_, mut token) = site.log_in("alice", "user").await;
    let end = site.get(ME, &token).await.json()["credential"]["expires_at"].clone();
    for _ in 0..20 {
        let told = site.send(Method::POST, "/api/v1/auth/refresh", &token).await;
        assert_eq!(told.status, 200, "{told:?}");
        let told = told.json();
        assert_eq!(fields(&told), ["expires_at", "token", "token_type", "user"]);
        assert_eq!((&told["expires_at"], &told["token_type"]), (&end, &json!("Bearer")));
        assert_eq!(me(&site, &token).await, 401, "the old one");
        token = told["token"].as_str().unwrap().to_owned();
        assert_eq!(me(&site, &token).await, 200);
    }
}

#[actix_rt::test]
async fn people_see_and_end_their_own_sessions_only() {
    let site = Site::open().await;
    let (user, token) = site.log_in("alice", "user").await;
    let (_, stranger) = site.log_in("mallory", "user").await;
    let other = site.stores.open(user).await;
    let told = site.get("/api/v1/auth/sessions", &token).await.json();
    let items = told["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(
        fields(&items[0]),
        [
            "created_at",
            "current",
            "expires_at",
            "id",
            "idle_expires_at",
            "ip_address",
            "last_seen_at",
            "user_agent"
        ]
    );
    assert_eq!((&items[0]["id"], &items[0]["current"]), (&json!(other.id), &json!(false)));
    assert_eq!(items[1]["current"], true);
    let page = site.get("/api/v1/auth/sessions?limit=1", &token).await.json();
    let cursor = page["next_cursor"].as_str().unwrap();
    let next = site.get(&format!("/api/v1/auth/sessions?limit=1&cursor={cursor}"), &token).await.json();
    assert_eq!((&next["items"][0]["current"], &next["next_cursor"]), (&json!(true), &Value::Null));
    let foreign = site.get(&format!("/api/v1/auth/sessions?cursor={cursor}"), &stranger).await;
    assert_eq!((foreign.status, foreign.code()), (400, "malformed_request".to_owned()));
    let path = format!("/api/v1/auth/sessions/{}", other.id);
    let refused = site.send(Method::DELETE, &path, &stranger).await;
    let missing = format!("/api/v1/auth/sessions/{}", uuid::Uuid::now_v7());
    assert_eq!(refused.essence(), site.send(Method::DELETE, &missing, &stranger).await.essence());
    assert_eq!(refused.status, 404);
    assert_eq!(me(&site, other.token.expose()).await, 200);
    assert_eq!(site.send(Method::DELETE, &path, &token).await.status, 204);
    assert_eq!(me(&site, other.token.expose()).await, 401);
    assert_eq!((me(&site, &token).await, me(&site, &stranger).await), (200, 200));
}

#[actix_rt::test]
async fn a_role_takes_effect_on_the_next_request_both_ways() {
    let site = Site::open().await;
    let (user, token) = site.log_in("alice", "user").await;
    for (role, status) in [("admin", 200), ("user", 403), ("admin", 200)] {
        site.database.sql(&format!("update users set role = '{role}' where id = '{user}'")).await;
        assert_eq!(site.get("/api/v1/queues", &token).await.status, status, "{role}");
    }
}

async fn create(site: &Site, token: &str, body: &Value) -> Told {
    site.post(KEYS, token, body).await
}

fn ci() -> Value {
    json!({"name": "ci", "permissions": ["tasks:read", "tasks:write"]})
}

#[actix_rt::test]
async fn a_key_is_shown_once_and_has_the_fields_of_the_contract() {
    let site = Site::open().await;
    let (user, token) = site.log_in("alice", "user").await;
    let told = create(&site, &token, &ci()).await;
    assert_eq!(told.status, 201, "{told:?}");
    let key = told.json();
    let secret = key["key"].as_str().unwrap();
    assert!(ApiKeySecret::parse(secret).is_some(), "{secret}");
    assert_eq!(me(&site, secret).await, 200);
    let shown = [
        "created_at",
        "created_by",
        "expires_at",
        "id",
        "key_prefix",
        "last_used_at",
        "name",
        "permissions",
        "revoked_at",
        "updated_at",
    ];
    let location = told.header("location").unwrap();
    let found = site.get(location, &token).await;
    assert_eq!(fields(&found.json()), shown);
    assert_eq!(found.json()["key_prefix"], secret[..12]);
    assert_eq!(found.json()["created_by"], json!(user));
    let list = site.get(KEYS, &token).await;
    assert_eq!(list.json()["items"], json!([found.json()]));
    assert!(!list.text.contains(&secret[12..]) && !found.text.contains(&secret[12..]));
    assert!(!site.database.dump("audit_log").await.contains(&secret[12..]));
}

#[actix_rt::test]
async fn every_bad_field_of_a_key_is_named() {
    let site = Site::open().await;
    let (_, token) = site.log_in("alice", "user").await;
    let body = json!({"name": "", "permissions": ["tasks:fly"], "expires_at": "tomorrow"});
    let told = create(&site, &token, &body).await;
    assert_eq!(told.fields(), ["/name", "/permissions/0", "/expires_at"]);
    for expires_at in ["2001-01-01T00:00:00Z", "292278994-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "-1"] {
        let told =
            create(&site, &token, &json!({"name": "k", "permissions": [], "expires_at": expires_at})).await;
        assert_eq!(told.fields(), ["/expires_at"], "{expires_at}");
    }
    for name in ["x".repeat(10_000), "a\r\nb".into(), "   ".into()] {
        let told = create(&site, &token, &json!({"name": name, "permissions": []})).await;
        assert_eq!(told.fields(), ["/name"]);
    }
    for malformed in [
        json!({"name": "a\u{0}b", "permissions": []}),
        json!({"name": "k", "permissions": ["tasks:read\u{0}"]}),
        json!({"name": "k", "permissions": [], "expires_at": -1}),
        json!({"name": "k", "permissions": [], "created_by": uuid::Uuid::nil()}),
        json!(["k", []]),
    ] {
        assert_eq!(create(&site, &token, &malformed).await.status, 400, "{malformed}");
    }
    assert_eq!(create(&site, &token, &json!({"name": "k"})).await.fields(), ["/permissions"]);
    for good in [
        json!({"name": "🔑", "permissions": [], "expires_at": null}),
        json!({"name": "k", "permissions": [], "expires_at": "9999-01-01T00:00:00Z"}),
    ] {
        assert_eq!(create(&site, &token, &good).await.status, 201, "{good}");
    }
}

#[actix_rt::test]
async fn nobody_hands_out_more_than_he_has() {
    let site = Site::open().await;
    let (_, token) = site.log_in("alice", "user").await;
    let (_, admin) = site.log_in("boss", "admin").await;
    let wanted = json!({"name": "k", "permissions": ["tasks:read", "users:read"]});
    let told = create(&site, &token, &wanted).await;
    assert_eq!((told.status, told.code()), (403, "forbidden".to_owned()));
    let made = create(&site, &admin, &wanted).await.json();
    let key = made["key"].as_str().unwrap();
    assert_eq!(site.get("/api/v1/queues", key).await.status, 200, "a key of an admin, with the permission");
    let told = site.post("/api/v1/tasks", key, &json!({"task_type": "noop"})).await;
    assert_eq!((told.status, told.code()), (403, "insufficient_scope".to_owned()));
    site.database.sql("update users set role = 'user'").await;
    let told = site.get("/api/v1/queues", key).await;
    assert_eq!((told.status, told.code()), (403, "forbidden".to_owned()), "the owner was demoted");
    assert_eq!(site.get("/api/v1/tasks", key).await.status, 200);
}

#[actix_rt::test]
async fn a_key_manages_no_credentials() {
    let site = Site::open().await;
    let (user, _) = site.log_in("boss", "admin").await;
    let key = site.key(user, &Permission::ALL).await;
    let id = uuid::Uuid::now_v7();
    for (method, path) in [
        (Method::GET, KEYS.to_owned()),
        (Method::GET, format!("{KEYS}/{id}")),
        (Method::DELETE, format!("{KEYS}/{id}")),
        (Method::POST, format!("{KEYS}/{id}/rotate")),
        (Method::GET, "/api/v1/auth/sessions".into()),
        (Method::DELETE, format!("/api/v1/auth/sessions/{id}")),
        (Method::POST, "/api/v1/auth/logout".into()),
        (Method::POST, "/api/v1/auth/logout-all".into()),
        (Method::POST, "/api/v1/auth/refresh".into()),
    ] {
        let told = site.send(method.clone(), &path, &key).await;
        assert_eq!((told.status, told.code()), (403, "forbidden".to_owned()), "{method} {path}");
    }
    assert_eq!(create(&site, &key, &ci()).await.status, 403);
    let told = read(site.request(Method::PATCH, &format!("{KEYS}/{id}"), &key).json(&json!({}))).await;
    assert_eq!(told.status, 403);
    let list = site.get("/api/v1/api-keys/permissions", &key).await.json();
    let published = ["tasks:read", "tasks:write", "users:read", "users:write", "metrics:read"];
    assert_eq!(list, json!({"items": published, "next_cursor": null}));
}

#[actix_rt::test]
async fn keys_are_changed_rotated_and_revoked_by_their_owner_or_an_admin() {
    let site = Site::open().await;
    let (_, token) = site.log_in("alice", "user").await;
    let (_, stranger) = site.log_in("mallory", "user").await;
    let (_, admin) = site.log_in("boss", "admin").await;
    let made = create(&site, &token, &ci()).await.json();
    let (first, path) = (made["key"].as_str().unwrap(), format!("{KEYS}/{}", made["id"].as_str().unwrap()));
    let patch =
        async |token: &str, body: Value| read(site.request(Method::PATCH, &path, token).json(&body)).await;
    for told in [
        site.get(&path, &stranger).await,
        patch(&stranger, json!({"name": "mine"})).await,
        site.send(Method::POST, &format!("{path}/rotate"), &stranger).await,
        site.send(Method::DELETE, &path, &stranger).await,
    ] {
        assert_eq!((told.status, told.code()), (404, "not_found".to_owned()));
    }
    let changed =
        patch(&token, json!({"permissions": ["tasks:read"], "expires_at": "2999-01-01T00:00:00Z"})).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(changed.json()["permissions"], json!(["tasks:read"]));
    assert_eq!(site.post("/api/v1/tasks", first, &json!({"task_type": "noop"})).await.status, 403, "at once");
    let unchanged = patch(&token, json!({"name": null, "permissions": null})).await.json();
    assert_eq!((&unchanged["name"], &unchanged["permissions"]), (&json!("ci"), &json!(["tasks:read"])));
    assert_eq!(patch(&token, json!({"revoked_at": null})).await.status, 400);
    assert_eq!(patch(&admin, json!({"expires_at": null})).await.json()["expires_at"], Value::Null);
    let rotated = site.post(&format!("{path}/rotate"), &token, &json!({"grace_secs": 3600})).await;
    assert_eq!(rotated.status, 200, "{rotated:?}");
    let rotated = rotated.json();
    let second = rotated["key"].as_str().unwrap();
    assert_eq!((me(&site, first).await, me(&site, second).await), (200, 200));
    let third = site.send(Method::POST, &format!("{path}/rotate"), &token).await;
    assert_eq!(third.status, 200, "without a body: {third:?}");
    let third = third.json()["key"].as_str().unwrap().to_owned();
    assert_eq!((me(&site, first).await, me(&site, second).await, me(&site, &third).await), (401, 401, 200));
    for grace in [json!(-1), json!(86_401)] {
        let told = site.post(&format!("{path}/rotate"), &token, &json!({"grace_secs": grace})).await;
        assert_eq!(told.fields(), ["/grace_secs"]);
    }
    assert_eq!(site.send(Method::DELETE, &path, &admin).await.status, 204);
    assert_eq!(me(&site, &third).await, 401);
    assert_eq!(site.send(Method::DELETE, &path, &token).await.status, 204, "again");
    assert_eq!(patch(&token, json!({"name": "late"})).await.status, 409);
    assert!(!site.get(&path, &token).await.json()["revoked_at"].is_null());
    let acts = "select count(*) from audit_log where target_kind = 'api_key' and actor_id is not null";
    assert_eq!(site.database.count(acts).await, 7, "issue, three changes, two rotations, one revocation");
}

#[actix_rt::test]
async fn a_list_of_keys_is_ones_own_and_an_admins_is_everybodys() {
    let site = Site::open().await;
    let (_, alice) = site.log_in("alice", "user").await;
    let (_, bob) = site.log_in("bob", "user").await;
    let (_, admin) = site.log_in("boss", "admin").await;
    for _ in 0..3 {
        create(&site, &alice, &ci()).await;
    }
    create(&site, &bob, &ci()).await;
    let count = async |token: &str| site.get(KEYS, token).await.json()["items"].as_array().unwrap().len();
    assert_eq!((count(&alice).await, count(&bob).await, count(&admin).await), (3, 1, 4));
    let page = site.get(&format!("{KEYS}?limit=2"), &alice).await.json();
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = site.get(&format!("{KEYS}?limit=2&cursor={cursor}"), &alice).await.json();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next_cursor"]), (1, &Value::Null));
    assert_eq!(site.get(&format!("{KEYS}?cursor={cursor}"), &bob).await.status, 400);
    assert_eq!(site.get(&format!("{KEYS}?limit=0"), &alice).await.status, 422);
    assert_eq!(site.get(&format!("{KEYS}?offset=1"), &alice).await.status, 400);
}

#[actix_rt::test]
async fn under_an_idempotency_key_one_key_is_made_however_often_it_is_asked_for() {
    let site = Site::open().await;
    let (user, token) = site.log_in("alice", "user").await;
    let ask = async |token: &str, name: &str, body: Value| {
        read(site.request(Method::POST, KEYS, token).header("idempotency-key", name).json(&body)).await
    };
    let crowd = join_all((0..8).map(|_| ask(&token, "one", ci()))).await;
    let first = crowd.iter().find(|told| told.header("idempotent-replayed").is_none() && told.status == 201);
    assert!(crowd.iter().all(|told| told.status == 201 || told.code() == "idempotency_key_in_progress"));
    let again = ask(&token, "one", ci()).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (201, Some("true")));
    assert_eq!(again.text, first.unwrap().text, "the secret too");
    assert_eq!(site.database.count("select count(*) from api_keys").await, 1);
    let other = ask(&token, "one", json!({"name": "other", "permissions": []})).await;
    assert_eq!((other.status, other.code()), (422, "idempotency_key_reused".to_owned()));
    let elsewhere = site.stores.open(user).await.token;
    let told = ask(elsewhere.expose(), "one", ci()).await;
    assert_eq!(told.status, 409, "another session of his must not read the secret");
    let secret = again.json()["key"].as_str().unwrap()[12..].to_owned();
    assert!(!site.database.dump("idempotency_keys").await.contains(&secret));
}

#[actix_rt::test]
async fn a_key_is_rotated_by_a_request_whose_chunks_hold_nothing() {
    let site = Site::open().await;
    let (_, token) = site.log_in("alice", "user").await;
    let id = create(&site, &token, &ci()).await.json()["id"].as_str().unwrap().to_owned();
    let rotate = |headers: &str, chunks: &str| {
        Peer::connect(site.address()).ask(&format!(
            "POST {KEYS}/{id}/rotate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{headers}\
             Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
        ))
    };
    let json = "Content-Type: application/json\r\n";
    for (headers, chunks, status) in [
        ("", "", 200),
        (json, "", 200),
        (json, "2\r\n{}\r\n", 200),
        ("", "2\r\n{}\r\n", 415),
        ("Content-Type: text/plain\r\n", "2\r\n{}\r\n", 415),
        (json, "2\r\n[]\r\n", 400),
    ] {
        let answer = rotate(headers, chunks);
        assert_eq!(answer.status, status, "{headers:?} {chunks:?}: {answer:?}");
    }
}

#[actix_rt::test]
async fn under_an_idempotency_key_a_key_is_rotated_once() {
    let site = Site::open().await;
    let (user, token) = site.log_in("alice", "user").await;
    let made = read(site.request(Method::POST, KEYS, &token).json(&ci())).await.json();
    let path = format!("{KEYS}/{}/rotate", made["id"].as_str().unwrap());
    let rotate = async |token: &str, body: Option<Value>| {
        let request = site.request(Method::POST, &path, token).header("idempotency-key", "one");
        read(if let Some(body) = body { request.json(&body) } else { request }).await
    };
    let (first, again) = (rotate(&token, None).await, rotate(&token, None).await);
    assert_eq!((first.status, first.header("idempotent-replayed")), (200, None));
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
    assert_eq!(again.text, first.text, "the secret too");
    assert_ne!(first.json()["key"], made["key"]);
    assert_eq!(rotate(&token, Some(json!({"grace_secs": 60}))).await.code(), "idempotency_key_reused");
    let elsewhere = site.stores.open(user).await.token;
    assert_eq!(rotate(elsewhere.expose(), None).await.status, 409, "nor may another session of his read it");
}

#[actix_rt::test]
async fn a_thousand_forged_tokens_change_nothing_for_real_users() {
    let site = Site::open().await;
    let (_, token) = site.log_in("alice", "user").await;
    let forged = (0..1_000).map(|_| async {
        let token = SessionToken::generate();
        me(&site, token.expose()).await
    });
    assert!(join_all(forged).await.into_iter().all(|status| status == 401));
    assert_eq!(me(&site, &token).await, 200);
}
