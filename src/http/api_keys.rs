//! `/api/v1/api-keys`: credentials for programs. A key itself gets at none of this.

use actix_web::{HttpResponse, web};
use chrono::Utc;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Endpoint, Identity, Input, Json, OptionalJson, PageQuery, Path, Problem, Query, RequestOrigin,
    idempotency::{AtRest, Idempotency},
    json,
};
use crate::{
    actors::{
        api_keys::{ApiKeyVerifier, FindKey, IssueKey, ListKeys, RevokeKey, RotateKey, ShownOnce, UpdateKey},
        dispatcher::TaskDispatcher,
        live::Live,
    },
    domain::{
        Action, ApiKey, ApiKeyId, Cursor, Error, Listing, Page, Permission, Permissions, Reach, Role,
        Violation,
        api_key::{self, KeyName},
        idempotency::Answer,
        issued_key::{KeyChange, NewKey},
    },
    endpoint,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint!(create, Action::ManageApiKeys).judging_content(),
        endpoint!(list, Action::ManageApiKeys),
        endpoint!(permissions, Action::Identify),
        endpoint!(show, Action::ManageApiKeys),
        endpoint!(update, Action::ManageApiKeys).judging_content(),
        endpoint!(rotate, Action::ManageApiKeys),
        endpoint!(revoke, Action::ManageApiKeys),
    ]
}

type Keys = web::Data<Live<ApiKeyVerifier>>;

/// A key that is wanted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct KeyCreation {
    /// What you call it; 1 to 100 characters.
    #[schema(example = "ci", min_length = 1, max_length = 100)]
    name: String,
    /// What it may do, of `GET /api/v1/api-keys/permissions`; not more than you may yourself.
    #[schema(example = json!(["tasks:read", "tasks:write"]), value_type = Vec<Permission>, max_items = 64)]
    permissions: Vec<String>,
    /// When it ends, RFC 3339. Never, without it.
    #[serde(default, deserialize_with = "json::nullable")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Option<String>>,
}

/// What may change of a key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct KeyUpdate {
    /// Another name.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// Other permissions; not more than you may yourself.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Permission>>, max_items = 64)]
    permissions: Option<Vec<String>>,
    /// Another end; null: never.
    #[serde(default, deserialize_with = "json::nullable")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Option<String>>,
}

impl KeyUpdate {
    /// What the caller, with his role, wants; every bad field is named.
    fn read(self, caller: Role) -> Result<KeyChange, Error> {
        let name = self.name.map(|text| KeyName::parse(&text)).transpose();
        let expiry = |text: String| api_key::parse_expiry(&text);
        let expires_at = self.expires_at.map(|text| text.map(expiry).transpose()).transpose();
        let permissions = self.permissions.map(|listed| Permissions::request(&listed, caller)).transpose();
        match (name, permissions, expires_at) {
            (Ok(name), Ok(permissions), Ok(expires_at)) => Ok(KeyChange { name, permissions, expires_at }),
            (name, permissions, expires_at) => {
                let mut wrong: Vec<Violation> = name.err().into_iter().collect();
                match permissions {
                    Err(Error::Invalid(violations)) => wrong.extend(violations),
                    Err(forbidden) if wrong.is_empty() && expires_at.is_ok() => return Err(forbidden),
                    Ok(_) | Err(_) => {}
                }
                match expires_at {
                    Err(violation) => wrong.push(violation),
                    // The database's clock decides; here the key is refused anyway, and this is to name every bad field.
                    Ok(Some(Some(end))) => wrong.extend(api_key::check_expiry(end, Utc::now()).err()),
                    Ok(_) => {}
                }
                Err(Error::Invalid(wrong))
            }
        }
    }
}

impl KeyUpdate {
    /// What the caller wants of a key that there is: its end must lie ahead.
    fn change(self, caller: Role) -> Result<KeyChange, Error> {
        let change = self.read(caller)?;
        if let Some(end) = change.expires_at.flatten() {
            api_key::check_expiry(end, Utc::now()).map_err(|wrong| Error::Invalid(vec![wrong]))?;
        }
        Ok(change)
    }
}

