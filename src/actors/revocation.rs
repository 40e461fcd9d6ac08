//! Taking a right away, for good, before saying so.
//!
//! PostgreSQL is the only truth: what is committed there is refused by whoever asks. Processes that remember credentials
//! learn of a revocation by notification, or stop answering from memory 250 ms after they heard last. So whoever
//! commits one waits until then, and only then answers. A process that is alone has nothing to wait for.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{
    boottime::Boottime,
    change_feed::Feed,
    presence::{LEASE, Presence},
};
use crate::domain::Forget;

/// What clocks of different machines may differ by over one lease, and then some.
const MARGIN: Duration = Duration::from_millis(50);

/// For whoever commits a revocation. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Revoker {
    feed: Feed,
}

impl Revoker {
    /// For a process with this feed.
    pub fn new(feed: Feed) -> Self {
        Self { feed }
    }

    /// Forgets it in this process, at once. Other processes learn of it from the database, within 250 ms.
    pub fn forget(&self, what: Forget) {
        self.feed.forget(what);
    }

    /// To be awaited between the commit of a revocation and its answer. After it, no process on this database accepts
    /// what was revoked.
    pub async fn revoked(&self, what: Forget) {
        self.forget(what);
        let committed = Boottime::now();
        let barrier = LEASE + MARGIN;
        if !timeout(barrier, self.is_alone(committed)).await.unwrap_or(false) {
            sleep(barrier.saturating_sub(committed.elapsed())).await;
        }
    }

    /// Nobody else can answer from memory that is older than `moment`; `false` as soon as that cannot be known.
    async fn is_alone(&self, moment: Boottime) -> bool {
        let mut presence = self.feed.presence();
        self.feed.look_now();
        let seen = presence.wait_for(|presence| presence.is_later_than(moment)).await;
        seen.map(|presence| Presence::alone_at(*presence, moment)).unwrap_or(false)
    }
}
