//! `/api/v1/users`: everybody's account, for admins.

use actix_web::{HttpResponse, web};
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    Endpoint, Identity, Input, Json, Path, Problem, Query, RequestOrigin,
    accounts::{Desk, created},
    profile::ProfileChange,
    sessions::Revoked,
};
use crate::{
    actors::{
        accounts::{ChangeUser, CreateUser, DeleteUser, FindUser, ListUsers, NewUser},
        live::Live,
        sessions::{CloseAllSessions, SessionStore},
    },
    domain::{
        Action, Cursor, Error, Limit, Listing, Page, Role, User, UserId, Violation,
        account::{Changes, Draft, UserFilter},
        audit::Actor,
    },
    endpoint,
};

/// Longest text to search for.
const MAX_SEARCH_CHARS: usize = 100;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint!(list, Action::ReadUsers),
        endpoint!(create, Action::WriteUsers).judging_content().taking_password(),
        endpoint!(show, Action::ReadUsers),
        endpoint!(update, Action::WriteUsers).judging_content(),
        endpoint!(delete, Action::WriteUsers),
        endpoint!(close_sessions, Action::CloseUserSessions),
    ]
}

/// Which users.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct UserQuery {
    /// `admin` or `user`.
    #[param(value_type = Option<Role>)]
    role: Option<String>,
    /// Who can, or cannot, do anything.
    is_active: Option<bool>,
    /// With this text anywhere in the username or the e-mail address, in any letter case; at most 100 characters.
    q: Option<String>,
    /// Users a page, 1 to 100; 20 without it.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl UserQuery {
    fn listing(&self, reader: UserId) -> Listing {
        Listing::new("users", reader)
            .filter("role", self.role.as_deref())
            .filter("is_active", self.is_active.map(|is| if is { "true" } else { "false" }))
            .filter("q", self.q.as_deref())
    }

    fn filter(&self) -> Result<UserFilter, Error> {
        let role = self.role.as_deref().map(str::parse::<Role>).transpose();
        let too_long = self.q.as_ref().is_some_and(|text| text.chars().count() > MAX_SEARCH_CHARS);
        let too_long = too_long.then(|| Violation::new("/q", "too_long", "at most 100 characters"));
        match (role, too_long) {
            (Ok(role), None) => Ok(UserFilter { role, is_active: self.is_active, text: self.q.clone() }),
            (role, too_long) => Err(Error::Invalid(role.err().into_iter().chain(too_long).collect())),
        }
    }
}

/// Users, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/users",
    tag = "users",
    security(("bearer" = [])),
    params(UserQuery),
    responses((status = 200, description = "One page", body = Page<User>))
)]
async fn list(
    identity: Identity,
    query: Query<UserQuery>,
    desk: Desk,
) -> Result<web::Json<Page<User>>, Problem> {
    let listing = query.0.listing(identity.user.id);
    let limit = Limit::parse(query.0.limit.as_deref())?;
    let after = query.0.cursor.as_deref().map(|text| listing.open(text)).transpose()?;
    let users = desk.ask(ListUsers { filter: query.0.filter()?, after, limit }).await?;
    let key = |user: &User| Cursor { at: Some(user.created_at), id: user.id.0 };
    Ok(web::Json(Page::new(users, limit, &listing, key)))
}

/// Somebody for whom an admin makes an account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserCreation {
    /// As at registration; an admin may give reserved names too.
    #[schema(min_length = 3, max_length = 32, pattern = "^[A-Za-z0-9][A-Za-z0-9_-]{1,30}[A-Za-z0-9]$")]
    username: String,
    /// As at registration.
    #[schema(max_length = 254, format = Email)]
    email: String,
    /// As at registration.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 256)]
    password: SecretString,
    /// `user` without it.
    #[serde(default)]
    #[schema(value_type = Option<Role>)]
    role: Option<String>,
    /// `true` without it.
    #[serde(default)]
    is_active: Option<bool>,
    /// `false` without it: a mail asks to verify the address.
    #[serde(default)]
    email_verified: Option<bool>,
}

