//! `starter admin schedule`.

use clap::{Args, Subcommand};

use super::desk::{Desk, or_dash, time};
use crate::{
    actors::dispatcher::acts,
    cli::{Outcome, Table},
    db::{self, Connection},
    domain::{Result, ScheduleId, audit::Actor, schedule::Schedule, schedule_request::ScheduleRequest},
};

/// Schedules are few; more than that are not listed.
const MOST: i64 = 10_000;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the schedules and when they come next
    List,
    /// Let a schedule make tasks, from its next tick on
    Enable(Which),
    /// Let a schedule make no more tasks
    Disable(Which),
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// Its name or its id
    schedule: String,
}

pub(super) async fn run(command: Command, desk: &Desk) -> Outcome {
    let mut connection = desk.connection().await?;
    let schedules = match command {
        Command::List => db::schedules::page(&mut connection, None, MOST).await?,
        Command::Enable(Which { schedule }) => set(&mut connection, &schedule, true).await?,
        Command::Disable(Which { schedule }) => set(&mut connection, &schedule, false).await?,
    };
    desk.output.data(&schedules, |schedules| {
        let head = ["id", "name", "cron", "timezone", "type", "enabled", "next", "last", "disabled because"];
        Table::new(head).rows(schedules, |schedule| {
            [
                schedule.id.to_string(),
                schedule.name.clone(),
                schedule.cron.clone(),
                schedule.timezone.clone(),
                schedule.task_type.clone(),
                schedule.enabled.to_string(),
                or_dash(schedule.next_run_at.map(time)),
                or_dash(schedule.last_run_at.map(time)),
                or_dash(schedule.disabled_reason.clone()),
            ]
        })
    })
}

async fn set(connection: &mut Connection, which: &str, enabled: bool) -> Result<Vec<Schedule>> {
    let id = match uuid::Uuid::try_parse(which) {
        Ok(id) => ScheduleId(id),
        Err(_) => db::schedules::find_by_name(connection, which).await?,
    };
    let request = ScheduleRequest { enabled: Some(enabled), ..ScheduleRequest::default() };
    // Its payload was checked when it was made.
    Ok(vec![acts::update_schedule(connection, &Actor::cli(), id, request, &|_, _| Ok(())).await?])
}
