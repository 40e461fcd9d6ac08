//! `TaskWorker` owns claims, leases and outcomes. It runs no task code itself: each attempt is a tokio task of its own,
//! which the worker watches.
//!
//! | file | tells |
//! | --- | --- |
//! | `shift` | what is known of the tasks at hand; outlives the actor |
//! | `settings` | how it works |
//! | `lease` | registering, and giving signs of life |
//! | `fetch` | claiming due tasks |
//! | `waiting` | what was claimed ahead, and which of it may begin |
//! | `shares` | what owners hold of the slots, and what begins next |
//! | `relief` | claiming for others, past the tasks of an owner who holds many slots |
//! | `service` | claiming what the service itself has to do |
//! | `bookmark` | where in a queue the next claim begins |
//! | `clock` | noticing that a task's time has come |
//! | `database_clock` | the database's clock, for the times of attempts |
//! | `running` | an attempt under way, as the worker knows it |
//! | `attempt` | one attempt, from its claim to its outcome |
//! | `outbox` | writing successes, which nobody waits for |
//! | `report` | writing other outcomes, and what could not be written at once |
//! | `rate` | how fast tasks end: how many to claim ahead |
//! | `stock` | what the database takes for this worker's, against what it knows of |
//! | `bell` | what wakes it |
//! | `watch` | looking after what runs: cancels, progress, handlers that hang |
//! | `drain` | stopping in good order |
//! | `outfit` | what handlers may use |
//! | `figures` | what `/metrics` shows |
//!
//! Who speaks to it: the root (`Drain`), health and metrics (`Census`), and everybody who rings its [`Bell`].
//! When it dies: attempts go on, their outcomes are written, and a claim that is under way is finished, for all of that
//! belongs to the [`Shift`]; the actor that the watchdog puts in its place goes on with the same registration. What
//! pauses meanwhile is claiming and giving signs of life; on a thread that hangs, claiming goes on for two thirds of a
//! lease. If it lasts longer than the lease, the tasks are rescued by others, and what this process still reports of
//! them is refused.

mod attempt;
mod bell;
mod bookmark;
mod clock;
mod database_clock;
mod drain;
mod fetch;
mod figures;
mod lease;
mod outbox;
mod outfit;
mod payloads;
mod rate;
mod relief;
mod report;
mod running;
mod service;
mod settings;
mod shares;
mod shift;
mod stock;
mod waiting;
mod watch;

use actix::{Actor, AsyncContext as _, Context, Handler, Message, WrapFuture as _};

use super::{reply::Answer, work::Work};
use crate::domain::Result;
pub use crate::tasks::files::Files;
pub use bell::Bell;
pub use drain::Drained;
pub use figures::figures;
pub use outfit::{files, services};
pub use settings::Settings;
pub use shift::{Shift, Standing};

/// The actor. Make it from the shift that it works on: [`TaskWorker::on`].
#[derive(Debug)]
pub struct TaskWorker {
    shift: Shift,
    fetching: Option<Work>,
}

/// Stop in good order: [`Shift::drain`]. The answer comes when all is done, so give the actor's callers the
/// patience for it.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Drained>")]
pub struct Drain {
    /// How long attempts may still run before they are interrupted.
    pub limit: std::time::Duration,
}

/// How much is at hand.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Standing>")]
pub struct Census;

crate::vital!(TaskWorker);

impl TaskWorker {
    /// A worker on that shift. The shift may have had another worker before.
    pub fn on(shift: &Shift) -> Self {
        Self { shift: shift.clone(), fetching: None }
    }
}

impl Actor for TaskWorker {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        tokio::spawn(self.shift.clone().warm_up());
        // These end with the actor. Whatever must not be cut short they hand to the runtime.
        // Claiming is there altogether: what is claimed begins on the thread that heard of it.
        self.fetching = Some(Work::begin(context, fetch::keep_fetching(self.shift.clone())));
        context.spawn(service::keep_serving(self.shift.clone()).into_actor(self));
        context.spawn(lease::keep(self.shift.clone()).into_actor(self));
        context.spawn(clock::keep_time(self.shift.clone()).into_actor(self));
        context.spawn(watch::keep_watch(self.shift.clone()).into_actor(self));
    }
}

impl Handler<Drain> for TaskWorker {
    type Result = Answer<Drained>;

    fn handle(&mut self, message: Drain, _: &mut Self::Context) -> Self::Result {
        let shift = self.shift.clone();
        Answer::from_future(async move { Ok(shift.drain(message.limit).await) })
    }
}

impl Handler<Census> for TaskWorker {
    type Result = Answer<Standing>;

    fn handle(&mut self, _: Census, _: &mut Self::Context) -> Self::Result {
        Answer::Now(Ok(self.shift.standing()))
    }
}
