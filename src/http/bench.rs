//! Routes that `benches/run` compares with: only it compiles them.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header::ContentType},
    web,
};

use super::{Json, Presented, Problem, identity, sessions::describe, tasks::TaskCreation};
use crate::{
    actors::{dispatcher::Intake, one_statement::OneStatement},
    domain::{Error, UserId},
};

/// As long as the answer of `GET /api/v1/auth/me`.
const BARE: &str = concat!(
    r#"{"user":{"id":"01a20814-7fb3-72e6-95a0-0b70f9afe888","username":"bench","email":"bench@example.com","role":"admin","#,
    r#""is_active":true,"email_verified":true,"created_at":"2026-11-23T11:04:50.866851Z","updated_at":"2026-11-23T11:04:50.866851Z","#,
    r#""last_login_at":"2026-11-23T11:04:51.086132Z"},"credential":{"kind":"session","id":"01a20814-808a-75d6-a23f-0a821bd4732a","#,
    r#""expires_at":"2026-12-23T11:04:51.086132Z","permissions":["tasks:read","tasks:write","users:read","users:write","metrics:read"]}}"#
);

/// Adds them, outside of the documented table.
pub fn configure(services: &mut web::ServiceConfig) {
    services
        .route("/bench/bare", web::get().to(bare))
        .route("/bench/me", web::get().to(me))
        .route("/bench/tasks", web::post().to(enqueue));
}

async fn bare() -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(BARE)
}

async fn me(request: HttpRequest, database: web::Data<OneStatement>) -> Result<HttpResponse, Problem> {
    let Presented::Session(token) = Presented::of(request.headers())? else {
        return Err(Error::Unauthenticated { presented: false }.into());
    };
    Ok(describe(&*database.resolve(token.hash()).await?))
}

async fn enqueue(
    request: HttpRequest,
    body: Json<TaskCreation>,
    intake: web::Data<Intake>,
    database: web::Data<OneStatement>,
) -> Result<HttpResponse, Problem> {
    let caller = identity::recognise(&request).await?;
    let caller = caller.ok_or(Error::Unauthenticated { presented: false })?;
    let owner: Option<UserId> = Some(caller.user.id);
    let task = intake.admit(body.into_inner().into(), owner, None).map_err(Error::Invalid)?;
    Ok(HttpResponse::build(StatusCode::CREATED).json(database.enqueue(task).await?))
}
