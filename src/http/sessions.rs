//! `/api/v1/auth`: sessions, as those see them who have one.

use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Endpoint, Identity, PageQuery, Path, Problem, Query, RequestOrigin};
use crate::{
    actors::{
        live::Live,
        sessions::{CloseAllSessions, CloseSession, ListSessions, NewSession, RefreshSession, SessionStore},
    },
    domain::{
        Action, Caller, Credential, Cursor, Error, Listing, Page, Session, SessionId, User,
        caller::CredentialView,
    },
    endpoint,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint!(me, Action::Identify),
        endpoint!(refresh, Action::ManageSessions),
        endpoint!(logout, Action::ManageSessions),
        endpoint!(logout_all, Action::ManageSessions),
        endpoint!(list, Action::ManageSessions),
        endpoint!(close, Action::ManageSessions),
    ]
}

type Store = web::Data<Live<SessionStore>>;

/// A session that has begun, or has a new token.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LoggedIn {
    /// To be sent as `Authorization: Bearer …`. Shown this once.
    #[schema(example = "sess_…")]
    token: String,
    /// Always `Bearer`.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// When the session ends in any case. It ends earlier when it is not used.
    expires_at: DateTime<Utc>,
    /// Whose it is.
    user: User,
}

impl From<NewSession> for LoggedIn {
    fn from(new: NewSession) -> Self {
        Self {
            token: new.token.expose().to_owned(),
            token_type: "Bearer",
            expires_at: new.expires_at,
            user: new.user,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
struct Me<'a> {
    /// Who is asking.
    user: &'a User,
    /// What he proved it with.
    credential: CredentialView,
}

/// Who is asking.
#[utoipa::path(
    get,
    path = "/api/v1/auth/me",
    tag = "auth",
    security(("bearer" = [])),
    responses((status = 200, description = "The caller and his credential", body = Me))
)]
async fn me(identity: Identity) -> Result<HttpResponse, Problem> {
    Ok(describe(&identity))
}

pub(super) fn describe(caller: &Caller) -> HttpResponse {
    HttpResponse::Ok().json(Me { user: &caller.user, credential: caller.describe() })
}

/// A new token for the session of this request. The old one is good for nothing any more.
#[utoipa::path(
    post,
    path = "/api/v1/auth/refresh",
    tag = "auth",
    security(("bearer" = [])),
    responses((status = 200, description = "The new token; the session still ends when it would have", body = LoggedIn))
)]
async fn refresh(
    identity: Identity,
    store: Store,
    from: RequestOrigin,
) -> Result<web::Json<LoggedIn>, Problem> {
    session(&identity)?;
    let (by, hash) = (identity.caller, identity.hash);
    let renewed = store.ask(RefreshSession { by, hash, origin: from.0 }).await?;
    Ok(web::Json(renewed.into()))
}

/// Ends the session of this request.
#[utoipa::path(
    post,
    path = "/api/v1/auth/logout",
    tag = "auth",
    security(("bearer" = [])),
    responses((status = 204, description = "The token is good for nothing any more, in any process"))
)]
async fn logout(identity: Identity, store: Store, from: RequestOrigin) -> Result<HttpResponse, Problem> {
    let id = session(&identity)?;
    match store.ask(CloseSession { id, by: identity.caller, origin: from.0 }).await {
        // Somebody ended it in the meantime: all the same to the caller.
        Ok(()) | Err(Error::NotFound) => Ok(HttpResponse::NoContent().finish()),
        Err(error) => Err(error.into()),
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Revoked {
    /// Sessions that were alive until now.
    pub(super) revoked: usize,
}

/// Ends every session of the caller, that of this request included.
#[utoipa::path(
    post,
    path = "/api/v1/auth/logout-all",
    tag = "auth",
    security(("bearer" = [])),
    responses((status = 200, description = "How many there were", body = Revoked))
)]
async fn logout_all(
    identity: Identity,
    store: Store,
    from: RequestOrigin,
) -> Result<web::Json<Revoked>, Problem> {
    session(&identity)?;
    let user = identity.user.id;
    let close = CloseAllSessions { user, except: None, by: identity.caller, origin: from.0 };
    Ok(web::Json(Revoked { revoked: store.ask(close).await? }))
}

/// One of the caller's sessions.
#[derive(Debug, Serialize, ToSchema)]
struct Listed {
    #[serde(flatten)]
    session: Session,
    /// It is the one of this request.
    current: bool,
}

/// The caller's sessions, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/auth/sessions",
    tag = "auth",
    security(("bearer" = [])),
    params(PageQuery),
    responses((status = 200, description = "One page", body = Page<Listed>))
)]
async fn list(
    identity: Identity,
    query: Query<PageQuery>,
    store: Store,
) -> Result<web::Json<Page<Listed>>, Problem> {
    let current = session(&identity)?;
    let user = identity.user.id;
    let listing = Listing::new("sessions", user);
    let (after, limit) = query.0.read(&listing)?;
    let sessions = store.ask(ListSessions { user, after, limit }).await?;
    let key = |session: &Session| Cursor { at: None, id: session.id.0 };
    let page = Page::new(sessions, limit, &listing, key);
    Ok(web::Json(page.map(|session| Listed { current: session.id == current, session })))
}

/// Ends one of the caller's sessions.
#[utoipa::path(
    delete,
    path = "/api/v1/auth/sessions/{id}",
    tag = "auth",
    security(("bearer" = [])),
    params(("id" = SessionId, Path, description = "Of the session")),
    responses((status = 204, description = "Its token is good for nothing any more, in any process"))
)]
async fn close(
    identity: Identity,
    id: Path<SessionId>,
    store: Store,
    from: RequestOrigin,
) -> Result<HttpResponse, Problem> {
    session(&identity)?;
    store.ask(CloseSession { id: id.0, by: identity.caller, origin: from.0 }).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The session of the request; a key manages no sessions.
fn session(identity: &Identity) -> Result<SessionId, Error> {
    match identity.credential {
        Credential::Session { id, .. } => Ok(id),
        Credential::ApiKey { .. } => Err(Error::Forbidden),
    }
}
