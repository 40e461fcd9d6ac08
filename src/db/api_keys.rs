//! API keys: which are good now, and what their owners do with them.
//!
//! A key has one secret, and for the grace of a rotation also the one before it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::{
    OptionalExtension as _,
    sql_types::{Array, BigInt, Binary, Bool, Double, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};
use serde_json::Value;
use uuid::Uuid;

use super::{
    clock,
    found::{self, Found},
    key_row::{self, KeyRow, KeyTypes, key_columns},
    statement::{Fixed, Statement},
    user_row::{self, UserRow, UserTypes, user_columns},
};
use crate::domain::{
    ApiKey, ApiKeyId, Caller, Conflict, Credential, Cursor, Error, Limit, Reach, Result, UserId,
    api_key::{self, ApiKeySecret, KeyName},
    issued_key::{self, KeyChange, NewKey},
    token::TokenHash,
};

struct FindValid;

impl Fixed for FindValid {
    // One row a secret, so that each is found by its own index.
    const SQL: &'static str = concat!(
        "select a.hash, k.id, k.expires_at, k.permissions, \
         extract(epoch from least(k.expires_at, a.ends_at) - now())::float8, \
         extract(epoch from now() - k.last_used_at)::float8, ",
        user_columns!(),
        " from ( \
             select id, key_hash as hash, null::timestamptz as ends_at from api_keys where key_hash = any($1) \
             union all \
             select id, previous_key_hash, previous_expires_at from api_keys \
             where previous_key_hash = any($1) and previous_expires_at > now() \
         ) a join api_keys k on k.id = a.id join users u on u.id = k.created_by \
         where k.revoked_at is null and (k.expires_at is null or k.expires_at > now()) and u.is_active",
    );
    type Args = (Array<Binary>,);
    type Row = (Binary, SqlUuid, Nullable<Timestamptz>, Jsonb, Nullable<Double>, Nullable<Double>, UserTypes);
}

/// The valid ones among the keys with these hashes, each with its owner as he is now.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn find_valid(conn: &mut AsyncPgConnection, hashes: &[TokenHash]) -> Result<Vec<Found>> {
    type Row = (Vec<u8>, Uuid, Option<DateTime<Utc>>, Value, Option<f64>, Option<f64>, UserRow);
    let hashes: Vec<&[u8]> = hashes.iter().map(TokenHash::as_bytes).collect();
    let rows: Vec<Row> = Statement::<FindValid, _>::with((hashes,)).load(conn).await?;
    rows.into_iter()
        .map(|(hash, id, expires_at, permissions, left, unused_for, user)| {
            let permissions = key_row::permissions(&permissions);
            Ok(Found {
                hash: found::token_hash(&hash)?,
                caller: Caller {
                    user: user_row::user(user)?,
                    credential: Credential::ApiKey { id: ApiKeyId(id), expires_at, permissions },
                },
                left: left.map(found::seconds),
                unused_for: unused_for.map(found::seconds),
            })
        })
        .collect()
}

struct Touch;

impl Fixed for Touch {
    const SQL: &'static str = "update api_keys k set last_used_at = now() \
         from (select id from api_keys where id = any($1) \
             and (last_used_at is null or last_used_at < now() - make_interval(secs => $2)) \
             order by id for no key update skip locked) due \
         where k.id = due.id";
    type Args = (Array<SqlUuid>, Double);
    type Row = ();
}

/// Writes down that these were used just now, but for those written down less than `at_most_every` ago.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn touch(conn: &mut AsyncPgConnection, ids: &[ApiKeyId], at_most_every: Duration) -> Result<usize> {
    let mut ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    ids.sort_unstable();
    Ok(Statement::<Touch, _>::with((ids, at_most_every.as_secs_f64())).execute(conn).await?)
}

struct LockOwner;

impl Fixed for LockOwner {
    const SQL: &'static str = "select id from users where id = $1 and is_active for no key update";
    type Args = (SqlUuid,);
    type Row = (SqlUuid,);
}

struct CountLive;

impl Fixed for CountLive {
    const SQL: &'static str = "select count(*) from api_keys where created_by = $1 and revoked_at is null";
    type Args = (SqlUuid,);
    type Row = (BigInt,);
}

struct ForgetRevoked;

