//! `starter migrate`: the same migrations that the diesel CLI runs, from the binary.

use clap::Subcommand;
use serde::Serialize;

use super::{
    CommonFlags, Failure, Flags, Outcome, Output, Table,
    database::{self, Absent},
};
use crate::{
    db::{Target, migrate},
    domain, telemetry,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the migrations that the database lacks
    Run(CommonFlags),
    /// Take back the last migration
    Revert(CommonFlags),
    /// Take back the last migration and run it again
    Redo(CommonFlags),
    /// List the migrations and whether the database has them
    Status(CommonFlags),
}

#[derive(Serialize)]
struct Row {
    migration: String,
    state: &'static str,
}

pub(super) fn run(command: Command, output: &Output) -> Outcome {
    let (Command::Run(flags) | Command::Revert(flags) | Command::Redo(flags) | Command::Status(flags)) =
        &command;
    let config = Flags::from(flags.clone()).load_quiet()?;
    telemetry::init(&config.telemetry).map_err(|error| Failure::Failed(error.to_string()))?;
    let absent = if matches!(command, Command::Run(_)) { Absent::Make } else { Absent::Refuse };
    let rows = database::with(&config.database, absent, async |database| {
        Ok(rows(&command, &database.direct).await?)
    })?;
    output.data(&rows, |rows| {
        Table::new(["migration", "state"]).rows(rows, |row| [row.migration.clone(), row.state.to_owned()])
    })
}

async fn rows(command: &Command, target: &Target) -> domain::Result<Vec<Row>> {
    let row = |state| move |migration| Row { migration, state };
    Ok(match command {
        Command::Run(_) => migrate::run(target).await?.into_iter().map(row("run")).collect(),
        Command::Revert(_) => migrate::revert(target).await?.into_iter().map(row("taken back")).collect(),
        Command::Redo(_) => migrate::redo(target).await?.into_iter().map(row("run again")).collect(),
        Command::Status(_) => migrate::status(target)
            .await?
            .into_iter()
            .map(|status| row(if status.applied { "applied" } else { "pending" })(status.name))
            .collect(),
    })
}
