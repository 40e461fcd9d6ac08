//! Accounts, users and the audit log over HTTP, as the contract has them.

use reqwest::Method;
use serde_json::{Value, json};
use starter::domain::Permission;

use crate::support::{
    people::{NOBODY, OTHER, PASSWORD, refused},
    site::{Site, Told, read},
};

/// Body but for the request's id.
fn body(told: &Told) -> Value {
    let mut body = told.json();
    body.as_object_mut().unwrap().remove("request_id");
    body
}

#[actix_rt::test]
async fn somebody_registers_logs_in_and_reads_his_profile() {
    let site = Site::open().await;
    let told = site.register("Alice").await;
    assert_eq!(told.status, 201, "{told:?}");
    let user = told.json();
    let location = format!("/api/v1/users/{}", user["id"].as_str().unwrap());
    assert_eq!(told.header("location"), Some(location.as_str()));
    let mut fields: Vec<&String> = user.as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            "created_at",
            "email",
            "email_verified",
            "id",
            "is_active",
            "last_login_at",
            "role",
            "updated_at",
            "username"
        ]
    );
    assert_eq!(
        (&user["role"], &user["email_verified"], &user["last_login_at"]),
        (&json!("user"), &json!(false), &Value::Null)
    );
    let session = site.enter("ALICE@example.com", PASSWORD).await;
    assert_eq!(session.status, 200, "{session:?}");
    let session = session.json();
    assert_eq!((&session["token_type"], &session["user"]["id"]), (&json!("Bearer"), &user["id"]));
    assert!(session["expires_at"].is_string());
    let token = session["token"].as_str().unwrap();
    let me = site.get("/api/v1/users/me", token).await;
    assert_eq!((me.status, &me.json()), (200, &session["user"]));
    refused(&site.register("ALICE").await, 409, "account_exists");
}

#[actix_rt::test]
async fn bad_bodies_get_the_code_of_the_contract() {
    let site = Site::open().await;
    let told = site.ask("register", &json!({"username": "-", "email": "x", "password": "short"})).await;
    assert_eq!(told.fields(), ["/username", "/email", "/password"]);
    assert_eq!(site.ask("register", &json!({})).await.fields(), ["/username", "/email", "/password"]);
    assert_eq!(site.ask("login", &json!({"login": "alice"})).await.fields(), ["/password"]);
    assert_eq!(site.ask("password/forgot", &json!({"email": "nonsense"})).await.fields(), ["/email"]);
    for (path, body) in [
        ("register", json!({"username": "alice", "email": "a@b.co", "password": PASSWORD, "role": "admin"})),
        (
            "register",
            json!({"username": "alice", "email": "a@b.co", "password": PASSWORD, "is_active": true}),
        ),
        ("register", json!({"username": "al\u{0}ice", "email": "a@b.co", "password": PASSWORD})),
        ("register", json!({"username": 1, "email": "a@b.co", "password": PASSWORD})),
        ("register", json!(["alice", "a@b.co", PASSWORD])),
        ("login", json!({"login": "alice", "password": null})),
        ("login", json!({"login": ["alice"], "password": PASSWORD})),
        ("login", json!({"login": "alice", "password": "\u{0}"})),
        ("password/reset", json!({"token": 7, "new_password": PASSWORD})),
        ("email/verify", json!({"token": "a\u{0}"})),
    ] {
        refused(&site.ask(path, &body).await, 400, "malformed_request");
    }
    let big = json!({"login": "alice", "password": "x".repeat(17_000)});
    refused(&site.ask("login", &big).await, 413, "payload_too_large");
    let form =
        site.anonymous(Method::POST, "/api/v1/auth/login").header("content-type", "text/plain").body("{}");
    refused(&read(form).await, 415, "unsupported_media_type");
    refused(&read(site.anonymous(Method::GET, "/api/v1/auth/email/verify")).await, 405, "method_not_allowed");
}

