//! What a process remembers of credentials that the database found valid.
//!
//! Memory is a hint. It answers only while it can be shown that it missed no revocation, and what holds is:
//! - It answers only before its lease ends. The [change feed](super::change_feed) renews the lease, and only
//!   for as long as every revocation that anybody committed before the lease began has been handed to
//!   [`Memory::forget`].
//! - A look-up that began before something was forgotten cannot bring it back: it shows the number that
//!   [`Memory::begin`] gave it, and what was forgotten later is not kept. Without this, of 2,000 tokens revoked in a race
//!   732 were still remembered a second later (security.md, finding 3).
//! - An entry lives at most [`LIFE`], and never longer than the database said was left.
//! - Only valid credentials are remembered: a new log-in works at once, and forged tokens take no room.
//!
//! Nobody waits in here: each call holds the lock for a few look-ups in hash maps.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use super::boottime::Boottime;
use crate::domain::{Caller, Credential, Forget, token::TokenHash};

/// Most credentials that are remembered.
const CAPACITY: usize = 100_000;
/// Longest life of an entry.
const LIFE: Duration = Duration::from_secs(60);
/// How many things forgotten are known by name. A look-up during which more were forgotten is not kept.
const RECENT: usize = 1_024;

/// What is remembered of one kind of credential. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Memory(Option<Arc<Mutex<Inner>>>);

/// What was forgotten before a look-up began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Begun(u64);

/// What a look-up found.
#[derive(Debug, Clone)]
pub struct Fresh {
    /// By which it was asked for.
    pub hash: TokenHash,
    /// Who has it.
    pub caller: Arc<Caller>,
    /// When it ends by itself, at the latest.
    pub ends_at: Boottime,
    /// When its activity should be written down again.
    pub touch_at: Boottime,
}

/// What memory says.
#[derive(Debug)]
pub struct Recalled {
    /// Who has it.
    pub caller: Arc<Caller>,
    /// Its activity should be written down now.
    pub touch: bool,
}

#[derive(Debug)]
struct Inner {
    capacity: usize,
    entries: HashMap<TokenHash, Entry>,
    /// The hashes of a session, a key, a user.
    of: HashMap<Forget, HashSet<TokenHash>>,
    /// Every entry in the order they came, and some that are gone.
    order: VecDeque<(TokenHash, u64)>,
    inserted: u64,
    /// How often something was forgotten.
    forgotten: u64,
    /// The last things forgotten, each with its number, oldest first.
    recent: VecDeque<(u64, Forget)>,
    lease: Boottime,
}

#[derive(Debug)]
struct Entry {
    caller: Arc<Caller>,
    number: u64,
    ends_at: Boottime,
    touch_at: Boottime,
}

impl Memory {
    /// An empty one, without a lease.
    pub fn new() -> Self {
        Self::with_capacity(CAPACITY)
    }

    /// One that remembers nothing.
    pub fn none() -> Self {
        Self(None)
    }

    fn with_capacity(capacity: usize) -> Self {
        Self(Some(Arc::new(Mutex::new(Inner {
            capacity,
            entries: HashMap::new(),
            of: HashMap::new(),
            order: VecDeque::new(),
            inserted: 0,
            forgotten: 0,
            recent: VecDeque::new(),
            lease: Boottime::default(),
        }))))
    }

