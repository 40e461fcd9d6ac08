//! `starter admin task`.

mod change;
mod enqueue;
mod show;

use clap::Subcommand;

use super::desk::{Desk, or_dash, time};
use crate::{
    cli::{Outcome, Table},
    domain::task::Task,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Enqueue a task for the system
    Enqueue(enqueue::Wanted),
    /// List tasks, newest first
    List(show::Filter),
    /// Show a task and its attempts
    Show(show::Which),
    /// Count tasks, and measure the last hour
    Stats,
    /// List the types of task that this program knows
    Types,
    /// Call tasks off; running ones are told to stop
    Cancel(change::Unwanted),
    /// Give tasks that failed or were cancelled all their attempts again
    Retry(change::Again),
    /// Delete tasks that finished long ago
    Prune(change::Old),
}

pub(super) async fn run(command: Command, desk: &Desk) -> Outcome {
    match command {
        Command::Enqueue(wanted) => enqueue::run(wanted, desk).await,
        Command::List(filter) => show::list(filter, desk).await,
        Command::Show(which) => show::one(which, desk).await,
        Command::Stats => show::stats(desk).await,
        Command::Types => show::types(desk),
        Command::Cancel(which) => change::cancel(which, desk).await,
        Command::Retry(which) => change::retry(which, desk).await,
        Command::Prune(old) => change::prune(old, desk).await,
    }
}

/// Tasks, a line each.
fn table(tasks: &[Task]) -> Table {
    let head = ["id", "type", "queue", "status", "attempt", "run at", "finished", "last error"];
    Table::new(head).rows(tasks, |task| {
        [
            task.id.to_string(),
            task.task_type.clone(),
            task.queue.clone(),
            task.status.to_string(),
            format!("{}/{}", task.attempt, task.max_attempts),
            time(task.run_at),
            or_dash(task.finished_at.map(time)),
            or_dash(task.last_error.as_deref().map(|text| text.chars().take(60).collect::<String>())),
        ]
    })
}
