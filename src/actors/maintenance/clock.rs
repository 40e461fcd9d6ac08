//! Noticing that the clock of the database was ahead and is put right, and what must not wait until it is there again.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::upkeep::Upkeep;
use crate::{
    db::{
        Connection,
        queue::{self, Planned},
        writes,
    },
    domain::{Result, cron::Recurrence},
};

/// A clock that was set back by less is left to come there again.
const BACK: f64 = 1.0;
/// Tasks that one statement brings back.
const TASKS_AT_ONCE: usize = 5_000;
/// Schedules that are looked at together.
const SCHEDULES_AT_ONCE: i64 = 100;
/// Ticks of the last moment before the clock was set back are not made again.
const MADE: TimeDelta = TimeDelta::seconds(60);

/// Watches the clock for as long as the actor lives.
pub(super) async fn watch(upkeep: Upkeep) {
    loop {
        if let Err(error) = look(&upkeep).await {
            log::warn!(error:% = error; "maintenance failed to watch the clock of the database");
        }
        tokio::time::sleep(upkeep.0.settings.look.mul_f64(0.75 + rand::random::<f64>() / 2.0)).await;
    }
}

async fn look(upkeep: &Upkeep) -> Result<()> {
    let mut connection = upkeep.0.pool.get().await?;
    match writes::age(&mut connection).await? {
        Some(age) if age < -BACK => {
            set_right(&mut connection, Duration::try_from_secs_f64(-age).unwrap_or_default()).await?;
            // Only now: whoever is cut off before it begins again.
            writes::write(&mut connection).await
        }
        _ => writes::prove(&mut connection).await,
    }
}

/// What was planned while the clock was ahead is planned anew. More than one process may do it.
async fn set_right(connection: &mut Connection, ahead: Duration) -> Result<()> {
    let mut tasks = 0;
    loop {
        let some = queue::bring_back(connection, TASKS_AT_ONCE).await?;
        tasks += some;
        if some < TASKS_AT_ONCE {
            break;
        }
    }
    let schedules = replan_all(connection).await?;
    log::warn!(
        ahead_secs = ahead.as_secs(), tasks, schedules;
        "maintenance noticed that the clock of the database was set back"
    );
    Ok(())
}

async fn replan_all(connection: &mut Connection) -> Result<usize> {
    let (mut moved, mut after) = (0, Uuid::nil());
    loop {
        let planned = queue::planned(connection, after, SCHEDULES_AT_ONCE).await?;
        let Some(last) = planned.last() else { return Ok(moved) };
        after = last.id;
        for planned in &planned {
            if let Some(next) = sooner(planned) {
                moved += usize::from(queue::replan(connection, planned, next).await?);
            }
        }
    }
}

/// The tick that comes before the one that is planned.
fn sooner(planned: &Planned) -> Option<DateTime<Utc>> {
    let recurrence = Recurrence::parse(&planned.cron, &planned.timezone).ok()?;
    let made = planned.last.filter(|last| *last > planned.now && *last <= planned.now + MADE);
    recurrence.next_after(made.unwrap_or(planned.now)).filter(|next| *next < planned.next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> DateTime<Utc> {
        format!("2026-11-27T{time}Z").parse().unwrap()
    }

    fn planned(cron: &str, now: &str, next: &str, last: Option<&str>) -> Planned {
        Planned {
            id: Uuid::nil(),
            cron: cron.into(),
            timezone: "UTC".into(),
            next: at(next),
            last: last.map(at),
            now: at(now),
        }
    }

    #[test]
    fn a_tick_that_was_planned_by_a_clock_that_was_ahead_comes_sooner() {
        let next = |cron, now, next, last| sooner(&planned(cron, now, next, last));
        let ahead = next("* * * * *", "12:00:10", "13:01:00", Some("13:00:00"));
        assert_eq!(ahead, Some(at("12:01:00")));
        assert_eq!(next("0 * * * *", "12:20:00", "14:00:00", None), Some(at("13:00:00")));
        // All is as it should be.
        assert_eq!(next("* * * * *", "12:00:10", "12:01:00", Some("12:00:00")), None);
        assert_eq!(next("0 0 1 1 *", "12:00:10", "13:00:00", None), None);
    }

    #[test]
    fn a_clock_that_was_set_back_by_a_moment_makes_no_tick_again() {
        let next = |now, next| sooner(&planned("* * * * *", now, next, Some("12:00:00")));
        assert_eq!(next("11:59:58", "12:01:00"), None);
        assert_eq!(next("11:59:58", "13:01:00"), Some(at("12:01:00")));
    }
}
