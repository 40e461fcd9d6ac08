//! Ending sessions, each with its entry in the audit log. The command-line tool calls the same functions.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::{
    db::{self, Connection, Transactional as _},
    domain::{
        Error, Result, SessionId, User, UserId,
        audit::{Act, Actor},
        token::TokenHash,
    },
};

/// Ends one session of a user.
///
/// # Errors
/// [`Error::NotFound`] if he has no such session.
pub async fn close(conn: &mut Connection, actor: &Actor, id: SessionId, user: UserId) -> Result<()> {
    conn.transaction(async |conn| {
        if !db::sessions::close(conn, id, user).await? {
            return Err(Error::NotFound);
        }
        let act = Act::done("session.close", id).with("user_id", user.to_string());
        db::audit::append(conn, actor, act).await
    })
    .await
}

/// Ends every session of a user, but `except`; tells how many had been alive.
///
/// # Errors
/// [`Error::NotFound`] without such a user.
pub async fn close_all(
    conn: &mut Connection,
    actor: &Actor,
    user: UserId,
    except: Option<SessionId>,
) -> Result<usize> {
    conn.transaction(async |conn| {
        let closed = db::sessions::close_all(conn, user, except).await?;
        let act = Act::done("session.close_all", user).with("closed", closed);
        db::audit::append(conn, actor, act).await?;
        Ok(closed)
    })
    .await
}

/// Gives a session a new token in place of the old one; `None` if that is not its token any more.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn refresh(
    conn: &mut Connection,
    actor: &Actor,
    id: SessionId,
    change: (TokenHash, TokenHash),
    idle: Duration,
) -> Result<Option<(DateTime<Utc>, User)>> {
    conn.transaction(async |conn| {
        let renewed = db::sessions::refresh(conn, id, change, idle).await?;
        if renewed.is_some() {
            db::audit::append(conn, actor, Act::done("session.refresh", id)).await?;
        }
        Ok(renewed)
    })
    .await
}
