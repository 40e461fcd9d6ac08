//! The way to an actor: an address that can be replaced, a bound that holds, and a deadline.
//!
//! actix alone does not give these. `Addr::send` ignores the mailbox's capacity (actix issue 515), a time-out
//! does not cancel the work, and a panic ends an actor for good, supervised or not. So callers go through
//! [`Live::ask`]: full is [`Error::Overloaded`] at once, dead or late is [`Error::Unavailable`], and a death
//! wakes the watchdog, which puts a new actor behind the same `Live`.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use actix::{Actor, Addr, Context, Handler, MailboxError, Message};
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, Semaphore};

use super::{
    threads::{Epoch, Thread},
    vital::{Ping, Silence, Vitals, Watched},
};
use crate::domain::{Error, Result};

/// What an actor must be to live behind a [`Live`].
pub trait Living: Actor<Context = Context<Self>> + Handler<Ping> + Send {}

impl<A: Actor<Context = Context<A>> + Handler<Ping> + Send> Living for A {}

/// How an actor is reached.
#[derive(Debug, Clone, Copy)]
pub struct Reach {
    /// Its name, in logs and in `/health/actors`.
    pub name: &'static str,
    /// Requests under way at once; more are refused.
    pub capacity: usize,
    /// How long a caller waits for an answer. The work itself is bounded by the statement time-out.
    pub patience: Duration,
}

/// A way to an actor that outlives the actor. Cheap to clone.
pub struct Live<A: Living>(Arc<Cell<A>>);

struct Cell<A: Living> {
    reach: Reach,
    address: RwLock<(Addr<A>, Epoch)>,
    gate: Semaphore,
    thread: Thread,
    make: Box<dyn Fn() -> A + Send + Sync>,
    vitals: Vitals,
    alarm: Arc<Notify>,
}

impl<A: Living> Clone for Live<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<A: Living> fmt::Debug for Live<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Live").field(&self.0.reach.name).finish()
    }
}

impl<A: Living> Live<A> {
    /// Starts the actor that `make` makes, on `thread`. `make` is called again whenever the actor has to be
    /// replaced, so it must not fail: connect and configure first. `alarm` wakes the watchdog.
    pub fn start(
        reach: Reach,
        thread: &Thread,
        alarm: &Arc<Notify>,
        make: impl Fn() -> A + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Cell {
            reach,
            address: RwLock::new(spawn(thread, reach.capacity, make())),
            gate: Semaphore::new(reach.capacity),
            thread: thread.clone(),
            make: Box::new(make),
            vitals: Vitals::default(),
            alarm: Arc::clone(alarm),
        }))
    }

    /// Sends `message` and waits for the answer.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when as many requests are under way as the actor takes; [`Error::Unavailable`]
    /// when it is dead or does not answer in time; else what the actor answers.
    pub async fn ask<M, T>(&self, message: M) -> Result<T>
    where
        A: Handler<M>,
        M: Message<Result = Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        let _permit = self.0.gate.try_acquire().map_err(|_| Error::Overloaded)?;
        let answer = self.address().send(message);
        match tokio::time::timeout(self.0.reach.patience, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(MailboxError::Closed)) => {
                self.0.alarm.notify_one();
                Err(Error::unavailable(self.0.reach.name, "the actor ended"))
            }
            Ok(Err(MailboxError::Timeout)) | Err(_) => {
                Err(Error::unavailable(self.0.reach.name, "the actor did not answer in time"))
            }
        }
    }

    /// Sends a notice that must not be lost while the actor lives, and that nobody waits for: the mailbox's
    /// bound does not hold for it, so the sender's rate must be bounded by something else. Messages of one
    /// sender arrive in order.
    pub fn tell<M>(&self, message: M)
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place; what it drops when closed is of no use then"
        )]
        self.address().do_send(message);
    }

    /// Makes the actor panic, or hold its thread.
    #[cfg(feature = "fault-injection")]
    pub fn inject<M>(&self, fault: M)
    where
        A: Handler<M>,
        M: Message<Result = ()> + Send + 'static,
    {
        self.tell(fault);
    }

    fn address(&self) -> Addr<A> {
        self.0.address.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

fn spawn<A: Living>(thread: &Thread, capacity: usize, actor: A) -> (Addr<A>, Epoch) {
    let (arbiter, epoch) = thread.arbiter();
    let address = A::start_in_arbiter(&arbiter, move |context| {
        context.set_mailbox_capacity(capacity);
        actor
    });
    (address, epoch)
}

impl<A: Living> Watched for Live<A> {
    fn name(&self) -> &'static str {
        self.0.reach.name
    }

    fn depth(&self) -> usize {
        self.0.reach.capacity.saturating_sub(self.0.gate.available_permits())
    }

    fn capacity(&self) -> usize {
        self.0.reach.capacity
    }

    fn ping(&self, patience: Duration) -> BoxFuture<'_, Result<(), Silence>> {
        let address = self.address();
        Box::pin(async move {
            match tokio::time::timeout(patience, address.send(Ping)).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) => Err(Silence::Dead),
                Err(_) => Err(Silence::Mute),
            }
        })
    }

    fn replace(&self, why: Silence) {
        if why == Silence::Mute {
            let hung = self.0.address.read().unwrap_or_else(PoisonError::into_inner).1;
            self.0.thread.renew(hung);
        }
        let fresh = spawn(&self.0.thread, self.0.reach.capacity, (self.0.make)());
        *self.0.address.write().unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    fn vitals(&self) -> &Vitals {
        &self.0.vitals
    }
}