/// Makes an account for somebody. An API key makes only ordinary users.
#[utoipa::path(
    post,
    path = "/api/v1/users",
    tag = "users",
    security(("bearer" = [])),
    request_body = UserCreation,
    responses((status = 201, description = "The new user, at `Location`", body = User))
)]
async fn create(
    identity: Identity,
    body: Json<UserCreation>,
    desk: Desk,
    from: RequestOrigin,
) -> Result<HttpResponse, Problem> {
    let UserCreation { username, email, password, role, is_active, email_verified } = body.into_inner();
    let ordinary = role.as_deref().is_none_or(|role| role == Role::User.as_str());
    if !ordinary || email_verified == Some(true) {
        identity.may(Action::WriteUserCredentials)?;
    }
    let new = NewUser {
        draft: Draft { username, email, password, role },
        is_active: is_active.unwrap_or(true),
        email_verified: email_verified.unwrap_or(false),
    };
    let user = desk.ask(CreateUser { new, actor: Actor::of(&identity, from.0) }).await?;
    Ok(created(&user))
}

/// One user.
#[utoipa::path(
    get,
    path = "/api/v1/users/{id}",
    tag = "users",
    security(("bearer" = [])),
    params(("id" = UserId, Path, description = "Of the user")),
    responses((status = 200, description = "The user", body = User))
)]
async fn show(id: Path<UserId>, desk: Desk) -> Result<web::Json<User>, Problem> {
    Ok(web::Json(desk.ask(FindUser(id.0)).await?))
}

/// What an admin may change of a user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserChange {
    /// Another name.
    #[serde(default)]
    #[schema(min_length = 3, max_length = 32, pattern = "^[A-Za-z0-9][A-Za-z0-9_-]{1,30}[A-Za-z0-9]$")]
    username: Option<String>,
    /// Another address. It has to be verified again unless `email_verified` says otherwise.
    #[serde(default)]
    #[schema(max_length = 254, format = Email)]
    email: Option<String>,
    /// `admin` or `user`.
    #[serde(default)]
    #[schema(value_type = Option<Role>)]
    role: Option<String>,
    /// `false` ends every session, and stops every API key for as long as it is so.
    #[serde(default)]
    is_active: Option<bool>,
    /// Whether it is known that he reads mail at his address.
    #[serde(default)]
    email_verified: Option<bool>,
}

impl Input for UserChange {
    type Output = Changes;

    fn validate(self) -> Result<Changes, Vec<Violation>> {
        let profile = ProfileChange { username: self.username, email: self.email }.validate();
        let role = self.role.map(|text| text.parse::<Role>()).transpose();
        match (profile, role) {
            (Ok((username, email)), Ok(role)) => {
                let (is_active, email_verified) = (self.is_active, self.email_verified);
                Ok(Changes { username, email, role, is_active, email_verified })
            }
            (profile, role) => Err(profile.err().into_iter().flatten().chain(role.err()).collect()),
        }
    }
}

/// Changes a user, with effect on the next request of each of his sessions and keys. An API key changes neither address
/// nor role.
#[utoipa::path(
    patch,
    path = "/api/v1/users/{id}",
    tag = "users",
    security(("bearer" = [])),
    params(("id" = UserId, Path, description = "Of the user")),
    request_body = UserChange,
    responses((status = 200, description = "The user as he is now", body = User))
)]
async fn update(
    identity: Identity,
    id: Path<UserId>,
    body: Json<UserChange>,
    desk: Desk,
    from: RequestOrigin,
) -> Result<web::Json<User>, Problem> {
    let changes = body.validate()?;
    if changes.touch_credentials() {
        identity.may(Action::WriteUserCredentials)?;
    }
    let actor = Actor::of(&identity, from.0);
    Ok(web::Json(desk.ask(ChangeUser { id: id.0, changes, actor }).await?))
}

/// Deletes a user with his sessions and API keys.
#[utoipa::path(
    delete,
    path = "/api/v1/users/{id}",
    tag = "users",
    security(("bearer" = [])),
    params(("id" = UserId, Path, description = "Of the user")),
    responses((status = 204, description = "The user is gone"))
)]
async fn delete(
    identity: Identity,
    id: Path<UserId>,
    desk: Desk,
    from: RequestOrigin,
) -> Result<HttpResponse, Problem> {
    desk.ask(DeleteUser { id: id.0, actor: Actor::of(&identity, from.0) }).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Ends every session of a user.
#[utoipa::path(
    delete,
    path = "/api/v1/users/{id}/sessions",
    tag = "users",
    security(("bearer" = [])),
    params(("id" = UserId, Path, description = "Of the user")),
    responses((status = 200, description = "How many there were", body = Revoked))
)]
async fn close_sessions(
    identity: Identity,
    id: Path<UserId>,
    store: web::Data<Live<SessionStore>>,
    from: RequestOrigin,
) -> Result<web::Json<Revoked>, Problem> {
    let close = CloseAllSessions { user: id.0, except: None, by: identity.caller, origin: from.0 };
    Ok(web::Json(Revoked { revoked: store.ask(close).await? }))
}
