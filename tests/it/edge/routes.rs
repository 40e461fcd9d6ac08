//! Routes that do what the tests need, written as those of the application are.

use std::time::Duration;

use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use starter::{
    domain::{Error, UserId, Violation},
    endpoint,
    http::{Access, ClientIp, Endpoint, Input, Json, Path, Problem, Query, openapi},
};
use utoipa::{IntoParams, ToSchema};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint!(register, Access::Public).taking_password(),
        endpoint!(echo, Access::Public),
        endpoint!(logout, Access::Public),
        endpoint!(list, Access::Public),
        endpoint!(me, Access::Public),
        endpoint!(show, Access::Public),
        endpoint!(remove, Access::Public),
        endpoint!(panic, Access::Public),
        endpoint!(panic_before_first_await, Access::Public),
        endpoint!(slow, Access::Public),
        endpoint!(fail, Access::Public),
        endpoint!(whoami, Access::Public),
        endpoint!(live, Access::Public),
        endpoint!(down, Access::Public),
    ]
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Register {
    username: String,
    password: String,
}

struct NewUser {
    username: String,
}

impl Input for Register {
    type Output = NewUser;

    fn validate(self) -> Result<NewUser, Vec<Violation>> {
        let mut violations = Vec::new();
        if self.username.len() < 3 {
            violations.push(Violation::new("/username", "too_short", "at least 3 characters"));
        }
        if self.password.len() < 12 {
            violations.push(Violation::new("/password", "too_short", "at least 12 characters"));
        }
        if violations.is_empty() { Ok(NewUser { username: self.username }) } else { Err(violations) }
    }
}

#[derive(Serialize, ToSchema)]
struct User {
    username: String,
}

#[utoipa::path(post, path = "/api/v1/auth/register", tag = "auth", request_body = Register,
    responses((status = 201, body = User)))]
async fn register(body: Json<Register>) -> Result<HttpResponse, Problem> {
    let new = body.validate()?;
    Ok(HttpResponse::Created().json(User { username: new.username }))
}

#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Echo {
    payload: serde_json::Value,
}

#[utoipa::path(post, path = "/api/v1/echo", request_body = Echo, responses((status = 200, body = Echo)))]
async fn echo(body: Json<Echo>) -> HttpResponse {
    HttpResponse::Ok().json(body.into_inner())
}

#[utoipa::path(post, path = "/api/v1/auth/logout", responses((status = 204)))]
async fn logout() -> HttpResponse {
    HttpResponse::NoContent().finish()
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Page {
    limit: Option<i64>,
    q: Option<String>,
}

#[utoipa::path(get, path = "/api/v1/users", params(Page), responses((status = 200)))]
async fn list(Query(page): Query<Page>) -> Result<HttpResponse, Problem> {
    match page.limit {
        Some(limit) if !(1..=100).contains(&limit) => {
            Err(Error::invalid("/limit", "out_of_range", "1 to 100").into())
        }
        _ => Ok(HttpResponse::Ok().json(serde_json::json!({ "q": page.q }))),
    }
}

#[utoipa::path(get, path = "/api/v1/users/me", responses((status = 200)))]
async fn me() -> HttpResponse {
    HttpResponse::Ok().json("me")
}

#[utoipa::path(get, path = "/api/v1/users/{id}", params(("id" = String, Path)), responses((status = 200)))]
async fn show(Path(id): Path<UserId>) -> HttpResponse {
    HttpResponse::Ok().json(id)
}

#[utoipa::path(delete, path = "/api/v1/users/{id}", params(("id" = String, Path)), responses((status = 204)))]
async fn remove(Path(_): Path<UserId>) -> HttpResponse {
    HttpResponse::NoContent().finish()
}

#[utoipa::path(get, path = "/api/v1/panic", responses((status = 200)))]
async fn panic() -> HttpResponse {
    tokio::task::yield_now().await;
    panic!("a secret of the handler")
}

#[utoipa::path(post, path = "/api/v1/panic", responses((status = 200)))]
fn panic_before_first_await() -> std::future::Ready<HttpResponse> {
    panic!("a secret of the handler")
}

#[utoipa::path(get, path = "/api/v1/slow", responses((status = 200)))]
async fn slow() -> HttpResponse {
    tokio::time::sleep(Duration::from_secs(3600)).await;
    HttpResponse::Ok().finish()
}

#[utoipa::path(get, path = "/api/v1/fail", responses((status = 200)))]
async fn fail() -> Result<HttpResponse, Problem> {
    Err(Error::internal("relation \"users\" does not exist in src/db").into())
}

#[utoipa::path(get, path = "/api/v1/whoami", responses((status = 200)))]
async fn whoami(client: ClientIp) -> HttpResponse {
    HttpResponse::Ok().json(client.0)
}

#[utoipa::path(get, path = "/health/live", responses((status = 200)))]
async fn live() -> HttpResponse {
    HttpResponse::Ok().json("alive")
}

#[utoipa::path(get, path = "/health", responses((status = 503)))]
async fn down() -> HttpResponse {
    HttpResponse::ServiceUnavailable().json(serde_json::json!({ "status": "down" }))
}

#[test]
fn the_document_has_every_route_and_says_how_each_fails() {
    let document = serde_json::to_value(openapi::of(&endpoints())).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let methods: usize =
        document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
    assert_eq!(methods, endpoints().len());
    let register = &document["paths"]["/api/v1/auth/register"]["post"];
    assert_eq!(register["operationId"], "auth_register");
    let failure = &register["responses"]["default"]["content"]["application/problem+json"]["schema"]["$ref"];
    assert_eq!(failure, "#/components/schemas/Problem");
    let schemas = &document["components"]["schemas"];
    assert!(schemas["Problem"]["properties"]["request_id"].is_object());
    assert!(schemas["FieldError"].is_object());
    assert!(schemas["Register"].is_object());
}
