//! Making, changing and ending API keys, each with its entry in the audit log. The command-line tool calls the same
//! functions.

use std::time::Duration;

use super::ShownOnce;
use crate::{
    db::{self, Connection, Transactional as _},
    domain::{
        ApiKey, ApiKeyId, Reach, Result, UserId,
        api_key::ApiKeySecret,
        audit::{Act, Actor},
        issued_key::{KeyChange, NewKey},
    },
};

/// Makes a key for `owner`.
///
/// # Errors
/// [`crate::domain::Error::Unauthenticated`] when the owner is not active; [`crate::domain::Conflict::State`] when he has
/// as many keys as anyone may.
pub async fn issue(conn: &mut Connection, actor: &Actor, owner: UserId, new: &NewKey) -> Result<ShownOnce> {
    let secret = ApiKeySecret::generate();
    conn.transaction(async |conn| {
        let key = db::api_keys::issue(conn, owner, &secret, new).await?;
        db::audit::append(conn, actor, told("api_key.create", &key)?).await?;
        Ok(ShownOnce { key, secret: secret.clone() })
    })
    .await
}

/// Changes a key within reach.
///
/// # Errors
/// [`crate::domain::Error::NotFound`]; [`crate::domain::Conflict::State`] for a revoked one.
pub async fn update(
    conn: &mut Connection,
    actor: &Actor,
    (id, reach): (ApiKeyId, Reach),
    change: &KeyChange,
) -> Result<ApiKey> {
    conn.transaction(async |conn| {
        let key = db::api_keys::update(conn, id, reach, change).await?;
        db::audit::append(conn, actor, told("api_key.update", &key)?).await?;
        Ok(key)
    })
    .await
}

/// Gives a key within reach a new secret; the old one is good for `grace` more.
///
/// # Errors
/// As [`update`].
pub async fn rotate(
    conn: &mut Connection,
    actor: &Actor,
    (id, reach): (ApiKeyId, Reach),
    grace: Duration,
) -> Result<ShownOnce> {
    let secret = ApiKeySecret::generate();
    conn.transaction(async |conn| {
        let key = db::api_keys::rotate(conn, id, reach, &secret, grace).await?;
        let act = Act::done("api_key.rotate", id).with("grace_secs", grace.as_secs());
        db::audit::append(conn, actor, act).await?;
        Ok(ShownOnce { key, secret: secret.clone() })
    })
    .await
}

/// Ends a key within reach for good; one that ended before, without effect.
///
/// # Errors
/// [`crate::domain::Error::NotFound`].
pub async fn revoke(conn: &mut Connection, actor: &Actor, id: ApiKeyId, reach: Reach) -> Result<()> {
    conn.transaction(async |conn| {
        if db::api_keys::revoke(conn, id, reach).await? {
            db::audit::append(conn, actor, Act::done("api_key.revoke", id)).await?;
        }
        Ok(())
    })
    .await
}

fn told(action: &'static str, key: &ApiKey) -> Result<Act> {
    let permissions = serde_json::to_value(key.permissions).map_err(crate::domain::Error::internal)?;
    Ok(Act::done(action, key.id).with("user_id", key.created_by.to_string()).with("permissions", permissions))
}
