//! `Maintenance`: what must happen now and then, once for all processes: tasks of lost workers are rescued, schedules
//! make their tasks, what is old is deleted, the table of tasks is vacuumed.
//!
//! It runs in every process and takes turns with the others by a lock that ends with the transaction. It owns nothing:
//! when it dies, a new one begins where any other process would.

mod clock;
mod departures;
mod observer;
mod queue;
mod schedules;
mod sweep;
mod upkeep;

use actix::{Actor, AsyncContext as _, Context, WrapFuture as _};

pub use sweep::Swept;
pub use upkeep::{Settings, Upkeep};

/// The actor.
#[derive(Debug)]
pub struct Maintenance {
    upkeep: Upkeep,
}

crate::vital!(Maintenance);

impl Maintenance {
    /// One that does this.
    pub fn on(upkeep: &Upkeep) -> Self {
        Self { upkeep: upkeep.clone() }
    }
}

impl Actor for Maintenance {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.spawn(queue::keep_in_order(self.upkeep.clone()).into_actor(self));
        context.spawn(clock::watch(self.upkeep.clone()).into_actor(self));
        context.spawn(departures::keep_clearing(self.upkeep.clone()).into_actor(self));
        context.spawn(schedules::keep_time(self.upkeep.clone()).into_actor(self));
        context.spawn(sweep::keep_small(self.upkeep.clone()).into_actor(self));
        context.spawn(sweep::keep_vacuumed(self.upkeep.clone()).into_actor(self));
    }
}
