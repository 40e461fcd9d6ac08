//! `TaskDispatcher`: every write to tasks that is not a worker's, and what is told of them.
//!
//! HTTP handlers and the command line send it messages. Enqueues that arrive while a statement is under way become
//! the next statement: one `INSERT`, one commit, one notification. Tasks with a `unique_key` take a way of their own,
//! since they may have to wait for whoever is about to enqueue the same key. When the actor dies, statements under way go
//! on and their callers are answered; a new actor goes on with the same [`Dispatch`].

pub mod acts;
mod enqueue;
mod gauges;
mod intake;
mod mails;
mod once;
mod queues;
mod quota;
mod replays;
mod schedules;
mod tasks;

use std::fmt;

use actix::{Actor, AsyncContext as _, Context, WrapFuture as _};

use self::{
    enqueue::{ENQUEUES, Enqueues, KEYED},
    gauges::Gauges,
    once::{ONCE, Once},
    quota::Quota,
    tasks::{LOOK_UPS, LookUps, STATISTICS, Statistics},
};
pub use self::{
    enqueue::{EnqueueTask, EnqueueTasks},
    intake::Intake,
    mails::EnqueueMails,
    once::{EnqueueOnce, Replayable, Told},
    queues::{ListQueues, PauseQueue, ResumeQueue},
    replays::{ClaimKey, FinishKey},
    schedules::{CreateSchedule, DeleteSchedule, FindSchedule, ListSchedules, UpdateSchedule},
    tasks::{CancelTask, DeleteTask, FindTask, ListAttempts, ListTasks, RetryTask, TaskStats},
};
use super::{
    coalesce::{Coalesce, Tally},
    figures::Source,
    worker::Bell,
};
use crate::{
    db::Pool,
    domain::task::{Enqueued, Status},
};

/// What the dispatcher works with. It outlives the actor, so that a new one goes on where the last ended.
#[derive(Clone)]
pub struct Dispatch {
    pool: Pool,
    intake: Intake,
    wake: Wake,
    /// Tasks without a key: they wait for nobody.
    plain: Coalesce<Enqueues>,
    keyed: Coalesce<Enqueues>,
    once: Coalesce<Once>,
    look_ups: Coalesce<LookUps>,
    statistics: Coalesce<Statistics>,
    gauges: Gauges,
    quota: Quota,
}

/// Unfinished tasks that one user may have, unless [`Dispatch::limited_to`] says otherwise.
const MAX_UNFINISHED: usize = 10_000;

impl Dispatch {
    /// Tasks go into the database of `pool`. `bell` is rung after each commit that the worker in this process should know
    /// of; those in others are told by PostgreSQL.
    pub fn new(pool: Pool, intake: Intake, bell: Bell) -> Self {
        let wake = Wake(bell);
        let enqueues = || Enqueues { pool: pool.clone(), wake: wake.clone() };
        Self {
            plain: Coalesce::new(enqueues(), ENQUEUES),
            keyed: Coalesce::new(enqueues(), KEYED),
            once: Coalesce::new(Once { pool: pool.clone(), wake: wake.clone() }, ONCE),
            look_ups: Coalesce::new(LookUps { pool: pool.clone() }, LOOK_UPS),
            statistics: Coalesce::new(Statistics { pool: pool.clone() }, STATISTICS),
            gauges: Gauges::default(),
            quota: Quota::new(pool.clone(), MAX_UNFINISHED),
            pool,
            intake,
            wake,
        }
    }

    /// The same, with so many unfinished tasks that one user may have.
    #[must_use]
    pub fn limited_to(self, max_unfinished: usize) -> Self {
        Self { quota: self.quota.limited_to(max_unfinished), ..self }
    }

    /// What `/metrics` shows of the queue as a whole.
    pub fn figures(&self) -> Source {
        self.gauges.figures()
    }

    /// Statements that enqueued tasks, and how many tasks were in them.
    pub fn enqueued(&self) -> Tally {
        let (plain, keyed) = (self.plain.tally(), self.keyed.tally());
        Tally {
            statements: plain.statements + keyed.statements,
            items: plain.items + keyed.items,
            waiting: plain.waiting + keyed.waiting,
        }
    }
}

impl fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatch")
            .field("plain", &self.plain)
            .field("keyed", &self.keyed)
            .finish_non_exhaustive()
    }
}

/// The way to the worker in this process.
#[derive(Clone)]
struct Wake(Bell);

impl Wake {
    /// Call it when these are committed.
    fn after(&self, enqueued: &[Enqueued]) {
        let any = |status| enqueued.iter().any(|one| one.is_new && one.task.status == status);
        if any(Status::Pending) {
            self.0.due();
        }
        if any(Status::Scheduled) {
            self.0.scheduled();
        }
    }
}

/// The actor.
#[derive(Debug, Clone)]
pub struct TaskDispatcher(Dispatch);

impl TaskDispatcher {
    /// One that goes on with these.
    pub fn new(dispatch: Dispatch) -> Self {
        Self(dispatch)
    }
}

impl Actor for TaskDispatcher {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let Dispatch { gauges, pool, .. } = self.0.clone();
        context.spawn(gauges.keep(pool).into_actor(self));
    }
}

crate::vital!(TaskDispatcher);