impl Fixed for ForgetRevoked {
    const SQL: &'static str = "delete from api_keys where id = any(array(
        select id from api_keys where created_by = $1 and revoked_at is not null
        order by revoked_at desc, id desc offset $2))";
    type Args = (SqlUuid, BigInt);
    type Row = ();
}

struct Issue;

impl Fixed for Issue {
    const SQL: &'static str = concat!(
        "insert into api_keys as k (id, name, key_hash, key_prefix, permissions, created_by, expires_at) \
         values ($1, $2, $3, $4, $5, $6, $7) returning ",
        key_columns!()
    );
    type Args = (SqlUuid, Text, Binary, Text, Jsonb, SqlUuid, Nullable<Timestamptz>);
    type Row = KeyTypes;
}

/// Makes a key.
///
/// # Errors
/// [`Error::Unauthenticated`] when the owner is not active any more; [`Conflict::State`] when they have as many keys as
/// anyone may; [`Error::Invalid`] when its end has passed; [`Error::Unavailable`].
pub async fn issue(
    conn: &mut AsyncPgConnection,
    owner: UserId,
    secret: &ApiKeySecret,
    key: &NewKey,
) -> Result<ApiKey> {
    let (hash, prefix) = (secret.hash(), secret.prefix());
    let values = (
        ApiKeyId::new().0,
        key.name.as_str(),
        hash.as_bytes(),
        prefix.as_str(),
        key_row::stored(key.permissions),
        owner.0,
        key.expires_at,
    );
    conn.transaction(async |conn| {
        has_room(conn, owner).await?;
        // By the clock that later decides whether the key is good; that of the process may be wrong.
        if let Some(end) = key.expires_at {
            api_key::check_expiry(end, clock::now(conn).await?)
                .map_err(|wrong| Error::Invalid(vec![wrong]))?;
        }
        // Without this, somebody who makes and revokes keys fills the table.
        let kept = i64::from(issued_key::MAX_REVOKED_PER_USER);
        Statement::<ForgetRevoked, _>::with((owner.0, kept)).execute(conn).await?;
        let row: KeyRow = Statement::<Issue, _>::with(values).get_result(conn).await?;
        Ok(key_row::key(row))
    })
    .await
}

/// Locks the owner, so that parallel requests cannot slip past the cap.
async fn has_room(conn: &mut AsyncPgConnection, owner: UserId) -> Result<()> {
    let active: Option<(Uuid,)> =
        Statement::<LockOwner, _>::with((owner.0,)).get_result(conn).await.optional()?;
    if active.is_none() {
        return Err(Error::Unauthenticated { presented: true });
    }
    let (live,): (i64,) = Statement::<CountLive, _>::with((owner.0,)).get_result(conn).await?;
    if live >= i64::from(issued_key::MAX_PER_USER) {
        return Err(Error::Conflict(Conflict::State("no more than 1000 API keys; revoke some first")));
    }
    Ok(())
}

struct Find;

impl Fixed for Find {
    const SQL: &'static str = concat!(
        "select ",
        key_columns!(),
        " from api_keys k where k.id = $1 and ($2::uuid is null or k.created_by = $2)"
    );
    type Args = (SqlUuid, Nullable<SqlUuid>);
    type Row = KeyTypes;
}

/// One key, if it is within reach.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Unavailable`].
pub async fn find(conn: &mut AsyncPgConnection, id: ApiKeyId, reach: Reach) -> Result<ApiKey> {
    let row: KeyRow = Statement::<Find, _>::with((id.0, owner(reach))).get_result(conn).await?;
    Ok(key_row::key(row))
}

struct List;

impl Fixed for List {
    const SQL: &'static str = concat!(
        "select ",
        key_columns!(),
        " from api_keys k where ($1::uuid is null or k.created_by = $1) and ($2::uuid is null or k.id < $2) \
         order by k.id desc limit $3"
    );
    type Args = (Nullable<SqlUuid>, Nullable<SqlUuid>, BigInt);
    type Row = KeyTypes;
}

