//! `SessionStore`: log-ins that are alive.

pub mod acts;
mod manage;
mod open;

use std::{sync::Arc, time::Duration};

use actix::{Actor, AsyncContext as _, Context, Handler, Message};

use self::open::{OPENINGS, Openings};
pub use self::{
    manage::{CloseAllSessions, CloseSession, ListSessions, RefreshSession},
    open::{NewSession, OpenSession},
};
use super::{
    coalesce::{Coalesce, Tally},
    credentials::{Credentials, Kind},
    memory::Memory,
    reply::Answer,
    revocation::Revoker,
};
use crate::{
    db::{Pool, sessions::Lifetime},
    domain::{Caller, Result, token::TokenHash},
};

/// How often activity is written down; each session at most once a minute.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// What the store works with. It outlives the actor, so that a new one goes on where the last ended.
#[derive(Debug, Clone)]
pub struct Sessions {
    pool: Pool,
    lifetime: Lifetime,
    revoker: Revoker,
    credentials: Credentials,
    openings: Coalesce<Openings>,
}

impl Sessions {
    /// Callers are recognised through the pool `credentials`, everything else goes through `pool`. `memory` is one of
    /// those of `revoker`.
    pub fn new(credentials: Pool, pool: Pool, lifetime: Lifetime, memory: Memory, revoker: Revoker) -> Self {
        let kind = Kind::Session { idle: lifetime.idle };
        let openings = Openings { pool: pool.clone(), lifetime, revoker: revoker.clone() };
        Self {
            credentials: Credentials::new(kind, credentials, memory),
            openings: Coalesce::new(openings, OPENINGS),
            pool,
            lifetime,
            revoker,
        }
    }

    /// What the look-ups did so far.
    pub fn lookups(&self) -> Tally {
        self.credentials.tally()
    }
}

/// The actor.
#[derive(Debug, Clone)]
pub struct SessionStore(Sessions);

impl SessionStore {
    /// One that goes on with these.
    pub fn new(sessions: Sessions) -> Self {
        Self(sessions)
    }
}

impl Actor for SessionStore {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.run_interval(FLUSH_EVERY, |this, _| this.0.credentials.flush());
    }
}

crate::vital!(SessionStore);

/// Who has the session with this token; [`Error::Unauthenticated`] if nobody has.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Arc<Caller>>")]
pub struct ResolveSession {
    /// Of the token.
    pub hash: TokenHash,
}

impl Handler<ResolveSession> for SessionStore {
    type Result = Answer<Arc<Caller>>;

    fn handle(&mut self, message: ResolveSession, _: &mut Self::Context) -> Self::Result {
        self.0.credentials.resolve(message.hash)
    }
}
