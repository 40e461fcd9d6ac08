//! Lists of sessions: for those who have them, and for operators.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use diesel::{
    OptionalExtension as _,
    sql_types::{BigInt, Inet, Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use ipnet::IpNet;
use uuid::Uuid;

use super::{
    sessions::valid,
    statement::{Fixed, Statement},
};
use crate::domain::{Cursor, Limit, Result, Session, SessionId, UserId, session::OwnedSession};

/// The columns that make a [`Session`], of `s`.
macro_rules! session_columns {
    () => {
        "s.id, s.created_at, s.last_seen_at, s.idle_expires_at, s.expires_at, s.ip_address, s.user_agent"
    };
}
type SessionTypes =
    (SqlUuid, Timestamptz, Timestamptz, Timestamptz, Timestamptz, Nullable<Inet>, Nullable<Text>);
type Time = DateTime<Utc>;
type SessionRow = (Uuid, Time, Time, Time, Time, Option<IpNet>, Option<String>);

fn session(row: SessionRow) -> Session {
    let (id, created_at, last_seen_at, idle_expires_at, expires_at, ip_address, user_agent) = row;
    Session {
        id: SessionId(id),
        created_at,
        last_seen_at,
        idle_expires_at,
        expires_at,
        ip_address: ip_address.map(|net| -> IpAddr { net.addr() }),
        user_agent,
    }
}

struct List;

impl Fixed for List {
    const SQL: &'static str = concat!(
        "select ",
        session_columns!(),
        " from sessions s join users u on u.id = s.user_id \
         where s.user_id = $1 and ($2::uuid is null or s.id < $2) and ",
        valid!(),
        " order by s.id desc limit $3",
    );
    type Args = (SqlUuid, Nullable<SqlUuid>, BigInt);
    type Row = SessionTypes;
}

/// The valid sessions of a user, newest first, from behind `cursor` on; one more than the page takes.
///
/// # Errors
/// [`crate::domain::Error::Unavailable`].
pub async fn list(
    conn: &mut AsyncPgConnection,
    user: UserId,
    cursor: Option<Cursor>,
    limit: Limit,
) -> Result<Vec<Session>> {
    let values = (user.0, cursor.map(|cursor| cursor.id), limit.fetch());
    let rows: Vec<SessionRow> = Statement::<List, _>::with(values).load(conn).await?;
    Ok(rows.into_iter().map(session).collect())
}

struct ListOwned;

impl Fixed for ListOwned {
    const SQL: &'static str = concat!(
        "select u.id, u.username, ",
        session_columns!(),
        " from sessions s join users u on u.id = s.user_id \
         where ($1::uuid is null or s.user_id = $1) and ($2::uuid is null or s.id < $2) and ",
        valid!(),
        " order by s.id desc limit $3",
    );
    type Args = (Nullable<SqlUuid>, Nullable<SqlUuid>, BigInt);
    type Row = (SqlUuid, Text, SessionTypes);
}

/// The valid sessions of one user or of all, with their owners, as [`list`].
///
/// # Errors
/// [`crate::domain::Error::Unavailable`].
pub async fn list_owned(
    conn: &mut AsyncPgConnection,
    user: Option<UserId>,
    cursor: Option<Cursor>,
    limit: Limit,
) -> Result<Vec<OwnedSession>> {
    let values = (user.map(|user| user.0), cursor.map(|cursor| cursor.id), limit.fetch());
    let rows: Vec<(Uuid, String, SessionRow)> = Statement::<ListOwned, _>::with(values).load(conn).await?;
    let owned =
        |(user, username, row)| OwnedSession { session: session(row), user_id: UserId(user), username };
    Ok(rows.into_iter().map(owned).collect())
}

struct Owner;

impl Fixed for Owner {
    const SQL: &'static str = "select user_id from sessions where id = $1";
    type Args = (SqlUuid,);
    type Row = SqlUuid;
}

/// Whose session it is, alive or not.
///
/// # Errors
/// [`crate::domain::Error::Unavailable`].
pub async fn owner(conn: &mut AsyncPgConnection, id: SessionId) -> Result<Option<UserId>> {
    let user: Option<Uuid> = Statement::<Owner, _>::with((id.0,)).get_result(conn).await.optional()?;
    Ok(user.map(UserId))
}