/// The keys within reach, newest first, from behind `cursor` on; one more than the page takes.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn list(
    conn: &mut AsyncPgConnection,
    reach: Reach,
    cursor: Option<Cursor>,
    limit: Limit,
) -> Result<Vec<ApiKey>> {
    let values = (owner(reach), cursor.map(|cursor| cursor.id), limit.fetch());
    let rows: Vec<KeyRow> = Statement::<List, _>::with(values).load(conn).await?;
    Ok(rows.into_iter().map(key_row::key).collect())
}

struct Update;

impl Fixed for Update {
    const SQL: &'static str = concat!(
        "update api_keys k set name = coalesce($1, k.name), permissions = coalesce($2, k.permissions), \
         expires_at = case when $3 then $4 else k.expires_at end \
         where k.id = $5 and ($6::uuid is null or k.created_by = $6) and k.revoked_at is null returning ",
        key_columns!()
    );
    type Args = (Nullable<Text>, Nullable<Jsonb>, Bool, Nullable<Timestamptz>, SqlUuid, Nullable<SqlUuid>);
    type Row = KeyTypes;
}

/// Changes a key that is not revoked.
///
/// # Errors
/// [`Error::NotFound`]; [`Conflict::State`] when it is revoked; [`Error::Unavailable`].
pub async fn update(
    conn: &mut AsyncPgConnection,
    id: ApiKeyId,
    reach: Reach,
    change: &KeyChange,
) -> Result<ApiKey> {
    let values = (
        change.name.as_ref().map(KeyName::as_str),
        change.permissions.map(key_row::stored),
        change.expires_at.is_some(),
        change.expires_at.flatten(),
        id.0,
        owner(reach),
    );
    let row: Option<KeyRow> = Statement::<Update, _>::with(values).get_result(conn).await.optional()?;
    live(conn, id, reach, row).await
}

struct Rotate;

impl Fixed for Rotate {
    const SQL: &'static str = concat!(
        "update api_keys k set key_hash = $1, key_prefix = $2, \
         previous_key_hash = case when $3 > 0 then k.key_hash end, \
         previous_expires_at = case when $3 > 0 then now() + make_interval(secs => $3) end \
         where k.id = $4 and ($5::uuid is null or k.created_by = $5) and k.revoked_at is null returning ",
        key_columns!()
    );
    type Args = (Binary, Text, Double, SqlUuid, Nullable<SqlUuid>);
    type Row = KeyTypes;
}

/// Gives a key a new secret. The one it has lives on for `grace`; one that is still in the grace of an earlier
/// rotation ends now.
///
/// # Errors
/// As [`update`].
pub async fn rotate(
    conn: &mut AsyncPgConnection,
    id: ApiKeyId,
    reach: Reach,
    secret: &ApiKeySecret,
    grace: Duration,
) -> Result<ApiKey> {
    let (hash, prefix) = (secret.hash(), secret.prefix());
    let values = (hash.as_bytes(), prefix.as_str(), grace.as_secs_f64(), id.0, owner(reach));
    let row: Option<KeyRow> = Statement::<Rotate, _>::with(values).get_result(conn).await.optional()?;
    live(conn, id, reach, row).await
}

struct Revoke;

impl Fixed for Revoke {
    const SQL: &'static str = "update api_keys set revoked_at = now() \
         where id = $1 and ($2::uuid is null or created_by = $2) and revoked_at is null";
    type Args = (SqlUuid, Nullable<SqlUuid>);
    type Row = ();
}

/// Ends a key for good; tells whether it was still live.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Unavailable`].
pub async fn revoke(conn: &mut AsyncPgConnection, id: ApiKeyId, reach: Reach) -> Result<bool> {
    if Statement::<Revoke, _>::with((id.0, owner(reach))).execute(conn).await? > 0 {
        return Ok(true);
    }
    find(conn, id, reach).await.map(|_| false)
}

/// The key that a statement changed, or why there is none.
async fn live(
    conn: &mut AsyncPgConnection,
    id: ApiKeyId,
    reach: Reach,
    row: Option<KeyRow>,
) -> Result<ApiKey> {
    match row {
        Some(row) => Ok(key_row::key(row)),
        None => {
            find(conn, id, reach).await?;
            Err(Error::Conflict(Conflict::State("the API key is revoked")))
        }
    }
}

fn owner(reach: Reach) -> Option<Uuid> {
    match reach {
        Reach::Own(user) => Some(user.0),
        Reach::All => None,
    }
}
