//! Counts of failed tries, by hashed bucket, so that they hold over processes.
//!
//! A try is counted before it is made and given back when it was good. So tries that run at the same time cannot
//! slip past the limit together.

use std::time::Duration;

use diesel::sql_types::{Array, BigInt, Bool, Bytea, Double, Integer, Nullable};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::statement::{Fixed, Statement};
use crate::domain::{
    Result,
    throttle::{Bucket, Limit, Reserved},
};

struct Reserve;

impl Fixed for Reserve {
    // The own bucket of a known address, if it is there, else the bucket of all strangers. A row whose window or block is
    // over starts anew. The try that reaches the limit is the last one let through, and blocks. `failures` above the limit
    // tells a try that was refused.
    const SQL: &'static str = "
        with chosen as (
            select coalesce((select k.bucket from login_throttle k where k.bucket = any($1)), $2) as bucket)
        insert into login_throttle as t (bucket, failures, window_start, blocked_until)
        select bucket, 1, now(), case when $3 <= 1 then now() + make_interval(secs => $4) end from chosen
        on conflict (bucket) do update set
            failures = case
                when t.blocked_until > now() then $3 + 1
                when t.blocked_until <= now() or t.window_start <= now() - make_interval(secs => $5) then 1
                else t.failures + 1 end,
            window_start = case
                when t.blocked_until > now() then t.window_start
                when t.blocked_until <= now() or t.window_start <= now() - make_interval(secs => $5) then now()
                else t.window_start end,
            blocked_until = case
                when t.blocked_until > now() then t.blocked_until
                when t.blocked_until is null and t.window_start > now() - make_interval(secs => $5)
                    and t.failures + 1 >= $3
                    or $3 <= 1 then now() + make_interval(secs => $4) end
        returning bucket, failures <= $3, extract(epoch from blocked_until - now())::float8";
    type Args = (Array<Bytea>, Bytea, Integer, Double, Double);
    type Row = (Bytea, Bool, Nullable<Double>);
}

/// Counts a try before it is made, in the bucket `known` if it exists, else in `strangers`.
///
/// # Errors
/// As the database tells.
pub async fn reserve(
    connection: &mut AsyncPgConnection,
    known: &Bucket,
    strangers: &Bucket,
    limit: Limit,
) -> Result<Reserved> {
    let values = (
        vec![known.as_bytes()],
        strangers.as_bytes(),
        i32::try_from(limit.tries).unwrap_or(i32::MAX - 1),
        limit.block.as_secs_f64(),
        limit.window.as_secs_f64(),
    );
    let (bucket, allowed, left): (Vec<u8>, bool, Option<f64>) =
        Statement::<Reserve, _>::with(values).get_result(connection).await?;
    let left = left.map(|seconds| Duration::from_secs_f64(seconds.max(0.0)));
    match (allowed, left) {
        (false, left) => Ok(Reserved::Refused { retry_after: left.unwrap_or(limit.block) }),
        (true, left) => Ok(Reserved::Granted { bucket: Bucket::from_stored(bucket), last: left.is_some() }),
    }
}

struct Refund;

impl Fixed for Refund {
    const SQL: &'static str = "
        update login_throttle set failures = greatest(least(failures, $1) - 1, 0), blocked_until = null
        where bucket = any($2)";
    type Args = (Integer, Array<Bytea>);
    type Row = ();
}

/// Gives a counted try back.
///
/// # Errors
/// As the database tells.
pub async fn refund(connection: &mut AsyncPgConnection, bucket: &Bucket, limit: Limit) -> Result<()> {
    let tries = i32::try_from(limit.tries).unwrap_or(i32::MAX - 1);
    Statement::<Refund, _>::with((tries, vec![bucket.as_bytes()])).execute(connection).await?;
    Ok(())
}

struct Welcome;

impl Fixed for Welcome {
    const SQL: &'static str = "
        insert into login_throttle (bucket, failures, window_start) values ($1, 0, now())
        on conflict (bucket) do update set failures = 0, window_start = now(), blocked_until = null";
    type Args = (Bytea,);
    type Row = ();
}

/// Makes an address a known one, with no failure to its name.
///
/// # Errors
/// As the database tells.
pub async fn welcome(connection: &mut AsyncPgConnection, known: &Bucket) -> Result<()> {
    Statement::<Welcome, _>::with((known.as_bytes(),)).execute(connection).await?;
    Ok(())
}

struct Forget;

impl Fixed for Forget {
    const SQL: &'static str = "delete from login_throttle where bucket = any($1)";
    type Args = (Array<Bytea>,);
    type Row = ();
}

/// Forgets what was counted.
///
/// # Errors
/// As the database tells.
pub async fn forget(connection: &mut AsyncPgConnection, bucket: &Bucket) -> Result<()> {
    Statement::<Forget, _>::with((vec![bucket.as_bytes()],)).execute(connection).await?;
    Ok(())
}

struct Sweep;

impl Fixed for Sweep {
    const SQL: &'static str = "
        delete from login_throttle where bucket = any(array(
            select bucket from login_throttle
            where window_start < now() - make_interval(secs => $1)
                and (get_byte(bucket, 0) <> $2 or window_start < now() - make_interval(secs => $3))
                and coalesce(blocked_until < now(), true)
            order by window_start limit $4 for update skip locked))";
    type Args = (Double, Integer, Double, BigInt);
    type Row = ();
}

/// Deletes up to `limit` rows that count nothing any more: known addresses are remembered for `known`, all else for
/// `others`. Returns how many there were.
///
/// # Errors
/// As the database tells.
pub async fn sweep(
    connection: &mut AsyncPgConnection,
    others: Duration,
    known: Duration,
    limit: i64,
) -> Result<usize> {
    let values = (others.as_secs_f64(), i32::from(Bucket::KNOWN), known.as_secs_f64(), limit);
    Ok(Statement::<Sweep, _>::with(values).execute(connection).await?)
}
