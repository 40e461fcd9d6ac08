//! Accounts: names that look like others, accounts that are gone, mails that are asked for too often.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use starter::{
    db::one_time_tokens,
    domain::{Email, UserId, letter::Purpose, token::OneTimeToken},
};

use super::{NOBODY, OTHER, refused};
use crate::support::{
    eventually,
    people::PASSWORD,
    site::{Site, read},
};

/// A token as if it had been mailed to `username@example.com`.
pub(crate) async fn mailed(site: &Site, username: &str, purpose: Purpose) -> String {
    let (_, admin) = site.log_in(&format!("clerk-of-{purpose:?}").to_lowercase(), "admin").await;
    let found = site.get(&format!("/api/v1/users?q={username}"), &admin).await.json();
    let id = found["items"][0]["id"].as_str().unwrap().parse().unwrap();
    let (token, email) =
        (OneTimeToken::generate(), Email::parse(&format!("{username}@example.com")).unwrap());
    let mut connection = site.database.connection().await;
    let hour = Duration::from_secs(3_600);
    one_time_tokens::put(&mut connection, UserId(id), purpose, &token.hash(), &email, hour).await.unwrap();
    token.expose().to_owned()
}

#[actix_rt::test]
async fn every_refused_log_in_is_the_same_answer_to_the_last_header() {
    let site = Site::open().await;
    for name in ["alice", "bobby", "carol"] {
        site.register(name).await;
    }
    site.database
        .sql(
            "update users set is_active = false where username = 'bobby';
             update users set password_hash = 'x' where username = 'carol'",
        )
        .await;
    let wrong = site.enter("alice", OTHER).await.essence();
    assert_eq!(wrong.0, 401);
    let (long, longer) = ("n".repeat(200), "n".repeat(1_000));
    for name in ["bobby", "carol", "nobody", &long, &longer, "nobody@example.com"] {
        assert_eq!(site.enter(name, PASSWORD).await.essence(), wrong, "{name}");
    }
}

#[actix_rt::test]
async fn whoever_deletes_his_account_leaves_nothing_for_who_takes_the_name() {
    let site = Site::open().await;
    let token = site.member("alice").await;
    let other = site.enter("alice", PASSWORD).await.json()["token"].as_str().unwrap().to_owned();
    let before = site.get("/api/v1/users/me", &token).await.json()["id"].clone();
    let key = site
        .post("/api/v1/api-keys", &token, &json!({"name": "k", "permissions": ["tasks:read"]}))
        .await
        .json();
    let key = key["key"].as_str().unwrap().to_owned();
    site.post("/api/v1/tasks", &token, &json!({"task_type": "noop"})).await;
    let reset = mailed(&site, "alice", Purpose::ResetPassword).await;
    let leave = site.request(Method::DELETE, "/api/v1/users/me", &token).json(&json!({"password": PASSWORD}));
    assert_eq!(read(leave).await.status, 204);
    refused(&site.enter("alice", PASSWORD).await, 401, "invalid_credentials");

    let again = site.member("alice").await;
    for dead in [&token, &other, &key] {
        refused(&site.get("/api/v1/auth/me", dead).await, 401, "unauthenticated");
    }
    let reset = json!({"token": reset, "new_password": OTHER});
    refused(&site.ask("password/reset", &reset).await, 400, "invalid_or_expired_token");
    assert_ne!(site.get("/api/v1/users/me", &again).await.json()["id"], before);
    for path in ["api-keys", "tasks"] {
        assert_eq!(site.get(&format!("/api/v1/{path}"), &again).await.json()["items"], json!([]), "{path}");
    }
    let sessions = site.get("/api/v1/auth/sessions", &again).await.json();
    assert_eq!(sessions["items"].as_array().unwrap().len(), 1);
}

