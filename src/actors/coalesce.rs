//! The heart of the stores: whatever arrives while a statement is under way becomes the next statement.
//!
//! 200 look-ups are one `= ANY($1)`, 200 enqueued tasks one `INSERT`, one commit, one `NOTIFY`. There is no
//! timer: an idle store sends at once, a busy one fills its next batch by itself.
//!
//! What holds, and what the tests below prove:
//! - a caller never joins a statement that was already sent (revocation depends on it);
//! - callers who ask for the same key before it is sent share one place in the statement;
//! - each is answered by its own key, never by position;
//! - a failed statement fails only those in it, and one bad item does not fail its neighbours;
//! - a caller who went away before the statement was sent takes no part in it;
//! - the queue is bounded: past it, [`Error::Overloaded`] at once.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    future::Future,
    hash::Hash,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::FutureExt as _;
use tokio::sync::oneshot;

use crate::domain::{Error, Result};

/// One kind of statement that can serve many callers.
pub trait Batch: Send + Sync + 'static {
    /// By what an answer finds those who wait for it.
    type Key: Clone + Eq + Hash + Send + 'static;
    /// What one caller adds to the statement. Cheap to clone: a refused statement is tried again in halves.
    type Item: Clone + Send + 'static;
    /// What one caller is told.
    type Answer: Clone + Send + 'static;

    /// Runs one statement for all `items`. A key that is not in the answer gets [`Batch::missing`].
    fn run(
        &self,
        items: Vec<(Self::Key, Self::Item)>,
    ) -> impl Future<Output = Result<HashMap<Self::Key, Self::Answer>>> + Send;

    /// What a key is told that the statement had no row for.
    fn missing(&self) -> Result<Self::Answer>;
}

/// How much at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Statements under way at the same time.
    pub statements: usize,
    /// Items in one statement.
    pub items: usize,
    /// Items that wait for the next statement; more are refused.
    pub waiting: usize,
}

/// What it did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Statements sent.
    pub statements: u64,
    /// Items that were in them.
    pub items: u64,
    /// Items that wait now.
    pub waiting: u64,
}

/// Where an answer goes.
pub type ReplyTo<T> = oneshot::Sender<Result<T>>;

/// Folds concurrent requests of one kind into as few statements as possible.
pub struct Coalesce<B: Batch>(Arc<Shared<B>>);

struct Shared<B: Batch> {
    batch: B,
    limits: Limits,
    queue: Mutex<Queue<B>>,
    statements: AtomicU64,
    items: AtomicU64,
}

struct Queue<B: Batch> {
    order: VecDeque<B::Key>,
    pending: HashMap<B::Key, Pending<B>>,
    in_flight: usize,
}

struct Pending<B: Batch> {
    item: B::Item,
    waiters: Vec<ReplyTo<B::Answer>>,
}

type Taken<B> = Vec<(<B as Batch>::Key, Pending<B>)>;

impl<B: Batch> Clone for Coalesce<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B: Batch> fmt::Debug for Coalesce<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coalesce").field("limits", &self.0.limits).field("tally", &self.tally()).finish()
    }
}

impl<B: Batch> Coalesce<B> {
    /// An empty one. Statements run on the tokio runtime that [`Coalesce::submit`] is called in.
    pub fn new(batch: B, limits: Limits) -> Self {
        let queue = Queue { order: VecDeque::new(), pending: HashMap::new(), in_flight: 0 };
        Self(Arc::new(Shared {
            batch,
            limits,
            queue: Mutex::new(queue),
            statements: AtomicU64::new(0),
            items: AtomicU64::new(0),
        }))
    }

    /// Puts `item` into the next statement; the answer for `key` goes to `reply_to`. Never waits.
    pub fn submit(&self, key: B::Key, item: B::Item, reply_to: ReplyTo<B::Answer>) {
        let mut queue = self.0.lock();
        if let Some(pending) = queue.pending.get_mut(&key) {
            pending.waiters.push(reply_to);
        } else if queue.order.len() >= self.0.limits.waiting {
            drop(queue);
            let _gone = reply_to.send(Err(Error::Overloaded));
            return;
        } else {
            queue.order.push_back(key.clone());
            queue.pending.insert(key, Pending { item, waiters: vec![reply_to] });
        }
        if queue.in_flight < self.0.limits.statements {
            let taken = queue.take(self.0.limits.items);
            if !taken.is_empty() {
                queue.in_flight += 1;
                tokio::spawn(Arc::clone(&self.0).drive(taken));
            }
        }
    }