#[actix_rt::test]
async fn an_address_that_no_mail_reaches_is_refused_where_accounts_are_made_or_changed() {
    let site = Site::open().await;
    let (alice, token) = site.log_in("alice", "user").await;
    let (_, admin) = site.log_in("boss", "admin").await;
    let (me, of_alice) = ("/api/v1/users/me", format!("/api/v1/users/{}", alice.0));
    for email in
        ["ada@gmail", "ada@büro", "übung@example.com", "ada@intranet.", "ada@bücher.example\r\nBcc: a@b.co"]
    {
        let body = json!({"username": "ada", "email": email, "password": PASSWORD});
        assert_eq!(site.ask("register", &body).await.fields(), ["/email"], "{email}");
        assert_eq!(site.post("/api/v1/users", &admin, &body).await.fields(), ["/email"], "{email}");
        let change = json!({"email": email});
        for (path, token) in [(me, &token), (of_alice.as_str(), &admin)] {
            let told = read(site.request(Method::PATCH, path, token).json(&change)).await;
            assert_eq!(told.fields(), ["/email"], "{email}");
        }
    }
    let local = json!({"username": "ada", "email": "ada@localhost", "password": PASSWORD});
    assert_eq!(site.ask("register", &local).await.status, 201);
}

#[actix_rt::test]
async fn passwords_are_taken_as_they_are_from_shortest_to_longest() {
    let site = Site::open().await;
    let (longest, composed, decomposed) =
        ("x9".repeat(128), "josé was here in 1999", "jose\u{301} was here in 1999");
    for (n, password) in [
        "kT9#mQ2$vL7x",
        &"q".repeat(64),
        &longest,
        "  spaces at both ends\t ",
        "🔑 пароль с ключом 🔑",
        composed,
    ]
    .into_iter()
    .enumerate()
    {
        let (name, email) = (format!("user{n}"), format!("user{n}@example.com"));
        let told =
            site.ask("register", &json!({"username": name, "email": email, "password": password})).await;
        assert_eq!(told.status, 201, "{password} {told:?}");
        assert_eq!(site.enter(&name, password).await.status, 200, "{password}");
        let trimmed = password.trim();
        if trimmed != password {
            refused(&site.enter(&name, trimmed).await, 401, "invalid_credentials");
        }
    }
    assert_eq!(site.enter("user5", decomposed).await.status, 200, "composed otherwise by another keyboard");
    let told = site
        .ask("register", &json!({"username": "carol", "email": "c@b.co", "password": format!("{longest}x")}))
        .await;
    assert_eq!(told.fields(), ["/password"]);
}

#[actix_rt::test]
async fn a_refused_log_in_never_says_why_and_the_eleventh_is_told_to_wait() {
    let site = Site::open().await;
    let token = site.member("alice").await;
    site.register("bob").await;
    site.database.sql("update users set is_active = false where username = 'bob'").await;
    let wrong = site.enter("alice", OTHER).await;
    refused(&wrong, 401, "invalid_credentials");
    assert!(wrong.header("www-authenticate").unwrap().starts_with("Bearer realm=\"starter\""));
    for told in [site.enter("bob", PASSWORD).await, site.enter("nobody", PASSWORD).await] {
        assert_eq!((told.status, body(&told)), (401, body(&wrong)));
    }
    for name in ["alice", "nobody-else"] {
        let already = usize::from(name == "alice");
        for _ in already..10 {
            refused(&site.enter(name, OTHER).await, 401, "invalid_credentials");
        }
        let locked = site.enter(name, PASSWORD).await;
        refused(&locked, 429, "account_locked");
        let wait: u64 = locked.header("retry-after").unwrap().parse().unwrap();
        assert!((800..=900).contains(&wait), "{wait}");
    }
    assert_eq!(site.get("/api/v1/users/me", &token).await.status, 200);
}

