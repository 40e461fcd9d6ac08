//! How sessions begin: many log-ins in one statement.

use std::{net::IpAddr, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use diesel::sql_types::{
    Array, BigInt, Binary, Double, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid,
};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};
use uuid::Uuid;

use super::{
    audit,
    statement::{Fixed, Statement},
    user_row::{self, UserRow, UserTypes, user_columns},
};
use crate::domain::{
    Error, Origin, Result, SessionId, User, UserId,
    audit::{Act, Actor, ActorKind},
    password::PasswordHash,
    session,
    token::TokenHash,
};

/// A session to be, for somebody whose password was right.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The new session's.
    pub id: SessionId,
    /// Of its token.
    pub hash: TokenHash,
    /// Whose it is.
    pub user: UserId,
    /// His `auth_version` when his password hash was read.
    pub auth_version: i64,
    /// The hash that his password was checked against.
    pub verified: PasswordHash,
    /// Where he logged in from.
    pub ip_address: Option<IpAddr>,
    /// What he logged in with.
    pub user_agent: Option<Arc<str>>,
    /// Of the log-in.
    pub request_id: Option<Arc<str>>,
}

/// A session that has begun.
#[derive(Debug, Clone)]
pub struct Opened {
    /// When it ends in any case.
    pub expires_at: DateTime<Utc>,
    /// With this log-in as his last.
    pub user: User,
}

/// How long sessions live.
#[derive(Debug, Clone, Copy)]
pub struct Lifetime {
    /// Unused.
    pub idle: Duration,
    /// In any case.
    pub absolute: Duration,
}

struct Lock;

impl Fixed for Lock {
    const SQL: &'static str = "select id from users where id = any($1) order by id for no key update";
    type Args = (Array<SqlUuid>,);
    type Row = (SqlUuid,);
}

struct Open;

impl Fixed for Open {
    const SQL: &'static str = concat!(
        "with asked as ( \
             select * from unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::int8[], $5::text[], $6::text[], $7::text[]) \
                 as a (id, user_id, token_hash, auth_version, password_hash, ip_address, user_agent) \
         ), granted as ( \
             select a.* from asked a join users u on u.id = a.user_id \
             where u.is_active and u.auth_version = a.auth_version and u.password_hash = a.password_hash \
         ), opened as ( \
             insert into sessions \
                 (id, user_id, token_hash, auth_version, ip_address, user_agent, idle_expires_at, expires_at) \
             select id, user_id, token_hash, auth_version, ip_address::inet, user_agent, \
                 now() + make_interval(secs => $8), now() + make_interval(secs => $9) \
             from granted returning id, user_id, expires_at \
         ), u as ( \
             update users set last_login_at = now() where id in (select user_id from granted) returning * \
         ) \
         select o.id, o.expires_at, ",
        user_columns!(),
        " from opened o join u on u.id = o.user_id",
    );
    type Args = (
        Array<SqlUuid>,
        Array<SqlUuid>,
        Array<Binary>,
        Array<BigInt>,
        Array<Text>,
        Array<Nullable<Text>>,
        Array<Nullable<Text>>,
        Double,
        Double,
    );
    type Row = (SqlUuid, Timestamptz, UserTypes);
}

struct EndSurplus;

impl Fixed for EndSurplus {
    const SQL: &'static str = "delete from sessions where id in (select id from ( \
             select id, row_number() over (partition by user_id order by created_at desc, id desc) as place \
             from sessions where user_id = any($1)) ranked where place > $2) \
         returning id";
    type Args = (Array<SqlUuid>, Integer);
    type Row = (SqlUuid,);
}

/// Begins these sessions, as far as their users are still active and have still the password and `auth_version` that
/// were checked, and ends the oldest of users who have too many. Returns those begun, and the ids of those ended.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn open(
    conn: &mut AsyncPgConnection,
    openings: &[Opening],
    lifetime: Lifetime,
) -> Result<(Vec<(SessionId, Opened)>, Vec<SessionId>)> {
    let mut users: Vec<Uuid> = openings.iter().map(|opening| opening.user.0).collect();
    users.sort_unstable();
    users.dedup();
    conn.transaction(async |conn| {
        // First the locks, in order, then the look: whoever changes or counts one of these users goes before or after.
        let _: Vec<(Uuid,)> = Statement::<Lock, _>::with((&users,)).load(conn).await?;
        let opened = insert(conn, openings, lifetime).await?;
        let begun = openings.iter().filter(|opening| opened.iter().any(|(id, _)| *id == opening.id));
        audit::append_all(conn, begun.map(told)).await?;
        let values = (&users, i32::from(session::MAX_PER_USER));
        let ended: Vec<(Uuid,)> = Statement::<EndSurplus, _>::with(values).load(conn).await?;
        Ok::<_, Error>((opened, ended.into_iter().map(|(id,)| SessionId(id)).collect()))
    })
    .await
}

/// For the audit log.
fn told(opening: &Opening) -> (Actor, Act) {
    let origin =
        Origin { ip_address: opening.ip_address, user_agent: None, request_id: opening.request_id.clone() };
    let actor =
        Actor { kind: ActorKind::Session, user: Some(opening.user), credential: Some(opening.id.0), origin };
    (actor, Act::done("session.open", opening.user))
}

async fn insert(
    conn: &mut AsyncPgConnection,
    openings: &[Opening],
    lifetime: Lifetime,
) -> Result<Vec<(SessionId, Opened)>> {
    let values = (
        openings.iter().map(|o| o.id.0).collect::<Vec<_>>(),
        openings.iter().map(|o| o.user.0).collect::<Vec<_>>(),
        openings.iter().map(|o| o.hash.as_bytes()).collect::<Vec<_>>(),
        openings.iter().map(|o| o.auth_version).collect::<Vec<_>>(),
        openings.iter().map(|o| o.verified.expose()).collect::<Vec<_>>(),
        openings.iter().map(|o| o.ip_address.map(|ip| ip.to_string())).collect::<Vec<_>>(),
        openings.iter().map(|o| o.user_agent.as_deref()).collect::<Vec<_>>(),
        lifetime.idle.as_secs_f64(),
        lifetime.absolute.as_secs_f64(),
    );
    let rows: Vec<(Uuid, DateTime<Utc>, UserRow)> = Statement::<Open, _>::with(values).load(conn).await?;
    rows.into_iter()
        .map(|(id, expires_at, user)| Ok((SessionId(id), Opened { expires_at, user: user_row::user(user)? })))
        .collect()
}