#[actix_rt::test]
async fn wrong_passwords_for_a_deletion_are_counted_and_then_locked_out() {
    let site = Site::open().await;
    let token = site.member("alice").await;
    let leave = async |password: &str| {
        read(site.request(Method::DELETE, "/api/v1/users/me", &token).json(&json!({"password": password})))
            .await
    };
    for _ in 0..10 {
        refused(&leave(OTHER).await, 403, "current_password_incorrect");
    }
    refused(&leave(PASSWORD).await, 429, "account_locked");
    assert_eq!(site.get("/api/v1/users/me", &token).await.status, 200);
}

#[actix_rt::test]
async fn a_reset_ends_sessions_keeps_keys_opens_none_and_works_once() {
    let site = Site::open().await;
    let token = site.member("alice").await;
    let prove = json!({"token": mailed(&site, "alice", Purpose::VerifyEmail).await});
    assert_eq!(site.ask("email/verify", &prove).await.status, 204);
    let key = site
        .post("/api/v1/api-keys", &token, &json!({"name": "k", "permissions": ["tasks:read"]}))
        .await
        .json();
    let mail = mailed(&site, "alice", Purpose::ResetPassword).await;
    // What follows links in mails to look at them uses nothing up.
    for path in ["/reset-password", "/api/v1/auth/password/reset"] {
        let looked = read(site.anonymous(Method::GET, &format!("{path}?token={mail}"))).await;
        assert!([200, 405].contains(&looked.status), "{looked:?}");
    }
    let reset = json!({"token": mail, "new_password": OTHER});
    let told = site.ask("password/reset", &reset).await;
    assert_eq!((told.status, told.text.as_str()), (204, ""));
    refused(&site.ask("password/reset", &reset).await, 400, "invalid_or_expired_token");
    refused(&site.get("/api/v1/auth/me", &token).await, 401, "unauthenticated");
    assert_eq!(site.get("/api/v1/auth/me", key["key"].as_str().unwrap()).await.status, 200);
    assert_eq!(site.enter("alice", OTHER).await.status, 200);
}

#[actix_rt::test]
async fn an_address_is_proved_by_a_post_and_once() {
    let site = Site::open().await;
    let token = site.member("alice").await;
    let mail = mailed(&site, "alice", Purpose::VerifyEmail).await;
    for path in ["/verify-email", "/api/v1/auth/email/verify"] {
        let looked = read(site.anonymous(Method::GET, &format!("{path}?token={mail}"))).await;
        assert!([200, 405].contains(&looked.status), "{looked:?}");
    }
    let proved = async || site.get("/api/v1/users/me", &token).await.json()["email_verified"].clone();
    assert_eq!(proved().await, json!(false));
    assert_eq!(site.ask("email/verify", &json!({"token": mail})).await.status, 204);
    assert_eq!(proved().await, json!(true));
    refused(&site.ask("email/verify", &json!({"token": mail})).await, 400, "invalid_or_expired_token");
}

#[actix_rt::test]
async fn ten_requests_for_a_mail_make_three_and_tell_nothing() {
    let site = Site::open().await;
    site.register("alice").await;
    site.database.sql("delete from tasks").await;
    let ask = async |email: &str| {
        let told = site.ask("password/forgot", &json!({ "email": email })).await;
        let (status, mut headers) = (told.status, told.headers.clone());
        for varies in ["date", "x-request-id"] {
            headers.remove(varies);
        }
        (status, told.text, format!("{headers:?}"))
    };
    for _ in 0..10 {
        let known = ask("alice@example.com").await;
        assert_eq!((known.0, &known), (202, &ask("nobody@example.com").await));
    }
    let mails = "select count(*) from tasks where task_type = 'email.account' and payload::text like ";
    assert!((1..=3).contains(&site.database.count(&format!("{mails}'%alice@%'")).await));
}