#[actix_rt::test]
async fn the_password_is_changed_by_whoever_knows_it() {
    let site = Site::open().await;
    let here = site.member("alice").await;
    let there = site.enter("alice", PASSWORD).await.json()["token"].as_str().unwrap().to_owned();
    let change = async |current: &str, new: &str| {
        let body = json!({"current_password": current, "new_password": new});
        site.post("/api/v1/auth/password", &here, &body).await
    };
    refused(&change(OTHER, PASSWORD).await, 403, "current_password_incorrect");
    assert_eq!(change(PASSWORD, "short").await.fields(), ["/new_password"]);
    assert_eq!(change(PASSWORD, PASSWORD).await.fields(), ["/new_password"]);
    assert_eq!(change(PASSWORD, OTHER).await.status, 204);
    assert_eq!(site.get("/api/v1/users/me", &here).await.status, 200);
    refused(&site.get("/api/v1/users/me", &there).await, 401, "unauthenticated");
    assert_eq!(site.enter("alice", OTHER).await.status, 200);
}

#[actix_rt::test]
async fn mails_are_asked_for_without_learning_who_has_an_account() {
    let site = Site::open().await;
    let token = site.member("alice").await;
    let known = site.ask("password/forgot", &json!({"email": "alice@example.com"})).await;
    let unknown = site.ask("password/forgot", &json!({"email": "nobody@example.com"})).await;
    assert_eq!((known.status, unknown.status, &known.text), (202, 202, &unknown.text));
    assert_eq!(site.send(Method::POST, "/api/v1/auth/email/resend", &token).await.status, 202);
    let tokens =
        ["", "x", &"x".repeat(10_000), "ott_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "sess_x", "ott_é"];
    for wrong in tokens {
        let reset = json!({"token": wrong, "new_password": OTHER});
        refused(&site.ask("password/reset", &reset).await, 400, "invalid_or_expired_token");
        refused(&site.ask("email/verify", &json!({"token": wrong})).await, 400, "invalid_or_expired_token");
    }
    let (_, admin) = site.log_in("chief", "admin").await;
    let tasks = site.get("/api/v1/tasks?task_type=email.account", &admin).await.json();
    assert_eq!(tasks["items"].as_array().unwrap().len(), 4, "{tasks}");
    assert!(!tasks.to_string().contains("ott_"));
    assert_eq!(site.get("/api/v1/tasks", &token).await.json()["items"], json!([]));
    let forged = json!({"task_type": "email.account", "payload": {"letter": "reset_password", "address": "alice@example.com"}});
    assert_eq!(site.post("/api/v1/tasks", &admin, &forged).await.fields(), ["/task_type"]);
}

#[actix_rt::test]
async fn somebody_changes_and_deletes_his_own_account() {
    let site = Site::open().await;
    let token = site.member("alice").await;
    site.register("bob").await;
    let me = "/api/v1/users/me";
    let changed =
        site.patch(me, &token, &json!({"username": "Alicia", "email": "alicia@example.com"})).await.json();
    assert_eq!((&changed["username"], &changed["email"]), (&json!("Alicia"), &json!("alicia@example.com")));
    assert_eq!(site.patch(me, &token, &json!({})).await.json(), changed);
    refused(&site.patch(me, &token, &json!({"username": "BOB"})).await, 409, "account_exists");
    assert_eq!(
        site.patch(me, &token, &json!({"username": "-", "email": "-"})).await.fields(),
        ["/username", "/email"]
    );
    // Null is absent: nothing changes.
    assert_eq!(site.patch(me, &token, &json!({"username": null, "email": null})).await.json(), changed);
    for (field, value) in [("role", json!("admin")), ("is_active", json!(true)), ("id", json!(NOBODY))] {
        refused(&site.patch(me, &token, &json!({field: value})).await, 400, "malformed_request");
    }
    let leave = async |password: &str| {
        read(site.request(Method::DELETE, me, &token).json(&json!({"password": password}))).await
    };
    refused(&leave(OTHER).await, 403, "current_password_incorrect");
    assert_eq!(leave(PASSWORD).await.status, 204);
    refused(&site.get(me, &token).await, 401, "unauthenticated");
}

#[actix_rt::test]
async fn only_admins_manage_users_and_the_last_one_stays() {
    let site = Site::open().await;
    let alice = site.member("alice").await;
    let (chief, admin) = site.log_in("chief", "admin").await;
    let id = site.get("/api/v1/users/me", &alice).await.json()["id"].as_str().unwrap().to_owned();
    let user = format!("/api/v1/users/{id}");
    for told in [
        site.get("/api/v1/users", &alice).await,
        site.get(&user, &alice).await,
        site.patch(&user, &alice, &json!({"role": "admin"})).await,
        site.delete(&user, &alice).await,
        site.delete(&format!("{user}/sessions"), &alice).await,
        site.get("/api/v1/audit", &alice).await,
    ] {
        refused(&told, 403, "forbidden");
    }
    refused(&site.get(&format!("/api/v1/users/{NOBODY}"), &admin).await, 404, "not_found");
    refused(&site.get("/api/v1/users/nonsense", &admin).await, 400, "malformed_request");
    assert_eq!(
        site.patch(&user, &admin, &json!({"role": "superuser", "email": "x"})).await.fields(),
        ["/email", "/role"]
    );
    let promoted = site.patch(&user, &admin, &json!({"role": "admin", "email_verified": true})).await.json();
    assert_eq!((&promoted["role"], &promoted["email_verified"]), (&json!("admin"), &json!(true)));
    assert_eq!(site.get("/api/v1/users", &alice).await.status, 200, "at once");
    assert_eq!(site.patch(&user, &admin, &json!({"role": "user"})).await.status, 200);
    refused(&site.get("/api/v1/users", &alice).await, 403, "forbidden");
    let own = format!("/api/v1/users/{chief}");
    for told in [
        site.patch(&own, &admin, &json!({"role": "user"})).await,
        site.patch(&own, &admin, &json!({"is_active": false})).await,
        site.delete(&own, &admin).await,
    ] {
        refused(&told, 409, "last_admin");
    }
    assert_eq!(site.delete(&format!("{user}/sessions"), &admin).await.json(), json!({"revoked": 1}));
    refused(&site.get("/api/v1/users/me", &alice).await, 401, "unauthenticated");
    assert_eq!(site.delete(&user, &admin).await.status, 204);
    refused(&site.delete(&user, &admin).await, 404, "not_found");
}

#[actix_rt::test]
async fn an_admin_makes_users_and_pages_through_them() {
    let site = Site::open().await;
    let (_, admin) = site.log_in("chief", "admin").await;
    let new = |n: usize, role: &str| json!({"username": format!("user_{n}"), "email": format!("u{n}@example.com"), "password": PASSWORD, "role": role});
    let told = site
        .post("/api/v1/users", &admin, &json!({"username": "-", "email": "-", "password": "-", "role": "-"}))
        .await;
    assert_eq!(told.fields(), ["/username", "/email", "/password", "/role"]);
    for n in 0..5 {
        let told = site.post("/api/v1/users", &admin, &new(n, if n == 0 { "admin" } else { "user" })).await;
        assert_eq!(told.status, 201, "{told:?}");
        let location = told.header("location").unwrap().to_owned();
        assert_eq!(site.get(&location, &admin).await.json(), told.json());
    }
    let mut names = Vec::new();
    let mut path = "/api/v1/users?limit=2".to_owned();
    loop {
        let page = site.get(&path, &admin).await.json();
        names.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|user| user["username"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/v1/users?limit=2&cursor={cursor}");
    }
    assert_eq!(names, ["user_4", "user_3", "user_2", "user_1", "user_0", "chief"]);
    for (query, count) in
        [("role=admin", 2), ("is_active=false", 0), ("q=USER_", 5), ("q=%25", 0), ("role=user&q=u3", 1)]
    {
        let page = site.get(&format!("/api/v1/users?{query}"), &admin).await.json();
        assert_eq!(page["items"].as_array().unwrap().len(), count, "{query}");
    }
    for query in ["limit=0", "limit=101", "role=superuser"] {
        assert_eq!(site.get(&format!("/api/v1/users?{query}"), &admin).await.fields().len(), 1, "{query}");
    }
    for query in ["limit=x", "cursor=x", "is_active=1", "nonsense=1", "q=a&q=b"] {
        refused(&site.get(&format!("/api/v1/users?{query}"), &admin).await, 400, "malformed_request");
    }
}

#[actix_rt::test]
async fn a_key_manages_users_as_far_as_it_cannot_become_more_than_it_is() {
    let site = Site::open().await;
    let (chief, _) = site.log_in("chief", "admin").await;
    site.register("alice").await;
    let alice = site.enter("alice", PASSWORD).await.json()["user"]["id"].as_str().unwrap().to_owned();
    let user = format!("/api/v1/users/{alice}");
    let reader = site.key(chief, &[Permission::UsersRead]).await;
    let writer = site.key(chief, &[Permission::UsersRead, Permission::UsersWrite]).await;
    assert_eq!(site.get(&user, &reader).await.status, 200);
    refused(&site.patch(&user, &reader, &json!({"username": "alicia"})).await, 403, "insufficient_scope");
    assert_eq!(site.patch(&user, &writer, &json!({"username": "alicia"})).await.status, 200);
    for change in
        [json!({"role": "admin"}), json!({"email": "x@example.com"}), json!({"email_verified": true})]
    {
        refused(&site.patch(&user, &writer, &change).await, 403, "forbidden");
    }
    let new = json!({"username": "bob", "email": "bob@example.com", "password": PASSWORD, "role": "admin"});
    refused(&site.post("/api/v1/users", &writer, &new).await, 403, "forbidden");
    for path in ["/api/v1/users/me", "/api/v1/audit"] {
        refused(&site.get(path, &writer).await, 403, "forbidden");
    }
    let change = json!({"current_password": PASSWORD, "new_password": OTHER});
    refused(&site.post("/api/v1/auth/password", &writer, &change).await, 403, "forbidden");
    refused(&site.delete(&format!("{user}/sessions"), &writer).await, 403, "forbidden");
}

#[actix_rt::test]
async fn an_admin_reads_who_did_what() {
    let site = Site::open().await;
    let alice = site.member("alice").await;
    let (chief, admin) = site.log_in("chief", "admin").await;
    let id = site.get("/api/v1/users/me", &alice).await.json()["id"].as_str().unwrap().to_owned();
    site.patch(&format!("/api/v1/users/{id}"), &admin, &json!({"role": "admin"})).await;
    site.enter("alice", OTHER).await;
    let entries = site.get(&format!("/api/v1/audit?target={id}"), &admin).await.json();
    let told: Vec<(&str, &str)> = entries["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["action"].as_str().unwrap(), entry["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("session.open", "failure"),
            ("user.update", "success"),
            ("session.open", "success"),
            ("user.register", "success")
        ]
    );
    let by_chief = site.get(&format!("/api/v1/audit?actor={chief}&action=user."), &admin).await.json();
    let update = &by_chief["items"][0];
    assert_eq!((&update["actor_kind"], &update["ip_address"]), (&json!("session"), &json!("127.0.0.1")));
    assert!(update["request_id"].is_string() && update["credential_id"].is_string());
    assert_eq!(by_chief["items"].as_array().unwrap().len(), 1);
    for secret in [PASSWORD, OTHER, "argon2", "sess_"] {
        assert!(!entries.to_string().contains(secret));
    }
    for query in ["actor=x", "target=alice", "cursor=x", "nonsense=1"] {
        refused(&site.get(&format!("/api/v1/audit?{query}"), &admin).await, 400, "malformed_request");
    }
}
