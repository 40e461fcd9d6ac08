//! `starter admin`: what operators do, on the database directly, so that it serves when HTTP does not. Running servers
//! see what it changes within 250 ms.

mod api_key;
mod audit;
mod desk;
mod prompt;
mod queue;
mod schedule;
mod session;
mod task;
mod user;

use clap::{Args, Subcommand};

use super::{CommonFlags, Flags, Outcome, Output};

/// What operators do.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    flags: CommonFlags,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make, see, change and delete users
    #[command(subcommand)]
    User(user::Command),
    /// Sessions: who is logged in
    #[command(subcommand)]
    Session(session::Command),
    /// API keys
    #[command(subcommand)]
    ApiKey(api_key::Command),
    /// Tasks: enqueue, see, cancel, retry, prune
    #[command(subcommand)]
    Task(task::Command),
    /// Queues: see, pause, resume
    #[command(subcommand)]
    Queue(queue::Command),
    /// Schedules: see, enable, disable
    #[command(subcommand)]
    Schedule(schedule::Command),
    /// The audit log: who did what to whom
    #[command(subcommand)]
    Audit(audit::Command),
}

pub(super) fn run(arguments: Arguments, output: &Output) -> Outcome {
    let config = Flags::from(arguments.flags).load_quiet()?;
    desk::run(config, *output, async |desk| match arguments.command {
        Command::User(command) => user::run(command, desk).await,
        Command::Session(command) => session::run(command, desk).await,
        Command::ApiKey(command) => api_key::run(command, desk).await,
        Command::Task(command) => task::run(command, desk).await,
        Command::Queue(command) => queue::run(command, desk).await,
        Command::Schedule(command) => schedule::run(command, desk).await,
        Command::Audit(command) => audit::run(command, desk).await,
    })
}
