//! Sessions: look-up, activity, list, end. How they begin is in `sessions_open.rs`.
//!
//! A session is good for something as long as [`VALID`] says so, by the database's clock. Every statement that
//! asks uses these very words.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::{
    OptionalExtension as _,
    sql_types::{Array, BigInt, Binary, Bool, Double, Nullable, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};
use uuid::Uuid;

pub use super::sessions_list::{list, list_owned, owner};
pub use super::sessions_open::{Lifetime, Opened, Opening, open};
use super::{
    found::{self, Found},
    statement::{Fixed, Statement},
    user_row::{self, UserRow, UserTypes, user_columns},
};
use crate::domain::{Caller, Credential, Result, SessionId, User, UserId, token::TokenHash};

/// For `s` and its user `u`: neither at its end nor unused for too long, of an active user, and made under his
/// present `auth_version`.
macro_rules! valid {
    () => {
        "s.expires_at > now() and s.idle_expires_at > now() and u.is_active and s.auth_version = u.auth_version"
    };
}
pub(super) use valid;

struct FindValid;

impl Fixed for FindValid {
    const SQL: &'static str = concat!(
        "select s.token_hash, s.id, s.expires_at, \
         extract(epoch from least(s.idle_expires_at, s.expires_at) - now())::float8, \
         extract(epoch from now() - s.last_seen_at)::float8, ",
        user_columns!(),
        " from sessions s join users u on u.id = s.user_id where s.token_hash = any($1) and ",
        valid!(),
    );
    type Args = (Array<Binary>,);
    type Row = (Binary, SqlUuid, Timestamptz, Double, Double, UserTypes);
}

/// The valid ones among the sessions with these hashes, each with its user as he is now.
///
/// # Errors
/// [`crate::domain::Error::Unavailable`].
pub async fn find_valid(conn: &mut AsyncPgConnection, hashes: &[TokenHash]) -> Result<Vec<Found>> {
    type Row = (Vec<u8>, Uuid, DateTime<Utc>, f64, f64, UserRow);
    let hashes: Vec<&[u8]> = hashes.iter().map(TokenHash::as_bytes).collect();
    let rows: Vec<Row> = Statement::<FindValid, _>::with((hashes,)).load(conn).await?;
    rows.into_iter()
        .map(|(hash, id, expires_at, left, unused_for, user)| {
            Ok(Found {
                hash: found::token_hash(&hash)?,
                caller: Caller {
                    user: user_row::user(user)?,
                    credential: Credential::Session { id: SessionId(id), expires_at },
                },
                left: Some(found::seconds(left)),
                unused_for: Some(found::seconds(unused_for)),
            })
        })
        .collect()
}

struct Touch;

impl Fixed for Touch {
    // A row that someone holds is being ended, or touched by another process: left alone, so that no
    // two statements ever wait for each other.
    const SQL: &'static str = "update sessions s \
         set last_seen_at = now(), idle_expires_at = least(now() + make_interval(secs => $1), s.expires_at) \
         from (select id from sessions where id = any($2) and idle_expires_at > now() \
             and last_seen_at < now() - make_interval(secs => $3) \
             order by id for no key update skip locked) due \
         where s.id = due.id";
    type Args = (Double, Array<SqlUuid>, Double);
    type Row = ();
}

/// Writes down that these were used just now, and lets them live on for `idle`, never beyond their absolute end.
/// Those written down less than `at_most_every` ago are left alone, and those that ended stay so.
///
/// # Errors
/// [`crate::domain::Error::Unavailable`].
pub async fn touch(
    conn: &mut AsyncPgConnection,
    ids: &[SessionId],
    idle: Duration,
    at_most_every: Duration,
) -> Result<usize> {
    let mut ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    ids.sort_unstable();
    let values = (idle.as_secs_f64(), ids, at_most_every.as_secs_f64());
    Ok(Statement::<Touch, _>::with(values).execute(conn).await?)
}

struct Refresh;