impl KeyCreation {
    fn read(self, caller: Role) -> Result<NewKey, Error> {
        let Self { name, permissions, expires_at } = self;
        let update = KeyUpdate { name: Some(name), permissions: Some(permissions), expires_at };
        let KeyChange { name: Some(name), permissions, expires_at } = update.read(caller)? else {
            return Err(Error::internal("a name that was given is gone"));
        };
        let (permissions, expires_at) = (permissions.unwrap_or_default(), expires_at.flatten());
        Ok(NewKey { name, permissions, expires_at })
    }
}

/// A key with its secret.
#[derive(Debug, Serialize, ToSchema)]
struct KeyShown {
    #[serde(flatten)]
    shown: ApiKey,
    /// To be sent as `Authorization: Bearer …`. Shown this once.
    #[schema(example = "key_…")]
    key: String,
}

impl From<ShownOnce> for KeyShown {
    fn from(once: ShownOnce) -> Self {
        Self { shown: once.key, key: once.secret.expose().to_owned() }
    }
}

/// Makes a key.
///
/// Under an `Idempotency-Key` it is made once. Only the credential that it was made with gets the secret again.
#[utoipa::path(
    post,
    path = "/api/v1/api-keys",
    tag = "api keys",
    security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "The same request under the same key is carried out once and answered again, for 24 hours")),
    request_body = KeyCreation,
    responses((status = 201, description = "The key, with its secret", body = KeyShown, headers(("Location" = String))))
)]
async fn create(
    identity: Identity,
    idempotency: Idempotency,
    body: Json<KeyCreation>,
    keys: Keys,
    dispatcher: web::Data<Live<TaskDispatcher>>,
    from: RequestOrigin,
) -> Result<HttpResponse, Problem> {
    let under = idempotency.key(&identity, body.raw());
    let key = body.into_inner().read(identity.user.role)?;
    let issue = IssueKey { key, by: identity.caller, origin: from.0 };
    idempotency.once(under, AtRest::Sealed, &dispatcher, async move { issued(keys.ask(issue).await?) }).await
}

fn issued(once: ShownOnce) -> Result<Answer, Error> {
    shown(201, Some(format!("/api/v1/api-keys/{}", once.key.id)), once)
}

fn shown(status: u16, location: Option<String>, once: ShownOnce) -> Result<Answer, Error> {
    let body = serde_json::to_vec(&KeyShown::from(once)).map_err(Error::internal)?;
    Ok(Answer { status, location, body, sealed: false, tasks: Vec::new() })
}

/// The caller's keys, newest first; everybody's for an admin.
#[utoipa::path(
    get,
    path = "/api/v1/api-keys",
    tag = "api keys",
    security(("bearer" = [])),
    params(PageQuery),
    responses((status = 200, description = "One page", body = Page<ApiKey>))
)]
async fn list(
    identity: Identity,
    query: Query<PageQuery>,
    keys: Keys,
) -> Result<web::Json<Page<ApiKey>>, Problem> {
    let reach = identity.reach();
    let all = (reach == Reach::All).then_some("all");
    let listing = Listing::new("api_keys", identity.user.id).filter("reach", all);
    let (after, limit) = query.0.read(&listing)?;
    let found = keys.ask(ListKeys { reach, after, limit }).await?;
    let key = |key: &ApiKey| Cursor { at: None, id: key.id.0 };
    Ok(web::Json(Page::new(found, limit, &listing, key)))
}

/// Every permission that a key can have.
#[utoipa::path(
    get,
    path = "/api/v1/api-keys/permissions",
    tag = "api keys",
    security(("bearer" = [])),
    responses((status = 200, description = "The published list", body = Page<String>))
)]
async fn permissions() -> Result<web::Json<Page<Permission>>, Problem> {
    Ok(web::Json(Page { items: Permission::ALL.to_vec(), next_cursor: None }))
}

