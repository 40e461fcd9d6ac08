//! The threads that hash passwords: as many as configured and no more, with a bounded queue in front.
//!
//! A hash takes 15 to 30 ms and 19 MiB. Done wherever a request happens to run it would stall other requests, and
//! a hundred at once would take 2 GiB. So every hash of the process goes through here: log-ins, also those for
//! accounts that do not exist, registrations, changes. Work that nobody waits for any more is not begun, work
//! that waited for more than two seconds neither, and when the queue is full the answer is [`Error::Overloaded`] at once.
//!
//! Each thread keeps its memory while it has work and gives it back five seconds after.

mod bench;
mod queue;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch};

use self::{
    bench::Bench,
    queue::{Limits, Next, Queue, Work},
};
pub use self::{
    bench::{Cost, Verdict},
    queue::Share,
};
use super::vital::{Silence, Vitals, Watched};
use crate::{
    config::Auth,
    domain::{Error, NewPassword, PasswordHash, PresentedPassword, Result},
};

/// After so much time without work a thread gives its memory back.
const IDLE: Duration = Duration::from_secs(5);

/// What the hashers are told at start.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Of new hashes.
    pub cost: Cost,
    /// How many hashes run at once.
    pub threads: usize,
}

impl From<&Auth> for Settings {
    fn from(auth: &Auth) -> Self {
        let cost = Cost {
            memory_kib: auth.argon2_memory_kib,
            iterations: auth.argon2_iterations,
            parallelism: auth.argon2_parallelism,
        };
        Self { cost, threads: auth.argon2_threads }
    }
}

/// The hashing threads. Cheap to clone; they end when the last clone is dropped, or with [`Self::stop`].
#[derive(Clone)]
pub struct Hashers(Arc<Owner>);

/// Closes the queue when nobody can fill it any more.
struct Owner(Arc<Pool>);

/// What the threads share.
struct Pool {
    settings: Settings,
    idle: Duration,
    queue: Queue<Bench>,
    /// A hash at the present cost of a password that nobody knows.
    dummy: PasswordHash,
    running: AtomicUsize,
    warm: AtomicUsize,
    done: AtomicU64,
    panics: Arc<AtomicU64>,
    alive: watch::Sender<usize>,
    vitals: Vitals,
}

/// How busy the hashers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Jobs that wait.
    pub waiting: usize,
    /// Jobs that run.
    pub running: usize,
    /// Threads: jobs that can run at once.
    pub threads: usize,
    /// Threads that hold memory.
    pub warm: usize,
    /// Jobs that may wait.
    pub queue: usize,
    /// Jobs that were done since the start: each is one hash, whoever it was for.
    pub done: u64,
    /// Jobs that panicked since the start.
    pub panics: u64,
}

impl Hashers {
    /// Starts the threads. Takes as long as two hashes: one for accounts that do not exist, one to see that
    /// checking against it works.
    ///
    /// # Errors
    /// [`Error::Internal`] if the cost is impossible or no thread can be started.
    pub fn start(settings: Settings) -> Result<Self> {
        Self::start_with(settings, Limits::USUAL, IDLE)
    }

    fn start_with(settings: Settings, limits: Limits, idle: Duration) -> Result<Self> {
        let pool = Arc::new(Pool {
            settings,
            idle,
            queue: Queue::new(limits),
            dummy: dummy(settings.cost)?,
            running: AtomicUsize::new(0),
            warm: AtomicUsize::new(0),
            done: AtomicU64::new(0),
            panics: Arc::default(),
            alive: watch::Sender::new(0),
            vitals: Vitals::default(),
        });
        let owner = Owner(pool);
        owner.0.fill_up()?;
        Ok(Self(Arc::new(owner)))
    }

    /// Hashes a password.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if its share of the queue is full or moves too slowly, [`Error::Unavailable`] after
    /// [`Self::stop`].
    pub async fn hash(&self, password: NewPassword, share: Share) -> Result<PasswordHash> {
        self.submit(share, move |bench| bench.hash(password.expose())).await
    }

    /// Hashes a password that is somebody's already, at the present cost.
    ///
    /// # Errors
    /// As [`Self::hash`].
    pub async fn rehash(&self, password: PresentedPassword) -> Result<PasswordHash> {
        self.submit(Share::Accounts, move |bench| bench.hash(password.expose())).await
    }

    /// Checks a password. With `None`, for an account that does not exist or has no password, the answer is
    /// [`Verdict::Wrong`], after the same wait and the same work; so it is for a stored hash that cannot be read or
    /// costs too much.
    ///
    /// # Errors
    /// As [`Self::hash`].
    pub async fn verify(&self, password: PresentedPassword, stored: Option<PasswordHash>) -> Result<Verdict> {
        let dummy = self.0.0.dummy.clone();
        self.submit(Share::Accounts, move |bench| check(bench, &password, stored.as_ref(), &dummy)).await
    }

    /// Whether a job of this share would be taken now. To be asked before anything else is done for somebody who is about to
    /// be refused: a refusal that costs statements is no relief.
    ///
    /// # Errors
    /// As [`Self::hash`].
    pub fn has_room(&self, share: Share) -> Result<()> {
        self.0.0.queue.has_room(share)
    }

