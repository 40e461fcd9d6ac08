//! Asks every actor for a sign of life, replaces the dead, counts, and reports to `/health/actors`.
//!
//! A panic in actix 0.13.5 ends the actor for good and silently; its own `Supervisor` restarts only what called
//! `stop()`. So the watchdog pings, and is woken at once by a caller who met a dead actor. Replacing has a budget:
//! an actor that keeps dying is a defect that no restart heals, and the process ends with an error, so that
//! whoever supervises the process can act.

use std::{sync::Arc, time::Duration};

use actix::{Actor, AsyncContext as _, Context, Handler, Message, WrapFuture as _};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    checkup::{self, Checkup, Health},
    reply::Answer,
    vital::{Report, Silence, State, Watched},
};
use crate::domain::Result;

/// How patient the watchdog is.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Between two rounds of pings.
    pub interval: Duration,
    /// For the answer to one ping.
    pub answer: Duration,
    /// How long an actor may stay silent before it is replaced.
    pub silence: Duration,
    /// Before the second replacement within `budget_window`; doubles with each further one.
    pub pause: Duration,
    /// Replacements within `budget_window` before the process gives up.
    pub budget: usize,
    /// See `budget`.
    pub budget_window: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            answer: Duration::from_secs(2),
            silence: Duration::from_secs(15),
            pause: Duration::from_millis(200),
            budget: 5,
            budget_window: Duration::from_secs(60),
        }
    }
}

/// Everything that is watched. Shared, so that a new watchdog knows what the last one knew.
pub type Roster = Arc<Vec<Arc<dyn Watched>>>;

/// The actor.
#[derive(Clone)]
pub struct Watchdog {
    roster: Roster,
    patience: Patience,
    alarm: Arc<Notify>,
    given_up: CancellationToken,
    checkup: Checkup,
}

/// Asks how the process is.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Health>")]
pub struct CheckHealth;

/// Asks for the rows of `/health/actors`.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Vec<Report>>")]
pub struct ReportAll;

/// Go and see now.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
struct Round;

crate::vital!(Watchdog);

impl Watchdog {
    /// `alarm` wakes it; `given_up` is cancelled when an actor is past its restart budget.
    pub fn new(
        roster: Roster,
        patience: Patience,
        alarm: Arc<Notify>,
        given_up: CancellationToken,
        checkup: Checkup,
    ) -> Self {
        Self { roster, patience, alarm, given_up, checkup }
    }

    fn visit_all(&self) {
        for watched in self.roster.iter().filter(|watched| watched.vitals().state() != State::Stopped) {
            let (watched, this) = (Arc::clone(watched), self.clone());
            tokio::spawn(async move { visit(&*watched, &this.patience, &this.given_up).await });
        }
    }
}

/// Asks one for a sign of life, and replaces it when it is gone, or was silent for too long.
pub async fn visit(watched: &dyn Watched, patience: &Patience, given_up: &CancellationToken) {
    let met = watched.vitals().restarts();
    let why = match watched.ping(patience.answer).await {
        Ok(()) => return watched.vitals().answered(),
        Err(Silence::Mute) if watched.vitals().silent_for() < patience.silence => return,
        Err(why) => why,
    };
    if let Some(of_late) = watched.vitals().failed(met, why, patience.budget_window) {
        heal(watched, why, of_late, patience, given_up).await;
    }
}

/// Replaces it, after a pause that doubles with each replacement of late.
async fn heal(
    watched: &dyn Watched,
    why: Silence,
    of_late: usize,
    patience: &Patience,
    given_up: &CancellationToken,
) {
    if of_late >= patience.budget {
        log::error!(actor = watched.name(), restarts = of_late; "the actor keeps ending; giving up");
        watched.vitals().stopped();
        given_up.cancel();
        return;
    }
    if of_late > 0 {
        let doublings = u32::try_from(of_late).unwrap_or(u32::MAX);
        tokio::time::sleep(patience.pause.saturating_mul(2_u32.saturating_pow(doublings - 1))).await;
    }
    log::error!(actor = watched.name(), why:? = why; "the actor is replaced");
    watched.replace(why);
    watched.vitals().replaced();
    if watched.ping(patience.answer).await.is_ok() {
        watched.vitals().answered();
    }
}

impl Actor for Watchdog {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.notify(Round);
        context.run_interval(self.patience.interval, |this, _| this.visit_all());
        let (alarm, myself) = (Arc::clone(&self.alarm), context.address());
        context.spawn(
            async move {
                loop {
                    alarm.notified().await;
                    if myself.send(Round).await.is_err() {
                        break;
                    }
                }
            }
            .into_actor(self),
        );
    }
}

impl Handler<Round> for Watchdog {
    type Result = ();

    fn handle(&mut self, _: Round, _: &mut Self::Context) {
        self.visit_all();
    }
}

impl Handler<ReportAll> for Watchdog {
    type Result = Answer<Vec<Report>>;

    fn handle(&mut self, _: ReportAll, _: &mut Self::Context) -> Self::Result {
        Answer::Now(Ok(self.roster.iter().map(|watched| watched.report()).collect()))
    }
}

impl Handler<CheckHealth> for Watchdog {
    type Result = Answer<Health>;

    fn handle(&mut self, _: CheckHealth, _: &mut Self::Context) -> Self::Result {
        let (checkup, actors) = (self.checkup.clone(), checkup::of_all(&self.roster));
        Answer::later(move |reply_to| checkup.tell(actors, reply_to))
    }
}

#[cfg(test)]
mod tests;