/// One key, without its secret.
#[utoipa::path(
    get,
    path = "/api/v1/api-keys/{id}",
    tag = "api keys",
    security(("bearer" = [])),
    params(("id" = ApiKeyId, Path, description = "Of the key")),
    responses((status = 200, description = "The key", body = ApiKey))
)]
async fn show(identity: Identity, id: Path<ApiKeyId>, keys: Keys) -> Result<web::Json<ApiKey>, Problem> {
    Ok(web::Json(keys.ask(FindKey { id: id.0, reach: identity.reach() }).await?))
}

/// Changes a key. What this takes away is gone before the answer.
#[utoipa::path(
    patch,
    path = "/api/v1/api-keys/{id}",
    tag = "api keys",
    security(("bearer" = [])),
    params(("id" = ApiKeyId, Path, description = "Of the key")),
    request_body = KeyUpdate,
    responses((status = 200, description = "The key as it is now", body = ApiKey))
)]
async fn update(
    identity: Identity,
    id: Path<ApiKeyId>,
    body: Json<KeyUpdate>,
    keys: Keys,
    from: RequestOrigin,
) -> Result<web::Json<ApiKey>, Problem> {
    let change = body.into_inner().change(identity.user.role)?;
    let update = UpdateKey { id: id.0, change, by: identity.caller, origin: from.0 };
    Ok(web::Json(keys.ask(update).await?))
}

/// How a key is rotated.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct KeyRotation {
    /// Seconds that the old secret lives on, 0 to 86400; 0 without it.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 86_400)]
    grace_secs: Option<i64>,
}

impl Input for KeyRotation {
    type Output = std::time::Duration;

    fn validate(self) -> Result<Self::Output, Vec<Violation>> {
        api_key::parse_grace(self.grace_secs.unwrap_or(0)).map_err(|wrong| vec![wrong])
    }
}

/// Gives a key a new secret. The old one is good for nothing any more, or lives on for the grace given; one that still
/// lived on from an earlier rotation ends now.
#[utoipa::path(
    post,
    path = "/api/v1/api-keys/{id}/rotate",
    tag = "api keys",
    security(("bearer" = [])),
    params(
        ("id" = ApiKeyId, Path, description = "Of the key"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same request under the same key is carried out once and answered again, for 24 hours")
    ),
    request_body(content = Option<KeyRotation>),
    responses((status = 200, description = "The key, with its new secret", body = KeyShown))
)]
async fn rotate(
    identity: Identity,
    idempotency: Idempotency,
    id: Path<ApiKeyId>,
    body: OptionalJson<KeyRotation>,
    (keys, dispatcher): (Keys, web::Data<Live<TaskDispatcher>>),
    from: RequestOrigin,
) -> Result<HttpResponse, Problem> {
    let under = idempotency.key(&identity, body.raw());
    let grace = body.into_inner().unwrap_or_default().validate().map_err(Error::Invalid)?;
    let rotate = RotateKey { id: id.0, grace, by: identity.caller, origin: from.0 };
    idempotency
        .once(under, AtRest::Sealed, &dispatcher, async move { shown(200, None, keys.ask(rotate).await?) })
        .await
}

/// Ends a key for good.
#[utoipa::path(
    delete,
    path = "/api/v1/api-keys/{id}",
    tag = "api keys",
    security(("bearer" = [])),
    params(("id" = ApiKeyId, Path, description = "Of the key")),
    responses((status = 204, description = "It is good for nothing any more, in any process"))
)]
async fn revoke(
    identity: Identity,
    id: Path<ApiKeyId>,
    keys: Keys,
    from: RequestOrigin,
) -> Result<HttpResponse, Problem> {
    keys.ask(RevokeKey { id: id.0, by: identity.caller, origin: from.0 }).await?;
    Ok(HttpResponse::NoContent().finish())
}
