//! `starter admin task cancel|retry|prune`.

use chrono::TimeDelta;
use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use super::{show::parse_status, table};
use crate::{
    actors::dispatcher::acts,
    cli::{
        Failure, Outcome,
        admin::{desk::Desk, prompt::confirm},
    },
    db::{
        self,
        tasks::{Failed, Owned, Prune},
    },
    domain::{Reach, TaskId, UserId, audit::Actor, task::Status},
};

/// Rows that one statement changes: few enough that nobody waits long for their locks.
const STEP: i64 = 1_000;
const AT_ONCE: usize = 1_000;

#[derive(Debug, Args)]
pub(in crate::cli::admin) struct Unwanted {
    /// The tasks' ids
    #[arg(required_unless_present = "user")]
    ids: Vec<Uuid>,
    /// All unfinished tasks of this user: username, e-mail address or id, also of a user who was deleted
    #[arg(long, value_name = "USER", conflicts_with = "ids")]
    user: Option<String>,
}

#[derive(Debug, Serialize)]
struct Cancelled {
    cancelled: usize,
}

pub(super) async fn cancel(wanted: Unwanted, desk: &Desk) -> Outcome {
    if let Some(user) = wanted.user {
        let cancelled = cancel_all_of(&user, desk).await?;
        return desk
            .output
            .data_or_text(&Cancelled { cancelled }, |_| format!("{cancelled} tasks are cancelled"));
    }
    let (mut connection, mut tasks) = (desk.connection().await?, Vec::new());
    for id in wanted.ids {
        tasks.push(acts::cancel_task(&mut connection, &Actor::cli(), TaskId(id), Reach::All).await?);
    }
    desk.output.data(&tasks, |tasks| table(tasks))
}

/// Returns how many there were. Running ones are asked to stop.
async fn cancel_all_of(user: &str, desk: &Desk) -> Outcome<usize> {
    // Tasks outlive their owner for a moment, so an id need not be a user's.
    let owner = match Uuid::try_parse(user) {
        Ok(id) => UserId(id),
        Err(_) => desk.user(user).await?.id,
    };
    let mut connection = desk.connection().await?;
    let now = db::now(&mut connection).await?;
    let owned = Owned { owner, before: now, of_schedules_until: now };

    let mut cancelled = 0;
    loop {
        match acts::cancel_tasks_of(&mut connection, &Actor::cli(), owned, AT_ONCE).await? {
            0 => return Ok(cancelled),
            some => cancelled += some,
        }
    }
}

#[derive(Debug, Args)]
pub(in crate::cli::admin) struct Again {
    /// The tasks' ids
    #[arg(required_unless_present = "failed")]
    ids: Vec<Uuid>,
    /// All that failed, the dead letters
    #[arg(long, conflicts_with = "ids")]
    failed: bool,
    /// Of these, only those of this type
    #[arg(long = "type", value_name = "TYPE", requires = "failed")]
    task_type: Option<String>,
    /// Of these, only those in this queue
    #[arg(long, requires = "failed")]
    queue: Option<String>,
}

#[derive(Debug, Serialize)]
struct Retried {
    retried: usize,
}

pub(super) async fn retry(wanted: Again, desk: &Desk) -> Outcome {
    let Again { ids, failed, task_type, queue } = wanted;
    let mut connection = desk.connection().await?;
    if !failed {
        let mut tasks = Vec::new();
        for id in ids {
            tasks.push(acts::retry_task(&mut connection, &Actor::cli(), TaskId(id), Reach::All).await?);
        }
        return desk.output.data(&tasks, |tasks| table(tasks));
    }
    let which = Failed { before: db::now(&mut connection).await?, task_type, queue };
    let mut retried = 0;
    loop {
        match acts::retry_failed(&mut connection, &Actor::cli(), &which, STEP).await? {
            0 => break,
            some => retried += some,
        }
    }
    desk.output.data_or_text(&Retried { retried }, |_| format!("{retried} tasks are pending again"))
}

#[derive(Debug, Args)]
pub(in crate::cli::admin) struct Old {
    /// Finished longer ago than this
    #[arg(long, value_name = "HOURS", default_value_t = 168)]
    older_than_hours: u32,
    /// Only in this status: succeeded, failed or cancelled
    #[arg(long)]
    status: Vec<String>,
    /// Only of this type
    #[arg(long = "type", value_name = "TYPE")]
    task_type: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Serialize)]
struct Pruned {
    deleted: usize,
}

pub(super) async fn prune(wanted: Old, desk: &Desk) -> Outcome {
    let Old { older_than_hours, status, task_type, yes } = wanted;
    let mut statuses = status.iter().map(|name| parse_status(name)).collect::<Outcome<Vec<Status>>>()?;
    if statuses.iter().any(|status| !status.is_finished()) {
        return Err(Failure::Usage("only succeeded, failed and cancelled tasks can be deleted".to_owned()));
    }
    if statuses.is_empty() {
        statuses = Status::ALL.into_iter().filter(|status| status.is_finished()).collect();
    }
    confirm(&format!("Tasks that finished more than {older_than_hours} hours ago will be deleted."), yes)
        .await?;
    let (mut connection, mut deleted, mut after) = (desk.connection().await?, 0, None);
    let before = db::now(&mut connection).await? - TimeDelta::hours(older_than_hours.into());
    let which = Prune { statuses, before, task_type };
    loop {
        let gone = acts::prune_tasks(&mut connection, &Actor::cli(), &which, after, STEP).await?;
        deleted += gone.len();
        after = gone.into_iter().max();
        if after.is_none() {
            break;
        }
    }
    desk.output.data_or_text(&Pruned { deleted }, |_| format!("{deleted} tasks are deleted"))
}
