//! The authorisation matrix: every operation of the OpenAPI document, asked by every kind of caller, with bodies that are
//! well-formed, malformed, of another type, or too large. What a caller may do is derived from the action that the
//! route table declares; the caller is judged before the body, whatever the body is.

use std::collections::HashMap;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use starter::{
    domain::{Action, Caller, Error, Permission, UserId, api_key::ApiKeySecret, token::SessionToken},
    http,
};

use crate::{
    openapi::{document, operations},
    support::{people::NOBODY, site::Site},
};

/// Larger than any route takes.
const TOO_LARGE: usize = 300_000;

/// A caller, and what they are asked with.
struct Visitor {
    name: String,
    /// Whose session it is, where the credential is one that works.
    user: Option<UserId>,
    token: Option<String>,
    /// `None`: nobody that the service knows.
    caller: Option<std::sync::Arc<Caller>>,
}

/// One operation of the document, with the action that its endpoint declares.
struct Operation {
    method: Method,
    path: String,
    takes_body: bool,
    action: Option<Action>,
}

/// The operations of the document, each with the endpoint that it was made from.
fn matrix() -> Vec<Operation> {
    let endpoints = http::routes();
    let declared: HashMap<(String, String), Option<Action>> = endpoints
        .iter()
        .map(|each| ((each.method().to_string(), each.pattern().to_owned()), each.access().action()))
        .collect();
    let all = operations(&document());
    assert_eq!(all.len(), declared.len(), "an operation without an endpoint, or the other way round");

    all.into_iter()
        .map(|(path, method, operation)| {
            let method = method.to_uppercase();
            let action = declared[&(method.clone(), path.clone())];
            let secured = operation["security"].as_array().is_some_and(|all| !all.is_empty());
            assert_eq!(secured, action.is_some(), "{method} {path}: the document says something else");
            let takes_body = operation["requestBody"].is_object();
            Operation { method: method.parse().unwrap(), path, takes_body, action }
        })
        .collect()
}

impl Operation {
    fn path(&self, id: &str) -> String {
        let path = self.path.replace("{name}", "default").replace("{code}", "not_found");
        path.replace("{file}", "start.js").replace("{id}", id)
    }

    /// The refusal that a caller has to expect.
    fn refusal(&self, visitor: &Visitor) -> Option<(u16, &'static str)> {
        let action = self.action?;
        match visitor.caller.as_ref().map(|caller| caller.may(action)) {
            None => Some((401, "unauthenticated")),
            Some(Ok(())) => None,
            Some(Err(Error::Forbidden)) => Some((403, "forbidden")),
            Some(Err(Error::InsufficientScope)) => Some((403, "insufficient_scope")),
            Some(Err(other)) => panic!("{other:?}"),
        }
    }
}

impl Visitor {
    async fn with_session(site: &Site, name: &str, user: UserId) -> Self {
        let token = site.stores.open(user).await.token;
        let caller = site.stores.resolve(&token).await.ok();
        Self { name: name.to_owned(), user: Some(user), token: Some(token.expose().to_owned()), caller }
    }

    async fn with_key(site: &Site, name: String, key: String) -> Self {
        let caller = site.stores.verify(&ApiKeySecret::parse(&key).unwrap()).await.ok();
        Self { name, user: None, token: Some(key), caller }
    }

    /// The credential for the next request: a session that the request before ended is replaced.
    async fn credential(&mut self, site: &Site) -> Option<String> {
        let (Some(user), Some(token)) = (self.user, &self.token) else { return self.token.clone() };
        if site.stores.resolve(&SessionToken::parse(token).unwrap()).await.is_err() {
            // `logout-all` makes all sessions void by this number.
            site.database.sql(&format!("update users set auth_version = 0 where id = '{user}'")).await;
            self.token = Some(site.stores.open(user).await.token.expose().to_owned());
        }
        self.token.clone()
    }
}

/// Keys with one permission each, of somebody whose rights change after.
async fn keys(site: &Site, of: &str, user: UserId, permissions: &[Permission]) -> Vec<(String, String)> {
    let mut keys = Vec::new();
    for permission in permissions {
        keys.push((format!("{of}'s key with {permission}"), site.key(user, &[*permission]).await));
    }
    keys
}

