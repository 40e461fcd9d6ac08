//! Schedules: making their tasks, each tick's once.

use std::time::Duration;

use chrono::TimeDelta;

use super::upkeep::Upkeep;
use crate::{
    db::{
        Connection, Transactional as _,
        queue::{self, DueTick, Firing},
        turn::{self, Turn},
    },
    domain::{Error, Result, cron::Recurrence},
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
                fire(upkeep, connection, &due).await?;
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

async fn fire(upkeep: &Upkeep, connection: &mut Connection, due: &DueTick) -> Result<()> {
    let Some(known) = upkeep.0.registry.get(&due.task_type) else { return Ok(()) };
    let firing = match Recurrence::parse(&due.cron, &due.timezone, due.now) {
        Ok(recurrence) => firing(due, &recurrence, known),
        Err(_) => {
            log::error!(schedule_id:% = due.schedule(); "a schedule does not recur any more");
            Firing { next: None, tick: due.tick, ..limits(known) }
        }
    };
    match queue::fire(connection, due, firing).await? {
        Some(task_id) => log::info!(schedule_id:% = due.schedule(), task_id:%; "a schedule made its task"),
        None => log::info!(schedule_id:% = due.schedule(); "a schedule moved on without a task"),
    }
    Ok(())
}

fn limits(known: &Definition) -> Firing {
    let (max_attempts, timeout_secs) = (known.defaults.max_attempts, known.defaults.timeout_secs);
    Firing { next: None, tick: None, max_attempts, timeout_secs }
}

/// Each tick has its task, in the order of time; but for those that were missed there is one task or none.
fn firing(due: &DueTick, recurrence: &Recurrence, known: &Definition) -> Firing {
    let limits = limits(known);
    let Some(tick) = due.tick else { return Firing { next: recurrence.next_after(due.now), ..limits } };
    let missed_before = due.now - MISSED;
    if tick >= missed_before {
        return Firing { next: recurrence.next_after(tick), tick: Some(tick), ..limits };
    }
    let last = recurrence.last_before(missed_before).map_or(tick, |last| last.max(tick));
    Firing { next: recurrence.next_after(missed_before), tick: due.make_up.then_some(last), ..limits }
}