    /// `None` without memory, and after a panic in here, which no code path leads to: then it is not to be trusted.
    fn lock(&self) -> Option<MutexGuard<'_, Inner>> {
        self.0.as_ref()?.lock().ok()
    }

    /// Whether it remembers anything at all.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Who has this credential, if that is known for certain. When its activity is due, only one caller is told.
    pub fn recall(&self, hash: &TokenHash, touch_every: Duration) -> Option<Recalled> {
        self.recall_at(hash, touch_every, Boottime::now())
    }

    fn recall_at(&self, hash: &TokenHash, touch_every: Duration, now: Boottime) -> Option<Recalled> {
        let mut inner = self.lock()?;
        if now >= inner.lease {
            return None;
        }
        let entry = inner.entries.get_mut(hash)?;
        if now >= entry.ends_at {
            inner.remove(hash);
            return None;
        }
        let touch = now >= entry.touch_at;
        if touch {
            entry.touch_at = now + touch_every;
        }
        Some(Recalled { caller: Arc::clone(&entry.caller), touch })
    }

    /// To be called before the statement of a look-up is sent.
    pub fn begin(&self) -> Begun {
        Begun(self.lock().map_or(0, |inner| inner.forgotten))
    }

    /// Keeps what a look-up found, but for what was forgotten since it began.
    pub fn keep(&self, begun: Begun, found: impl IntoIterator<Item = Fresh>) {
        self.keep_at(begun, found, Boottime::now());
    }

    fn keep_at(&self, begun: Begun, found: impl IntoIterator<Item = Fresh>, now: Boottime) {
        let Some(mut inner) = self.lock() else { return };
        // Without a lease it would be remembered for nothing.
        if now < inner.lease && inner.knows_all_since(begun) {
            for fresh in found {
                inner.keep(begun, fresh, now);
            }
        }
    }

    /// Forgets it, also for look-ups under way.
    pub fn forget(&self, what: Forget) {
        if let Some(mut inner) = self.lock() {
            inner.forget(what);
        }
    }

    /// Everything that anybody committed before some moment was forgotten; answers may be given until `lease`, which
    /// counts from that moment.
    pub fn renew(&self, lease: Boottime) {
        if let Some(mut inner) = self.lock() {
            inner.lease = lease;
        }
    }

    /// How many credentials are remembered.
    pub fn len(&self) -> usize {
        self.lock().map_or(0, |inner| inner.entries.len())
    }

    /// Nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Inner {
    fn knows_all_since(&self, begun: Begun) -> bool {
        self.forgotten - begun.0 <= self.recent.len() as u64
    }

    fn keep(&mut self, begun: Begun, fresh: Fresh, now: Boottime) {
        let Fresh { hash, caller, ends_at, touch_at } = fresh;
        let names = names(&caller);
        let since = self.recent.iter().rev().take_while(|(number, _)| *number > begun.0);
        if since.into_iter().any(|(_, what)| *what == Forget::Everything || names.contains(what)) {
            return;
        }
        self.remove(&hash);
        self.make_room();
        self.inserted += 1;
        let (number, ends_at) = (self.inserted, ends_at.min(now + LIFE));
        for name in names {
            self.of.entry(name).or_default().insert(hash);
        }
        self.order.push_back((hash, number));
        self.entries.insert(hash, Entry { caller, number, ends_at, touch_at });
    }

    /// The oldest goes first: as all live equally long, it is also the first to end.
    fn make_room(&mut self) {
        while self.order.len() >= self.capacity {
            let Some((hash, number)) = self.order.pop_front() else { return };
            if self.entries.get(&hash).is_some_and(|entry| entry.number == number) {
                self.remove(&hash);
            }
        }
    }

    fn remove(&mut self, hash: &TokenHash) {
        let Some(entry) = self.entries.remove(hash) else { return };
        for name in names(&entry.caller) {
            if let Some(hashes) = self.of.get_mut(&name) {
                hashes.remove(hash);
                if hashes.is_empty() {
                    self.of.remove(&name);
                }
            }
        }
    }

    fn forget(&mut self, what: Forget) {
        self.forgotten += 1;
        self.recent.push_back((self.forgotten, what));
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        if what == Forget::Everything {
            self.entries.clear();
            self.of.clear();
            self.order.clear();
        } else {
            for hash in self.of.get(&what).cloned().unwrap_or_default() {
                self.remove(&hash);
            }
        }
    }
}

/// What an entry is forgotten by, [`Forget::Everything`] aside.
fn names(caller: &Caller) -> [Forget; 2] {
    let credential = match caller.credential {
        Credential::Session { id, .. } => Forget::Session(id),
        Credential::ApiKey { id, .. } => Forget::Key(id),
    };
    [credential, Forget::User(caller.user.id)]
}

#[cfg(test)]
mod tests;
