//! Schedules: making their tasks, each tick's once.

use std::time::Duration;

use chrono::TimeDelta;

use super::upkeep::Upkeep;
use crate::{
    db::{
        self, Connection, Transactional as _,
        queue::{self, DueTick, Firing},
        turn::{self, Turn},
    },
    domain::{
        Error, Result,
        audit::{Act, Actor},
        cron::Recurrence,
        schedule,
    },
    tasks::Definition,
};

/// When it was another process's turn.
const AFTER_OTHERS: Duration = Duration::from_millis(100);
/// Schedules looked at in one turn.
const AT_ONCE: i64 = 100;
/// A tick that is later than this was missed: nobody was there.
const MISSED: TimeDelta = TimeDelta::seconds(60);

/// Makes the tasks of schedules for as long as the actor lives.
pub(super) async fn keep_time(upkeep: Upkeep) {
    loop {
        let longest = upkeep.0.settings.look;
        let wait = match turn(&upkeep).await {
            Ok(next) => next.map_or(longest, |next| next.min(longest)),
            Err(error) => {
                log::warn!(error:% = error; "schedules could not be looked at");
                longest
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// One look at them; tells when the next tick comes.
async fn turn(upkeep: &Upkeep) -> Result<Option<Duration>> {
    let mut connection = upkeep.0.pool.get().await?;
    let types: Vec<&str> = upkeep.0.registry.known().map(|known| known.task_type).collect();
    let turn = connection.transaction(async |connection| {
        let mine = turn::take(connection, Turn::Schedules).await?;
        if mine {
            for due in queue::due_ticks(connection, &types, AT_ONCE).await? {
                handle(upkeep, connection, &due).await?;
            }
        }
        Ok::<_, Error>(mine)
    });
    if !turn.await? {
        return Ok(Some(AFTER_OTHERS));
    }
    let next = queue::next_tick(&mut connection, &types).await?;
    // Just behind the tick, so that it is due then.
    Ok(next.map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0)) + Duration::from_millis(2)))
}

/// Handles one schedule in a transaction of its own, so that one whose task cannot be made does not stop the others.
async fn handle(upkeep: &Upkeep, connection: &mut Connection, due: &DueTick) -> Result<()> {
    let Some(known) = upkeep.0.registry.get(&due.task_type) else { return Ok(()) };
    let recurrence = Recurrence::parse(&due.cron, &due.timezone);

    if due.tick.is_none()
        && let Err(reason) = schedule::next_tick(recurrence.clone(), due.now)
    {
        return disable(connection, due, &reason).await;
    }

    let firing = firing(due, recurrence.ok().as_ref(), known);
    match connection.transaction(async |connection| fire(connection, due, firing).await).await {
        Err(error @ (Error::Internal(_) | Error::Conflict(_))) if firing.tick.is_some() => {
            log::error!(schedule_id:% = due.schedule(), error:%; "maintenance failed to make the task of a schedule");
            fire(connection, due, Firing { tick: None, ..firing }).await
        }
        done => done,
    }
}

async fn disable(connection: &mut Connection, due: &DueTick, reason: &str) -> Result<()> {
    if queue::disable(connection, due, reason).await? {
        log::error!(schedule_id:% = due.schedule(), reason; "maintenance disabled a schedule that has no next tick");
        let act = Act::done("schedule.disable", due.schedule()).with("reason", reason);
        db::audit::append(connection, &Actor::system(), act).await?;
    }
    Ok(())
}

async fn fire(connection: &mut Connection, due: &DueTick, firing: Firing) -> Result<()> {
    match queue::fire(connection, due, firing).await? {
        Some(task_id) => log::info!(schedule_id:% = due.schedule(), task_id:%; "a schedule made its task"),
        None => log::info!(schedule_id:% = due.schedule(); "a schedule moved on without a task"),
    }
    Ok(())
}

/// Each tick has its task, in the order of time; but for those that were missed there is one task or none. A schedule
/// whose expression is refused by now still has the tick that was planned, and is disabled when it is looked at next.
fn firing(due: &DueTick, recurrence: Option<&Recurrence>, known: &Definition) -> Firing {
    let (max_attempts, timeout_secs) = (known.defaults.max_attempts, known.defaults.timeout_secs);
    let next_after = |at| recurrence.and_then(|recurrence| recurrence.next_after(at));
    let firing = |next, tick| Firing { next, tick, max_attempts, timeout_secs };

    let Some(tick) = due.tick else { return firing(next_after(due.now), None) };
    let missed_before = due.now - MISSED;
    if tick >= missed_before {
        return firing(next_after(tick), Some(tick));
    }

    let last = recurrence.and_then(|recurrence| recurrence.last_before(missed_before));
    let last = last.map_or(tick, |last| last.max(tick));
    firing(next_after(missed_before), due.make_up.then_some(last))
}
