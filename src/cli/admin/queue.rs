//! `starter admin queue`.

use clap::{Args, Subcommand};

use super::desk::{Desk, or_dash, time};
use crate::{
    actors::dispatcher::acts,
    cli::{Outcome, Table},
    db::{self, Connection},
    domain::{
        Error, Result,
        audit::Actor,
        queue::{Queue, QueueName},
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the queues and what waits in them
    List,
    /// Let workers leave a queue alone; what runs goes on
    Pause(Name),
    /// Let workers take from a queue again
    Resume(Name),
}

#[derive(Debug, Args)]
pub(super) struct Name {
    /// The queue
    name: String,
}

pub(super) async fn run(command: Command, desk: &Desk) -> Outcome {
    let mut connection = desk.connection().await?;
    let queues = match command {
        Command::List => db::queues::list(&mut connection).await?,
        Command::Pause(Name { name }) => {
            let name = parse(&name)?;
            acts::pause_queue(&mut connection, &Actor::cli(), &name).await?;
            show(&mut connection, &name).await?
        }
        Command::Resume(Name { name }) => {
            let name = parse(&name)?;
            acts::resume_queue(&mut connection, &Actor::cli(), &name).await?;
            show(&mut connection, &name).await?
        }
    };
    desk.output.data(&queues, |queues| {
        let head = ["queue", "pending", "scheduled", "running", "retrying", "oldest due", "paused since"];
        Table::new(head).rows(queues, |queue| {
            let Queue { name, counts, oldest_due_secs, paused_at, .. } = queue;
            [
                name.clone(),
                counts.pending.to_string(),
                counts.scheduled.to_string(),
                counts.running.to_string(),
                counts.retrying.to_string(),
                or_dash(oldest_due_secs.map(|secs| format!("{secs:.1} s"))),
                or_dash(paused_at.map(time)),
            ]
        })
    })
}

fn parse(name: &str) -> Result<QueueName> {
    QueueName::stored(name).map_err(|violation| Error::Invalid(vec![violation]))
}

async fn show(connection: &mut Connection, name: &QueueName) -> Result<Vec<Queue>> {
    let all = db::queues::list(connection).await?;
    Ok(all.into_iter().filter(|queue| queue.name == name.as_str()).collect())
}
