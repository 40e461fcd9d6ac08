//! `/api/v1/users/me`: everybody's own account.

use actix_web::{HttpResponse, web};
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Endpoint, Identity, Input, Json, Problem, RequestOrigin, accounts::Desk};
use crate::{
    actors::accounts::{ChangeProfile, DeleteProfile},
    domain::{Action, Email, PresentedPassword, User, Username, Violation, audit::Actor},
    endpoint,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint!(show_me, Action::ManageAccount),
        endpoint!(update_me, Action::ManageAccount),
        endpoint!(delete_me, Action::ManageAccount).taking_password(),
    ]
}

/// The caller's own account.
#[utoipa::path(
    get,
    path = "/api/v1/users/me",
    tag = "users",
    security(("bearer" = [])),
    responses((status = 200, description = "The caller", body = User))
)]
async fn show_me(identity: Identity) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(&identity.user))
}

/// What somebody may change of himself.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProfileChange {
    /// Another name.
    #[serde(default)]
    #[schema(min_length = 3, max_length = 32, pattern = "^[A-Za-z0-9][A-Za-z0-9_-]{1,30}[A-Za-z0-9]$")]
    pub(super) username: Option<String>,
    /// Another address. It has to be verified again, and what was mailed before is void.
    #[serde(default)]
    #[schema(max_length = 254, format = Email)]
    pub(super) email: Option<String>,
}

impl Input for ProfileChange {
    type Output = (Option<Username>, Option<Email>);

    fn validate(self) -> Result<Self::Output, Vec<Violation>> {
        let username = self.username.map(|text| Username::parse(&text)).transpose();
        let email = self.email.map(|text| Email::parse(&text)).transpose();
        match (username, email) {
            (Ok(username), Ok(email)) => Ok((username, email)),
            (username, email) => Err([username.err(), email.err()].into_iter().flatten().collect()),
        }
    }
}

/// Changes the caller's name or address. A new address gets a mail that asks to verify it.
#[utoipa::path(
    patch,
    path = "/api/v1/users/me",
    tag = "users",
    security(("bearer" = [])),
    request_body = ProfileChange,
    responses((status = 200, description = "The caller as he is now", body = User))
)]
async fn update_me(
    identity: Identity,
    body: Json<ProfileChange>,
    desk: Desk,
    from: RequestOrigin,
) -> Result<web::Json<User>, Problem> {
    let (username, email) = body.validate()?;
    let actor = Actor::of(&identity, from.0);
    Ok(web::Json(desk.ask(ChangeProfile { by: identity.caller, username, email, actor }).await?))
}

/// Proof that it is the owner who asks.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Farewell {
    /// His password.
    #[schema(value_type = String, format = Password)]
    password: SecretString,
}

/// Deletes the caller's account with its sessions and API keys. A wrong password counts as a failed log-in.
#[utoipa::path(
    delete,
    path = "/api/v1/users/me",
    tag = "users",
    security(("bearer" = [])),
    request_body = Farewell,
    responses((status = 204, description = "The account is gone"))
)]
async fn delete_me(
    identity: Identity,
    body: Json<Farewell>,
    desk: Desk,
    from: RequestOrigin,
) -> Result<HttpResponse, Problem> {
    let password = PresentedPassword::new(&body.value.password);
    let actor = Actor::of(&identity, from.0);
    desk.ask(DeleteProfile { by: identity.caller, password, actor }).await?;
    Ok(HttpResponse::NoContent().finish())
}
