//! `starter admin audit`.

use clap::Subcommand;
use uuid::Uuid;

use super::desk::{Desk, time, up_to};
use crate::{
    cli::{Outcome, Table},
    db,
    domain::{
        Cursor,
        audit::{Entry, Filter},
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List entries, newest first
    List {
        /// Only of this user: username, e-mail address or id
        #[arg(long, value_name = "USER")]
        actor: Option<String>,
        /// Only of this action, such as user.update; user. means all that begin so
        #[arg(long)]
        action: Option<String>,
        /// Only on the user, session or key of this id
        #[arg(long, value_name = "ID")]
        target: Option<Uuid>,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
}

pub(super) async fn run(command: Command, desk: &Desk) -> Outcome {
    let Command::List { actor, action, target, limit } = command;
    let actor = match actor {
        Some(actor) => Some(desk.user(&actor).await?.id),
        None => None,
    };
    let filter = Filter { actor, action, target };
    let mut connection = desk.connection().await?;
    let key = |entry: &Entry| Cursor { at: Some(entry.at), id: entry.id };
    let page = async |after, limit| db::audit::page(&mut connection, &filter, after, limit).await;
    let entries = up_to(limit, key, page).await?;
    desk.output.data(&entries, |entries| {
        let headings = ["time", "actor", "action", "target", "outcome", "address", "detail"];
        Table::new(headings).rows(entries, |entry| {
            let id = |id: Option<String>| id.map(|id| format!(" {id}")).unwrap_or_default();
            [
                time(entry.at),
                format!("{}{}", entry.actor_kind, id(entry.actor_id.map(|id| id.to_string()))),
                entry.action.clone(),
                format!(
                    "{}{}",
                    entry.target_kind.clone().unwrap_or_default(),
                    id(entry.target_id.map(|id| id.to_string()))
                ),
                entry.outcome.clone(),
                entry.ip_address.map(|address| address.to_string()).unwrap_or_default(),
                entry.detail.to_string(),
            ]
        })
    })
}