impl Fixed for Refresh {
    const SQL: &'static str = concat!(
        "update sessions s set token_hash = $1, last_seen_at = now(), \
         idle_expires_at = least(now() + make_interval(secs => $2), s.expires_at) \
         from users u where s.id = $3 and s.token_hash = $4 and u.id = s.user_id and ",
        valid!(),
        " returning s.expires_at, ",
        user_columns!(),
    );
    type Args = (Binary, Double, SqlUuid, Binary);
    type Row = (Timestamptz, UserTypes);
}

/// Gives the session a new token in place of `old`, and lets it live on for `idle`, never beyond its absolute end.
/// `None` when it is not valid, or has another token by now: of two that refresh at once, one gets it.
///
/// # Errors
/// [`crate::domain::Error::Unavailable`].
pub async fn refresh(
    conn: &mut AsyncPgConnection,
    id: SessionId,
    (old, new): (TokenHash, TokenHash),
    idle: Duration,
) -> Result<Option<(DateTime<Utc>, User)>> {
    let values = (new.as_bytes(), idle.as_secs_f64(), id.0, old.as_bytes());
    let row: Option<(DateTime<Utc>, UserRow)> =
        Statement::<Refresh, _>::with(values).get_result(conn).await.optional()?;
    row.map(|(expires_at, user)| Ok((expires_at, user_row::user(user)?))).transpose()
}

struct Close;

impl Fixed for Close {
    const SQL: &'static str = "delete from sessions where id = $1 and user_id = $2";
    type Args = (SqlUuid, SqlUuid);
    type Row = ();
}

/// Ends one session of this user; tells whether there was one.
///
/// # Errors
/// [`crate::domain::Error::Unavailable`].
pub async fn close(conn: &mut AsyncPgConnection, id: SessionId, user: UserId) -> Result<bool> {
    Ok(Statement::<Close, _>::with((id.0, user.0)).execute(conn).await? > 0)
}

struct MoveOn;

impl Fixed for MoveOn {
    const SQL: &'static str =
        "update users set auth_version = auth_version + 1 where id = $1 returning auth_version";
    type Args = (SqlUuid,);
    type Row = (BigInt,);
}

struct CloseAll;

impl Fixed for CloseAll {
    const SQL: &'static str = "delete from sessions s where s.id in \
         (select id from sessions where user_id = $1 and id is distinct from $2 order by id for update) \
         returning s.expires_at > now() and s.idle_expires_at > now()";
    type Args = (SqlUuid, Nullable<SqlUuid>);
    type Row = (Bool,);
}

struct Keep;

impl Fixed for Keep {
    const SQL: &'static str = "update sessions set auth_version = $1 where id = $2 and user_id = $3";
    type Args = (BigInt, SqlUuid, SqlUuid);
    type Row = ();
}

/// Ends every session of this user but `except`, and makes those dead on arrival that a log-in under way is about to
/// begin. Returns how many had been alive.
///
/// # Errors
/// [`crate::domain::Error::Unavailable`]; [`crate::domain::Error::NotFound`] without such a user.
pub async fn close_all(
    conn: &mut AsyncPgConnection,
    user: UserId,
    except: Option<SessionId>,
) -> Result<usize> {
    conn.transaction(async |conn| {
        let (version,): (i64,) = Statement::<MoveOn, _>::with((user.0,)).get_result(conn).await?;
        let values = (user.0, except.map(|id| id.0));
        let ended: Vec<(bool,)> = Statement::<CloseAll, _>::with(values).load(conn).await?;
        if let Some(id) = except {
            Statement::<Keep, _>::with((version, id.0, user.0)).execute(conn).await?;
        }
        Ok(ended.into_iter().filter(|(alive,)| *alive).count())
    })
    .await
}

struct Sweep;

impl Fixed for Sweep {
    const SQL: &'static str = "delete from sessions where id in \
         (select id from sessions where idle_expires_at <= now() order by idle_expires_at limit $1 for update skip locked)";
    type Args = (BigInt,);
    type Row = ();
}

/// Deletes up to `limit` sessions that ended by time; tells how many. Call it until it deletes fewer.
///
/// # Errors
/// [`crate::domain::Error::Unavailable`].
pub async fn sweep(conn: &mut AsyncPgConnection, limit: i64) -> Result<usize> {
    Ok(Statement::<Sweep, _>::with((limit,)).execute(conn).await?)
}
