//! What the stores of sessions and of API keys have in common: recognising callers, fast.
//!
//! A credential is answered from [memory](super::memory) while that is certain, else by a look-up that it shares with
//! all that came while the statement before was under way. Never does it join a statement that was already sent: the
//! statement might have looked before a revocation that this caller knows of.

use std::{collections::HashMap, sync::Arc, time::Duration};

use uuid::Uuid;

use super::{
    activity::Activity,
    boottime::Boottime,
    coalesce::{Batch, Coalesce, Limits, Tally},
    memory::{Fresh, Memory},
    reply::Answer,
};
use crate::{
    db::{self, Found, Pool},
    domain::{ApiKeyId, Caller, Credential, Error, Result, SessionId, token::TokenHash},
};

/// Look-ups at once. Few, so that they fill: with 256 callers on 2 cores one connection alone made 40,900 look-ups/s.
const LIMITS: Limits = Limits { statements: 3, items: 256, waiting: 4_096 };
/// How exactly it is known when something was last used.
const RESOLUTION: Duration = Duration::from_secs(60);
/// Activity written down in one statement.
const FLUSH: usize = 1_000;
/// A look-up that failed later than this is not tried again: its callers have waited enough.
const QUICK: Duration = Duration::from_secs(1);

/// Which credentials.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Session tokens.
    Session {
        /// How long a session lives on from its last use.
        idle: Duration,
    },
    /// API keys.
    ApiKey,
}

impl Kind {
    /// How often the activity of one is written down: also often enough for a short idle time-out to be kept
    /// to a tenth.
    fn touch_every(self) -> Duration {
        match self {
            Self::Session { idle } => RESOLUTION.min(idle / 10),
            Self::ApiKey => RESOLUTION,
        }
    }
}

/// Credentials of one kind. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    lookups: Coalesce<Lookup>,
    lookup: Lookup,
}

#[derive(Debug, Clone)]
struct Lookup {
    kind: Kind,
    pool: Pool,
    memory: Memory,
    activity: Activity<Uuid>,
}

impl Credentials {
    pub(super) fn new(kind: Kind, pool: Pool, memory: Memory) -> Self {
        let lookup = Lookup { kind, pool, memory, activity: Activity::new() };
        Self { lookups: Coalesce::new(lookup.clone(), LIMITS), lookup }
    }

    /// Who has this credential; [`Error::Unauthenticated`] when it is good for nothing, or was never handed out.
    pub(super) fn resolve(&self, hash: TokenHash) -> Answer<Arc<Caller>> {
        if let Some(recalled) = self.lookup.memory.recall(&hash, self.lookup.kind.touch_every()) {
            if recalled.touch {
                self.lookup.activity.note([id(&recalled.caller)]);
            }
            return Answer::Now(Ok(recalled.caller));
        }
        let lookups = self.lookups.clone();
        Answer::later(move |reply_to| lookups.submit(hash, (), reply_to))
    }

    /// Starts to write down what was used.
    pub(super) fn flush(&self) {
        let used = self.lookup.activity.take();
        if !used.is_empty() {
            let lookup = self.lookup.clone();
            tokio::spawn(async move { lookup.write_down(&used).await });
        }
    }

    /// What the look-ups did so far.
    pub(super) fn tally(&self) -> Tally {
        self.lookups.tally()
    }
}

impl Batch for Lookup {
    type Key = TokenHash;
    type Item = ();
    type Answer = Arc<Caller>;

    async fn run(&self, items: Vec<(TokenHash, ())>) -> Result<HashMap<TokenHash, Arc<Caller>>> {
        // Both before the statement: what is forgotten from now on is not kept, and no time is given away.
        let begun = self.memory.begin();
        let asked_at = Boottime::now();
        let hashes: Vec<TokenHash> = items.into_iter().map(|(hash, ())| hash).collect();
        let found = match self.find(&hashes).await {
            // The connection may have gone stale; asking twice changes nothing.
            Err(error) if error.is_transient() && asked_at.elapsed() < QUICK => self.find(&hashes).await,
            outcome => outcome,
        }?;
        let fresh: Vec<Fresh> = found.into_iter().map(|found| self.fresh(found, asked_at)).collect();
        let answers = fresh.iter().map(|fresh| (fresh.hash, Arc::clone(&fresh.caller))).collect();
        self.activity.note(fresh.iter().filter(|f| f.touch_at <= asked_at).map(|f| id(&f.caller)));
        self.memory.keep(begun, fresh);
        Ok(answers)
    }

    fn missing(&self) -> Result<Arc<Caller>> {
        Err(Error::Unauthenticated { presented: true })
    }
}

impl Lookup {
    async fn find(&self, hashes: &[TokenHash]) -> Result<Vec<Found>> {
        let mut conn = self.pool.get().await?;
        match self.kind {
            Kind::Session { .. } => db::sessions::find_valid(&mut conn, hashes).await,
            Kind::ApiKey => db::api_keys::find_valid(&mut conn, hashes).await,
        }
    }

    fn fresh(&self, found: Found, asked_at: Boottime) -> Fresh {
        let every = self.kind.touch_every();
        let touch_in = found.unused_for.map_or(Duration::ZERO, |unused| every.saturating_sub(unused));
        Fresh {
            hash: found.hash,
            caller: Arc::new(found.caller),
            ends_at: asked_at + found.left.unwrap_or(Duration::MAX),
            touch_at: asked_at + touch_in,
        }
    }

    async fn write_down(&self, used: &[Uuid]) {
        for part in used.chunks(FLUSH) {
            if let Err(error) = self.touch(part).await {
                log::debug!(error:% = error; "activity not written down");
            }
        }
    }

    async fn touch(&self, ids: &[Uuid]) -> Result<usize> {
        let mut conn = self.pool.get().await?;
        let every = self.kind.touch_every();
        match self.kind {
            Kind::Session { idle } => {
                let ids: Vec<SessionId> = ids.iter().copied().map(SessionId).collect();
                db::sessions::touch(&mut conn, &ids, idle, every).await
            }
            Kind::ApiKey => {
                let ids: Vec<ApiKeyId> = ids.iter().copied().map(ApiKeyId).collect();
                db::api_keys::touch(&mut conn, &ids, every).await
            }
        }
    }
}

fn id(caller: &Caller) -> Uuid {
    match caller.credential {
        Credential::Session { id, .. } => id.0,
        Credential::ApiKey { id, .. } => id.0,
    }
}