    async fn submit<T: Send + 'static>(
        &self,
        share: Share,
        ask: impl FnOnce(&mut Bench) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let panics = Arc::clone(&self.0.0.panics);
        self.0.0.queue.push(share, Box::new(Asked { ask, reply, panics }))?;
        answer.await.unwrap_or_else(|_| Err(Error::internal("a hashing thread ended")))
    }

    /// How busy they are.
    pub fn load(&self) -> Load {
        let pool = &self.0.0;
        Load {
            waiting: pool.queue.waiting(),
            running: pool.running.load(Ordering::Relaxed),
            threads: pool.settings.threads,
            warm: pool.warm.load(Ordering::Relaxed),
            queue: pool.queue.capacity(),
            done: pool.done.load(Ordering::Relaxed),
            panics: pool.panics.load(Ordering::Relaxed),
        }
    }

    /// Takes nothing more, finishes what waits and runs, and waits for the threads to end.
    pub async fn stop(&self) {
        self.0.0.queue.close();
        self.0.0.vitals.stopped();
        // Fails only when the sender is gone, and that is held here.
        let mut alive = self.0.0.alive.subscribe();
        let _ended = alive.wait_for(|alive| *alive == 0).await;
    }
}

impl fmt::Debug for Hashers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hashers").field(&self.load()).finish()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.queue.close();
    }
}

impl Pool {
    /// Starts as many threads as are missing.
    fn fill_up(self: &Arc<Self>) -> Result<()> {
        let alive = *self.alive.borrow();
        for _ in alive..self.settings.threads {
            self.alive.send_modify(|alive| *alive += 1);
            let present = Present(Arc::clone(self));
            thread::Builder::new()
                .name("password-hasher".to_owned())
                .spawn(move || present.0.work())
                .map_err(Error::internal)?;
        }
        Ok(())
    }

    fn work(&self) {
        let mut bench = Bench::new(self.settings.cost);
        loop {
            let was_warm = bench.is_warm();
            match self.queue.next(was_warm.then_some(self.idle)) {
                Next::Work(work) => {
                    self.running.fetch_add(1, Ordering::Relaxed);
                    work.run(&mut bench);
                    self.running.fetch_sub(1, Ordering::Relaxed);
                    self.done.fetch_add(1, Ordering::Relaxed);
                }
                Next::Idle => bench.release(),
                Next::Closed => return,
            }
            match (was_warm, bench.is_warm()) {
                (false, true) => self.warm.fetch_add(1, Ordering::Relaxed),
                (true, false) => self.warm.fetch_sub(1, Ordering::Relaxed),
                _ => continue,
            };
        }
    }
}

/// Counts a thread, and uncounts it however it ends.
struct Present(Arc<Pool>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.alive.send_modify(|alive| *alive -= 1);
    }
}

/// A closure, and who waits for what it returns.
struct Asked<F, T> {
    ask: F,
    reply: oneshot::Sender<Result<T>>,
    panics: Arc<AtomicU64>,
}

impl<F: FnOnce(&mut Bench) -> Result<T> + Send, T: Send> Work<Bench> for Asked<F, T> {
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn refuse(self: Box<Self>, why: Error) {
        let _gone = self.reply.send(Err(why));
    }

    fn run(self: Box<Self>, bench: &mut Bench) {
        let Self { ask, reply, panics } = *self;
        let outcome = catch_unwind(AssertUnwindSafe(|| ask(bench))).unwrap_or_else(|_| {
            panics.fetch_add(1, Ordering::Relaxed);
            bench.release();
            Err(Error::internal("a hashing job panicked"))
        });
        let _gone = reply.send(outcome);
    }
}

fn check(
    bench: &mut Bench,
    password: &PresentedPassword,
    stored: Option<&PasswordHash>,
    dummy: &PasswordHash,
) -> Result<Verdict> {
    if let Some(stored) = stored {
        if let Some(verdict) = bench.verify(password.expose(), stored)? {
            return Ok(verdict);
        }
        log::warn!("a stored password hash is not one of ours or costs too much; its user cannot log in");
    }
    bench.verify(password.expose(), dummy)?;
    Ok(Verdict::Wrong)
}

/// A dummy that could not be read would be refused at once, and the time would tell which accounts exist.
fn dummy(cost: Cost) -> Result<PasswordHash> {
    let nobody_knows: [u8; 32] = rand::random();
    let password: String = nobody_knows.into_iter().map(char::from).collect();
    let mut bench = Bench::new(cost);
    let hash = bench.hash(&password)?;
    match bench.verify(&password, &hash)? {
        Some(Verdict::Right { needs_rehash: false }) => Ok(hash),
        _ => Err(Error::internal("the hash for unknown accounts does not verify")),
    }
}

impl Watched for Hashers {
    fn name(&self) -> &'static str {
        "PasswordHashers"
    }

    fn depth(&self) -> usize {
        let load = self.load();
        load.waiting + load.running
    }

    fn capacity(&self) -> usize {
        let load = self.load();
        load.queue + load.threads
    }

    /// They are fine when all are there: a job that panics does not end its thread, and none can run for long.
    fn ping(&self, _: Duration) -> BoxFuture<'_, std::result::Result<(), Silence>> {
        let whole = *self.0.0.alive.borrow() >= self.0.0.settings.threads;
        Box::pin(async move { if whole { Ok(()) } else { Err(Silence::Dead) } })
    }

    fn replace(&self, _: Silence) {
        if let Err(error) = self.0.0.fill_up() {
            log::error!(error:% = error; "no new hashing thread");
        }
    }

    fn vitals(&self) -> &Vitals {
        &self.0.0.vitals
    }
}

#[cfg(test)]
mod tests;
