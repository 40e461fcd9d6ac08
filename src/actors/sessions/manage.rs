//! What people do with their sessions: see them, renew them, end them.

use std::sync::Arc;

use actix::{Handler, Message};

use super::{NewSession, SessionStore, acts};
use crate::{
    actors::reply::Answer,
    db::sessions,
    domain::{
        Caller, Credential, Cursor, Error, Forget, Limit, Origin, Result, Session, SessionId, UserId,
        audit::Actor,
        token::{SessionToken, TokenHash},
    },
};

/// Ends one session of the caller. [`Error::NotFound`] if he has no such session.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<()>")]
pub struct CloseSession {
    /// Which.
    pub id: SessionId,
    /// Who wants it.
    pub by: Arc<Caller>,
    /// From where.
    pub origin: Origin,
}

impl Handler<CloseSession> for SessionStore {
    type Result = Answer<()>;

    fn handle(&mut self, message: CloseSession, _: &mut Self::Context) -> Self::Result {
        let sessions = self.0.clone();
        Answer::from_future(async move {
            let mut conn = sessions.pool.get().await?;
            let actor = Actor::of(&message.by, message.origin);
            acts::close(&mut conn, &actor, message.id, message.by.user.id).await?;
            drop(conn);
            sessions.revoker.revoked(Forget::Session(message.id)).await;
            Ok(())
        })
    }
}

/// Ends every session of a user; tells how many there were. [`Error::NotFound`] without such a user.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<usize>")]
pub struct CloseAllSessions {
    /// Whose.
    pub user: UserId,
    /// But this one.
    pub except: Option<SessionId>,
    /// Who wants it.
    pub by: Arc<Caller>,
    /// From where.
    pub origin: Origin,
}

impl Handler<CloseAllSessions> for SessionStore {
    type Result = Answer<usize>;

    fn handle(&mut self, message: CloseAllSessions, _: &mut Self::Context) -> Self::Result {
        let sessions = self.0.clone();
        Answer::from_future(async move {
            let mut conn = sessions.pool.get().await?;
            let actor = Actor::of(&message.by, message.origin);
            let ended = acts::close_all(&mut conn, &actor, message.user, message.except).await?;
            drop(conn);
            sessions.revoker.revoked(Forget::User(message.user)).await;
            Ok(ended)
        })
    }
}

/// Gives the caller's session a new token; the old one is good for nothing any more. [`Error::Unauthenticated`] if
/// somebody was faster.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<NewSession>")]
pub struct RefreshSession {
    /// Who wants it.
    pub by: Arc<Caller>,
    /// Of the token that he came with.
    pub hash: TokenHash,
    /// From where.
    pub origin: Origin,
}

impl Handler<RefreshSession> for SessionStore {
    type Result = Answer<NewSession>;

    fn handle(&mut self, message: RefreshSession, _: &mut Self::Context) -> Self::Result {
        let sessions = self.0.clone();
        Answer::from_future(async move {
            let Credential::Session { id, .. } = message.by.credential else { return Err(Error::Forbidden) };
            let token = SessionToken::generate();
            let mut conn = sessions.pool.get().await?;
            let change = (message.hash, token.hash());
            let actor = Actor::of(&message.by, message.origin);
            let renewed = acts::refresh(&mut conn, &actor, id, change, sessions.lifetime.idle).await?;
            drop(conn);
            let (expires_at, user) = renewed.ok_or(Error::Unauthenticated { presented: true })?;
            sessions.revoker.revoked(Forget::Session(id)).await;
            Ok(NewSession { id, token, expires_at, user })
        })
    }
}

/// The caller's valid sessions, newest first, behind `after`: up to [`Limit::fetch`].
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Vec<Session>>")]
pub struct ListSessions {
    /// Whose.
    pub user: UserId,
    /// Where the last page ended.
    pub after: Option<Cursor>,
    /// How many.
    pub limit: Limit,
}

impl Handler<ListSessions> for SessionStore {
    type Result = Answer<Vec<Session>>;

    fn handle(&mut self, message: ListSessions, _: &mut Self::Context) -> Self::Result {
        let sessions = self.0.clone();
        Answer::from_future(async move {
            let mut conn = sessions.pool.get().await?;
            sessions::list(&mut conn, message.user, message.after, message.limit).await
        })
    }
}