async fn visitors(site: &Site) -> (Vec<Visitor>, UserId) {
    let user_with = async |name: &str, role: &str| site.log_in(name, role).await.0;
    let (alice, bobby) = (user_with("alice", "user").await, user_with("bobby", "user").await);
    let chief = user_with("chief", "admin").await;
    let (demoted, gone) = (user_with("demoted", "admin").await, user_with("gone", "admin").await);

    let mut held = keys(site, "an admin", chief, &Permission::ALL).await;
    held.extend(keys(site, "a user", alice, &[Permission::TasksRead, Permission::TasksWrite]).await);
    held.extend(keys(site, "a demoted admin", demoted, &Permission::ALL).await);
    held.extend(keys(site, "a deactivated owner", gone, &Permission::ALL).await);
    let was_open = site.stores.open(gone).await.token.expose().to_owned();
    site.database.sql(&format!("update users set role = 'user' where id = '{demoted}'")).await;
    site.database.sql(&format!("update users set is_active = false where id = '{gone}'")).await;

    let nobody = |name: &str, token: Option<String>| Visitor {
        name: name.to_owned(),
        user: None,
        token,
        caller: None,
    };
    let mut all = vec![
        nobody("nobody", None),
        nobody("a stranger with a token", Some(SessionToken::generate().expose().to_owned())),
        nobody("a deactivated owner", Some(was_open)),
        Visitor::with_session(site, "a user", alice).await,
        Visitor::with_session(site, "another user", bobby).await,
        Visitor::with_session(site, "an admin", chief).await,
        Visitor::with_session(site, "a demoted admin", demoted).await,
    ];
    for (name, key) in held {
        all.push(Visitor::with_key(site, name, key).await);
    }
    (all, alice)
}

/// Sends one request, and returns the status and the code of a problem. Streams are not read.
async fn ask(
    site: &Site,
    method: &Method,
    path: &str,
    token: Option<&str>,
    body: Option<&(&str, String)>,
) -> (u16, String) {
    let mut request = site.anonymous(method.clone(), path);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some((content_type, body)) = body {
        request = request.header("content-type", *content_type).body(body.clone());
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let is_problem =
        answer.headers().get("content-type").is_some_and(|kind| kind == "application/problem+json");
    let problem: Value = if is_problem { answer.json().await.unwrap() } else { Value::Null };
    (status, problem["code"].as_str().unwrap_or_default().to_owned())
}

/// Bodies, with the answer that an admitted caller gets, where it is the same everywhere.
fn bodies() -> Vec<((&'static str, String), Option<StatusCode>)> {
    vec![
        (("application/json", "{}".to_owned()), None),
        (("application/json", r#"{"broken":"#.to_owned()), Some(StatusCode::BAD_REQUEST)),
        (("text/plain", "{}".to_owned()), Some(StatusCode::UNSUPPORTED_MEDIA_TYPE)),
        (("application/json", "x".repeat(TOO_LARGE)), Some(StatusCode::PAYLOAD_TOO_LARGE)),
    ]
}

#[actix_rt::test]
async fn every_caller_is_judged_by_the_declared_action_before_the_body() {
    let site = Site::open().await;
    let (mut visitors, _) = visitors(&site).await;
    let mut asked = 0;
    for operation in matrix() {
        let path = operation.path(NOBODY);
        for visitor in &mut visitors {
            let refusal = operation.refusal(visitor);
            let mut forms: Vec<_> = bodies().into_iter().map(|(body, status)| (Some(body), status)).collect();
            if !operation.takes_body {
                forms = vec![(None, None)];
            }
            for (body, status) in forms {
                let token =
                    if refusal.is_none() { visitor.credential(&site).await } else { visitor.token.clone() };
                let told = ask(&site, &operation.method, &path, token.as_deref(), body.as_ref()).await;
                let context = format!("{} {path} by {} with {:?}", operation.method, visitor.name, status);
                asked += 1;
                match (refusal, status) {
                    (Some((status, code)), _) => assert_eq!(told, (status, code.to_owned()), "{context}"),
                    (None, Some(status)) => assert_eq!(told.0, status.as_u16(), "{context}"),
                    (None, None) => {
                        let refused = ["unauthenticated", "forbidden", "insufficient_scope"];
                        assert!(!refused.contains(&told.1.as_str()), "{context}: {told:?}");
                    }
                }
            }
        }
    }
    assert!(asked > 1_000, "{asked}");
}

#[actix_rt::test]
async fn anothers_objects_are_not_there_for_other_users() {
    let site = Site::open().await;
    let (mut visitors, alice) = visitors(&site).await;
    let token = site.stores.open(alice).await.token.expose().to_owned();
    let task = site.post("/api/v1/tasks", &token, &json!({"task_type": "noop"})).await.json()["id"].clone();
    let key = site.get("/api/v1/api-keys", &token).await.json()["items"][0]["id"].clone();
    let session = site.get("/api/v1/auth/sessions", &token).await.json()["items"][0]["id"].clone();
    let owned = [("/tasks/{id}", task), ("/api-keys/{id}", key), ("/auth/sessions/{id}", session)];

    for operation in matrix() {
        let Some((_, id)) = owned.iter().find(|(part, _)| operation.path.contains(part)) else { continue };
        let path = operation.path(id.as_str().unwrap());
        for visitor in
            visitors.iter_mut().filter(|each| ["another user", "a demoted admin"].contains(&&*each.name))
        {
            if operation.refusal(visitor).is_some() {
                continue;
            }
            let body = operation.takes_body.then(|| ("application/json", "{}".to_owned()));
            let token = visitor.credential(&site).await;
            let told = ask(&site, &operation.method, &path, token.as_deref(), body.as_ref()).await;
            let context = format!("{} {path} by {}", operation.method, visitor.name);
            assert_eq!(told, (404, "not_found".to_owned()), "{context}");
        }
    }
}