#[actix_rt::test]
async fn letters_that_look_like_others_are_no_other_way_to_write_an_address() {
    let site = Site::open().await;
    let plain = json!({"username": "quack", "email": "quack@x.co", "password": PASSWORD});
    assert_eq!(site.ask("register", &plain).await.status, 201);
    site.database.sql("delete from tasks").await;
    for email in ["quac\u{212a}@x.co", "mıke@x.co", "İ@x.co"] {
        let told =
            site.ask("register", &json!({"username": "other", "email": email, "password": PASSWORD})).await;
        assert_eq!(told.fields(), ["/email"], "{email}");
        assert_eq!(site.ask("password/forgot", &json!({ "email": email })).await.fields(), ["/email"]);
        refused(&site.enter(email, PASSWORD).await, 401, "invalid_credentials");
    }
    assert_eq!(site.database.count("select count(*) from tasks").await, 0);
}

#[actix_rt::test]
async fn more_bodies_that_no_route_takes() {
    let site = Site::open().await;
    let alice = site.member("alice").await;
    let (_, admin) = site.log_in("chief", "admin").await;
    let with = |field: &str, value: Value| {
        let mut body = json!({"username": "dora", "email": "d@b.co", "password": PASSWORD});
        body[field] = value;
        body
    };
    for (path, body) in [
        ("register", with("email_verified", json!(true))),
        ("register", with("id", json!(NOBODY))),
        ("register", with("email", json!("a\u{0}@b.co"))),
        ("login", json!({"login": "a\u{0}", "password": PASSWORD})),
        ("login", json!({"username": "alice", "email": "alice@example.com", "password": PASSWORD})),
    ] {
        refused(&site.ask(path, &body).await, 400, "malformed_request");
    }
    assert_eq!(site.ask("login", &json!({})).await.fields(), ["/login", "/password"]);
    let id = site.get("/api/v1/users/me", &alice).await.json()["id"].as_str().unwrap().to_owned();
    let user = format!("/api/v1/users/{id}");
    for role in [json!(1), json!(["admin"])] {
        refused(&site.patch(&user, &admin, &json!({ "role": role })).await, 400, "malformed_request");
    }
    // Null is absent: it takes nothing away.
    assert_eq!(site.patch(&user, &admin, &json!({ "role": null })).await.json()["role"], "user");
    for role in ["Admin", "admin ", "superuser"] {
        assert_eq!(site.patch(&user, &admin, &json!({ "role": role })).await.fields(), ["/role"], "{role}");
    }
    assert_eq!(site.get(&user, &admin).await.json()["role"], "user");
    let nested = json!({"task_type": "noop", "payload": {"a": {"b": ["\u{0}"]}}});
    assert_eq!(site.post("/api/v1/tasks", &alice, &nested).await.status, 400);
    assert_eq!(site.get("/api/v1/users?q=%00", &admin).await.status, 400);
}

#[actix_rt::test]
async fn whether_a_credential_is_good_is_decided_by_the_databases_clock() {
    for (shift, idle, accepted) in [
        ("+ interval '1 hour'", "+ interval '30 minutes'", false),
        ("- interval '1 hour'", "- interval '30 minutes'", true),
    ] {
        let site = Site::open().await;
        let (_, token) = site.log_in("alice", "user").await;
        let name = site.database.url().rsplit_once('/').unwrap().1.to_owned();
        site.database
            .sql(&format!(
                "create schema shift;
                 create function shift.now() returns timestamptz language sql stable as
                     $$ select pg_catalog.now() {shift} $$;
                 alter database {name} set search_path = shift, pg_catalog, public;
                 update sessions set created_at = created_at - interval '2 hours', idle_expires_at = pg_catalog.now() {idle};
                 select pg_terminate_backend(pid) from pg_stat_activity
                 where datname = current_database() and pid <> pg_backend_pid()"
            ))
            .await;
        let expected = if accepted { 200 } else { 401 };
        eventually(Duration::from_secs(20), async || {
            let told = site.get("/api/v1/auth/me", &token).await;
            // Whoever meets a connection that is just being cut is told to try again.
            assert!(told.status == expected || told.status == 503, "{shift}: {told:?}");
            told.status == expected
        })
        .await;
    }
}
