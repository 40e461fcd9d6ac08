//! `ApiKeyVerifier`: the credentials of programs.

pub mod acts;
mod manage;

use std::{sync::Arc, time::Duration};

use actix::{Actor, AsyncContext as _, Context, Handler, Message};

pub use self::manage::{FindKey, IssueKey, ListKeys, RevokeKey, RotateKey, ShownOnce, UpdateKey};
use super::{
    coalesce::Tally,
    credentials::{Credentials, Kind},
    memory::Memory,
    reply::Answer,
    revocation::Revoker,
};
use crate::{
    db::Pool,
    domain::{Caller, Result, token::TokenHash},
};

/// How often use is written down; each key at most once a minute.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// What the verifier works with. It outlives the actor, so that a new one goes on where the last ended.
#[derive(Debug, Clone)]
pub struct ApiKeys {
    pool: Pool,
    revoker: Revoker,
    credentials: Credentials,
}

impl ApiKeys {
    /// Callers are recognised through the pool `credentials`, everything else goes through `pool`. `memory` is one of
    /// those of `revoker`.
    pub fn new(credentials: Pool, pool: Pool, memory: Memory, revoker: Revoker) -> Self {
        Self { credentials: Credentials::new(Kind::ApiKey, credentials, memory), pool, revoker }
    }

    /// What the look-ups did so far.
    pub fn lookups(&self) -> Tally {
        self.credentials.tally()
    }
}

/// The actor.
#[derive(Debug, Clone)]
pub struct ApiKeyVerifier(ApiKeys);

impl ApiKeyVerifier {
    /// One that goes on with these.
    pub fn new(keys: ApiKeys) -> Self {
        Self(keys)
    }
}

impl Actor for ApiKeyVerifier {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.run_interval(FLUSH_EVERY, |this, _| this.0.credentials.flush());
    }
}

crate::vital!(ApiKeyVerifier);

/// Who has this key; [`crate::domain::Error::Unauthenticated`] if nobody has.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Arc<Caller>>")]
pub struct VerifyKey {
    /// Of the key.
    pub hash: TokenHash,
}

impl Handler<VerifyKey> for ApiKeyVerifier {
    type Result = Answer<Arc<Caller>>;

    fn handle(&mut self, message: VerifyKey, _: &mut Self::Context) -> Self::Result {
        self.0.credentials.resolve(message.hash)
    }
}
