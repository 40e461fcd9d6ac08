//! What people do with their API keys. Whoever is not the owner, nor an admin, is told that there is no such key.

use std::{sync::Arc, time::Duration};

use actix::{Handler, Message};

use super::{ApiKeyVerifier, acts};
use crate::{
    actors::reply::Answer,
    db::api_keys,
    domain::{
        ApiKey, ApiKeyId, Caller, Cursor, Forget, Limit, Origin, Reach, Result,
        api_key::ApiKeySecret,
        audit::Actor,
        issued_key::{KeyChange, NewKey},
    },
};

/// A key with its secret, for the only time.
#[derive(Debug, Clone)]
pub struct ShownOnce {
    /// As it is kept.
    pub key: ApiKey,
    /// To be handed over.
    pub secret: ApiKeySecret,
}

/// Makes a key of the caller's. [`crate::domain::Conflict::State`] if he has as many as anyone may.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<ShownOnce>")]
pub struct IssueKey {
    /// What it shall be.
    pub key: NewKey,
    /// Who wants it.
    pub by: Arc<Caller>,
    /// From where.
    pub origin: Origin,
}

impl Handler<IssueKey> for ApiKeyVerifier {
    type Result = Answer<ShownOnce>;

    fn handle(&mut self, message: IssueKey, _: &mut Self::Context) -> Self::Result {
        let keys = self.0.clone();
        Answer::from_future(async move {
            let mut conn = keys.pool.get().await?;
            let actor = Actor::of(&message.by, message.origin);
            acts::issue(&mut conn, &actor, message.by.user.id, &message.key).await
        })
    }
}

/// Changes a key. A right that this takes away is gone before the answer.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<ApiKey>")]
pub struct UpdateKey {
    /// Which.
    pub id: ApiKeyId,
    /// What shall change.
    pub change: KeyChange,
    /// Who wants it.
    pub by: Arc<Caller>,
    /// From where.
    pub origin: Origin,
}

impl Handler<UpdateKey> for ApiKeyVerifier {
    type Result = Answer<ApiKey>;

    fn handle(&mut self, message: UpdateKey, _: &mut Self::Context) -> Self::Result {
        let keys = self.0.clone();
        Answer::from_future(async move {
            let mut conn = keys.pool.get().await?;
            let which = (message.id, message.by.reach());
            let actor = Actor::of(&message.by, message.origin);
            let key = acts::update(&mut conn, &actor, which, &message.change).await?;
            drop(conn);
            if message.change.permissions.is_some() || message.change.expires_at.is_some() {
                keys.revoker.revoked(Forget::Key(message.id)).await;
            }
            Ok(key)
        })
    }
}

/// Gives a key a new secret; the old one is good for `grace` more.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<ShownOnce>")]
pub struct RotateKey {
    /// Which.
    pub id: ApiKeyId,
    /// How long the old secret lives on.
    pub grace: Duration,
    /// Who wants it.
    pub by: Arc<Caller>,
    /// From where.
    pub origin: Origin,
}

impl Handler<RotateKey> for ApiKeyVerifier {
    type Result = Answer<ShownOnce>;

    fn handle(&mut self, message: RotateKey, _: &mut Self::Context) -> Self::Result {
        let keys = self.0.clone();
        Answer::from_future(async move {
            let mut conn = keys.pool.get().await?;
            let which = (message.id, message.by.reach());
            let actor = Actor::of(&message.by, message.origin);
            let shown = acts::rotate(&mut conn, &actor, which, message.grace).await?;
            drop(conn);
            keys.revoker.revoked(Forget::Key(message.id)).await;
            Ok(shown)
        })
    }
}

/// Ends a key for good. One that was revoked before is revoked again without effect.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<()>")]
pub struct RevokeKey {
    /// Which.
    pub id: ApiKeyId,
    /// Who wants it.
    pub by: Arc<Caller>,
    /// From where.
    pub origin: Origin,
}

impl Handler<RevokeKey> for ApiKeyVerifier {
    type Result = Answer<()>;

    fn handle(&mut self, message: RevokeKey, _: &mut Self::Context) -> Self::Result {
        let keys = self.0.clone();
        Answer::from_future(async move {
            let mut conn = keys.pool.get().await?;
            let actor = Actor::of(&message.by, message.origin);
            acts::revoke(&mut conn, &actor, message.id, message.by.reach()).await?;
            drop(conn);
            // Also when it was revoked before: whoever did so may still be waiting.
            keys.revoker.revoked(Forget::Key(message.id)).await;
            Ok(())
        })
    }
}

/// One key within reach.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<ApiKey>")]
pub struct FindKey {
    /// Which.
    pub id: ApiKeyId,
    /// Whose keys are there for the caller.
    pub reach: Reach,
}

impl Handler<FindKey> for ApiKeyVerifier {
    type Result = Answer<ApiKey>;

    fn handle(&mut self, message: FindKey, _: &mut Self::Context) -> Self::Result {
        let keys = self.0.clone();
        Answer::from_future(async move {
            let mut conn = keys.pool.get().await?;
            api_keys::find(&mut conn, message.id, message.reach).await
        })
    }
}

/// The keys within reach, newest first, behind `after`: up to [`Limit::fetch`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Vec<ApiKey>>")]
pub struct ListKeys {
    /// Whose keys are there for the caller.
    pub reach: Reach,
    /// Where the last page ended.
    pub after: Option<Cursor>,
    /// How many.
    pub limit: Limit,
}

impl Handler<ListKeys> for ApiKeyVerifier {
    type Result = Answer<Vec<ApiKey>>;

    fn handle(&mut self, message: ListKeys, _: &mut Self::Context) -> Self::Result {
        let keys = self.0.clone();
        Answer::from_future(async move {
            let mut conn = keys.pool.get().await?;
            api_keys::list(&mut conn, message.reach, message.after, message.limit).await
        })
    }
}
