//! `starter admin session`.

use clap::Subcommand;
use serde_json::json;
use uuid::Uuid;

use super::desk::{Desk, time, up_to};
use crate::{
    actors::sessions::acts,
    cli::{Failure, Outcome, Table},
    db,
    domain::{Cursor, SessionId, audit::Actor, session::OwnedSession},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the sessions that are alive, newest first
    List {
        /// Only of this user: username, e-mail address or id
        user: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// End one session
    Revoke {
        /// Its id
        session: Uuid,
    },
    /// End every session of a user
    RevokeAll {
        /// Username, e-mail address or id
        user: String,
    },
}

pub(super) async fn run(command: Command, desk: &Desk) -> Outcome {
    match command {
        Command::List { user, limit } => list(desk, user.as_deref(), limit).await,
        Command::Revoke { session } => {
            let id = SessionId(session);
            let mut connection = desk.connection().await?;
            let owner = db::sessions::owner(&mut connection, id).await?;
            let owner = owner.ok_or_else(|| Failure::Failed(format!("there is no session {id}")))?;
            acts::close(&mut connection, &Actor::cli(), id, owner).await?;
            revoked(desk, 1)
        }
        Command::RevokeAll { user } => {
            let user = desk.user(&user).await?.id;
            let mut connection = desk.connection().await?;
            revoked(desk, acts::close_all(&mut connection, &Actor::cli(), user, None).await?)
        }
    }
}

fn revoked(desk: &Desk, count: usize) -> Outcome {
    desk.output.data_or_text(&json!({ "revoked": count }), |_| format!("{count} revoked"))
}

async fn list(desk: &Desk, user: Option<&str>, limit: usize) -> Outcome {
    let user = match user {
        Some(user) => Some(desk.user(user).await?.id),
        None => None,
    };
    let mut connection = desk.connection().await?;
    let key = |owned: &OwnedSession| Cursor { at: None, id: owned.session.id.0 };
    let page = async |after, limit| db::sessions::list_owned(&mut connection, user, after, limit).await;
    let sessions = up_to(limit, key, page).await?;
    desk.output.data(&sessions, |sessions| {
        let headings = ["id", "user", "created", "last seen", "expires", "address", "agent"];
        Table::new(headings).rows(sessions, |OwnedSession { session, username, .. }| {
            [
                session.id.to_string(),
                username.clone(),
                time(session.created_at),
                time(session.last_seen_at),
                time(session.expires_at),
                session.ip_address.map(|address| address.to_string()).unwrap_or_default(),
                session.user_agent.clone().unwrap_or_default(),
            ]
        })
    })
}
