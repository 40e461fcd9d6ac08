//! Tokens that are mailed: one for each user and purpose, only its SHA-256, bound to the address that it was sent to.
//!
//! Whoever changes tokens together with their user locks the user first, so that no two wait for each other.

use std::time::Duration;

use diesel::{
    prelude::*,
    sql_types::{Array, Bytea, Double, Text, Uuid as SqlUuid},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use super::{
    schema::one_time_tokens::dsl,
    statement::{Fixed, Statement},
};
use crate::domain::{Email, Result, UserId, letter::Purpose, token::TokenHash};

struct Put;

impl Fixed for Put {
    const SQL: &'static str = "
        insert into one_time_tokens (id, user_id, purpose, token_hash, sent_to, expires_at)
        values ($1, $2, $3, $4, $5, now() + make_interval(secs => $6))
        on conflict (user_id, purpose) do update set
            id = excluded.id, token_hash = excluded.token_hash, sent_to = excluded.sent_to,
            expires_at = excluded.expires_at, created_at = now(), used_at = null";
    type Args = (SqlUuid, SqlUuid, Text, Bytea, Text, Double);
    type Row = ();
}

/// Keeps a token; the one before it for the same purpose is void.
///
/// # Errors
/// As the database tells.
pub async fn put(
    connection: &mut AsyncPgConnection,
    user: UserId,
    purpose: Purpose,
    token: &TokenHash,
    sent_to: &Email,
    lifetime: Duration,
) -> Result<()> {
    let values = (
        Uuid::now_v7(),
        user.0,
        purpose.as_str(),
        token.as_bytes(),
        sent_to.canonical(),
        lifetime.as_secs_f64(),
    );
    Statement::<Put, _>::with(values).execute(connection).await?;
    Ok(())
}

struct Holder;

impl Fixed for Holder {
    // The same conditions as in `Redeem`: who is told that a token is good can redeem it.
    const SQL: &'static str = "
        select t.user_id from one_time_tokens t join users u on u.id = t.user_id
        where t.token_hash = any($1) and t.purpose = $2 and t.used_at is null and t.expires_at > now()
            and u.is_active and u.email_canon = t.sent_to";
    type Args = (Array<Bytea>, Text);
    type Row = SqlUuid;
}

/// Whose token it is, if it is good. Takes no lock and uses nothing up.
///
/// # Errors
/// As the database tells.
pub async fn holder(
    connection: &mut AsyncPgConnection,
    purpose: Purpose,
    token: &TokenHash,
) -> Result<Option<UserId>> {
    let found = Statement::<Holder, _>::with((vec![token.as_bytes()], purpose.as_str()));
    let user: Option<Uuid> = found.get_result(connection).await.optional()?;
    Ok(user.map(UserId))
}

struct Redeem;

impl Fixed for Redeem {
    const SQL: &'static str = "
        update one_time_tokens t set used_at = now()
        from users u
        where u.id = t.user_id and t.token_hash = any($1) and t.purpose = $2 and t.used_at is null
            and t.expires_at > now() and u.is_active and u.email_canon = t.sent_to
        returning t.user_id";
    type Args = (Array<Bytea>, Text);
    type Row = SqlUuid;
}

/// Uses a token up. `true` for exactly one of those who try at the same time.
///
/// # Errors
/// As the database tells.
pub async fn redeem(connection: &mut AsyncPgConnection, purpose: Purpose, token: &TokenHash) -> Result<bool> {
    let used = Statement::<Redeem, _>::with((vec![token.as_bytes()], purpose.as_str()));
    let user: Option<Uuid> = used.get_result(connection).await.optional()?;
    Ok(user.is_some())
}

/// Voids every token of a user.
///
/// # Errors
/// As the database tells.
pub async fn void(connection: &mut AsyncPgConnection, user: UserId) -> Result<()> {
    diesel::delete(dsl::one_time_tokens.filter(dsl::user_id.eq(user.0))).execute(connection).await?;
    Ok(())
}

struct Sweep;

impl Fixed for Sweep {
    const SQL: &'static str = "
        delete from one_time_tokens where id = any(array(
            select id from one_time_tokens where expires_at < now() order by expires_at limit $1
            for update skip locked))";
    type Args = (diesel::sql_types::BigInt,);
    type Row = ();
}

/// Deletes up to `limit` tokens that have expired. Returns how many there were.
///
/// # Errors
/// As the database tells.
pub async fn sweep(connection: &mut AsyncPgConnection, limit: i64) -> Result<usize> {
    Ok(Statement::<Sweep, _>::with((limit,)).execute(connection).await?)
}