    /// [`Coalesce::submit`] for callers that are futures themselves.
    pub async fn ask(&self, key: B::Key, item: B::Item) -> Result<B::Answer> {
        let (reply_to, answer) = oneshot::channel();
        self.submit(key, item, reply_to);
        answer.await.unwrap_or_else(|_| Err(Error::unavailable("store", "the statement was abandoned")))
    }

    /// What it did so far.
    pub fn tally(&self) -> Tally {
        Tally {
            statements: self.0.statements.load(Ordering::Relaxed),
            items: self.0.items.load(Ordering::Relaxed),
            waiting: self.0.lock().order.len() as u64,
        }
    }
}

impl<B: Batch> Queue<B> {
    /// The next statement's items: the oldest first, those that nobody waits for left out.
    fn take(&mut self, at_most: usize) -> Taken<B> {
        let mut taken = Vec::with_capacity(self.order.len().min(at_most));
        while taken.len() < at_most {
            let Some(key) = self.order.pop_front() else { break };
            let Some(mut pending) = self.pending.remove(&key) else { continue };
            pending.waiters.retain(|waiter| !waiter.is_closed());
            if !pending.waiters.is_empty() {
                taken.push((key, pending));
            }
        }
        taken
    }
}

impl<B: Batch> Shared<B> {
    fn lock(&self) -> MutexGuard<'_, Queue<B>> {
        // Nothing in here can leave the queue half-changed, so a poisoned lock is as good as a sound one.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends statement after statement until nothing waits.
    async fn drive(self: Arc<Self>, first: Taken<B>) {
        let mut next = Some(first);
        while let Some(taken) = next {
            self.settle(taken).await;
            let mut queue = self.lock();
            let taken = queue.take(self.limits.items);
            next = if taken.is_empty() {
                queue.in_flight -= 1;
                None
            } else {
                Some(taken)
            };
        }
    }

    /// Runs the statement and answers everyone in it; a refused one is tried again in halves, so that the
    /// item at fault is found and the others are served.
    async fn settle(&self, taken: Taken<B>) {
        let mut parts = vec![taken];
        while let Some(mut part) = parts.pop() {
            let items = part.iter().map(|(key, pending)| (key.clone(), pending.item.clone())).collect();
            self.statements.fetch_add(1, Ordering::Relaxed);
            self.items.fetch_add(part.len() as u64, Ordering::Relaxed);
            let outcome = AssertUnwindSafe(self.batch.run(items)).catch_unwind().await;
            match outcome.unwrap_or_else(|_| Err(Error::internal("a statement's future panicked"))) {
                Ok(answers) => self.answer(part, answers),
                Err(error) if part.len() > 1 && blames_an_item(&error) => {
                    let second = part.split_off(part.len() / 2);
                    parts.extend([second, part]);
                }
                Err(error) => fail(part, &error),
            }
        }
    }

    fn answer(&self, part: Taken<B>, mut answers: HashMap<B::Key, B::Answer>) {
        for (key, mut pending) in part {
            let answer = answers.remove(&key).map_or_else(|| self.batch.missing(), Ok);
            let last = pending.waiters.pop();
            for waiter in pending.waiters {
                let _gone = waiter.send(answer.clone());
            }
            if let Some(waiter) = last {
                let _gone = waiter.send(answer);
            }
        }
    }
}

/// PostgreSQL refused the statement and rolled it back. When it was away or too slow, the statement may
/// have been carried out: trying again could do the work twice.
fn blames_an_item(error: &Error) -> bool {
    !error.is_transient()
}

fn fail<K, B: Batch<Key = K>>(part: Vec<(K, Pending<B>)>, error: &Error) {
    for waiter in part.into_iter().flat_map(|(_, pending)| pending.waiters) {
        let _gone = waiter.send(Err(error.clone()));
    }
}

#[cfg(test)]
mod tests;
