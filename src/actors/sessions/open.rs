//! How sessions begin.

use std::collections::HashMap;

use actix::{Handler, Message};
use chrono::{DateTime, Utc};

use super::SessionStore;
use crate::{
    actors::{
        coalesce::{Batch, Limits},
        reply::Answer,
        revocation::Revoker,
    },
    db::{
        Pool,
        sessions::{self, Lifetime, Opened, Opening},
    },
    domain::{Error, Forget, Origin, PasswordHash, Result, SessionId, User, UserId, token::SessionToken},
};

/// Log-ins that are begun together.
pub(super) const OPENINGS: Limits = Limits { statements: 1, items: 64, waiting: 1_024 };

/// Begins a session for somebody whose password was right. [`Error::InvalidCredentials`] if he is not active any
/// more, or his password or `auth_version` has changed since it was checked.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<NewSession>")]
pub struct OpenSession {
    /// Whose it is.
    pub user: UserId,
    /// His `auth_version` when `verified` was read.
    pub auth_version: i64,
    /// The hash that his password was checked against.
    pub verified: PasswordHash,
    /// Where he logs in from.
    pub origin: Origin,
}

/// A session, with its token for the only time.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Not the token.
    pub id: SessionId,
    /// To be handed over.
    pub token: SessionToken,
    /// When it ends in any case.
    pub expires_at: DateTime<Utc>,
    /// Whose it is.
    pub user: User,
}

impl Handler<OpenSession> for SessionStore {
    type Result = Answer<NewSession>;

    fn handle(&mut self, message: OpenSession, _: &mut Self::Context) -> Self::Result {
        let openings = self.0.openings.clone();
        Answer::from_future(async move {
            let (id, token) = (SessionId::new(), SessionToken::generate());
            let opening = Opening {
                id,
                hash: token.hash(),
                user: message.user,
                auth_version: message.auth_version,
                verified: message.verified,
                ip_address: message.origin.ip_address,
                user_agent: message.origin.user_agent,
                request_id: message.origin.request_id,
            };
            let Opened { expires_at, user } = openings.ask(id, opening).await?;
            Ok(NewSession { id, token, expires_at, user })
        })
    }
}

/// Begins many sessions in one statement.
#[derive(Debug)]
pub(super) struct Openings {
    pub(super) pool: Pool,
    pub(super) lifetime: Lifetime,
    pub(super) revoker: Revoker,
}

impl Batch for Openings {
    type Key = SessionId;
    type Item = Opening;
    type Answer = Opened;

    async fn run(&self, items: Vec<(SessionId, Opening)>) -> Result<HashMap<SessionId, Opened>> {
        let openings: Vec<Opening> = items.into_iter().map(|(_, opening)| opening).collect();
        let mut conn = self.pool.get().await?;
        let (opened, ended) = sessions::open(&mut conn, &openings, self.lifetime).await?;
        // Nobody asked for these to end, so nobody waits for it.
        ended.into_iter().for_each(|id| self.revoker.forget(Forget::Session(id)));
        Ok(opened.into_iter().collect())
    }

    fn missing(&self) -> Result<Opened> {
        Err(Error::InvalidCredentials)
    }
}
