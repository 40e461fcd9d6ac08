//! Tasks whose time has come.

use std::time::Duration;

use diesel::sql_types::{Array, BigInt, Double, Nullable, Text, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use uuid::Uuid;

use crate::{
    db::statement::{Fixed, Statement},
    domain::Result,
};

struct Promote;

impl Fixed for Promote {
    const SQL: &'static str = "
        with due as (
            select id from unnest($1) as served (name) cross join lateral (
                select id from tasks where stage = 'waiting' and queue = served.name and run_at <= now()
                order by run_at limit $2 for update skip locked) first
        ), promoted as (
            update tasks set status = 'pending', stage = 'due', updated_at = statement_timestamp()
            where id = any(array(select id from due)) returning id
        )
        select (select count(*) from promoted), (
            select extract(epoch from min(run_at) - clock_timestamp())::float8
            from unnest($1) as served (name) cross join lateral (
                select run_at from tasks where stage = 'waiting' and queue = served.name and run_at > now()
                order by run_at limit 1) next)";
    const REPLAN: bool = true;
    type Args = (Array<Text>, BigInt);
    type Row = (BigInt, Nullable<Double>);
}

/// What [`promote`] found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Due {
    /// Tasks that became pending.
    pub promoted: usize,
    /// Until the next one's time comes; `None`: nothing waits.
    pub next: Option<Duration>,
}

/// Makes tasks of these queues pending whose time has come, at most `at_most` of each.
///
/// # Errors
/// As the database tells.
pub async fn promote(connection: &mut AsyncPgConnection, queues: &[String], at_most: usize) -> Result<Due> {
    let at_most = i64::try_from(at_most).unwrap_or(i64::MAX);
    let (promoted, next): (i64, Option<f64>) =
        Statement::<Promote, _>::with((queues, at_most)).get_result(connection).await?;
    Ok(Due {
        promoted: usize::try_from(promoted).unwrap_or(0),
        next: next.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)),
    })
}

struct PromoteLeftBehind;

impl Fixed for PromoteLeftBehind {
    const SQL: &'static str = concat!(
        "
        with promoted as (
            update tasks set status = 'pending', stage = 'due', updated_at = statement_timestamp()
            where id = any(array(
                select id from tasks
                where stage = 'waiting' and run_at <= now()
                order by run_at limit $1 for update skip locked))
            returning id, queue, status
        )
        select id, ",
        ring!("promoted"),
        " from promoted"
    );
    const REPLAN: bool = true;
    type Args = (BigInt,);
    type Row = (SqlUuid, Nullable<Text>);
}

/// Makes tasks of all queues pending whose time has come: those of queues that no worker serves too, so that they are
/// shown as what they are. Returns how many.
///
/// # Errors
/// As the database tells.
pub async fn promote_left_behind(connection: &mut AsyncPgConnection, at_most: usize) -> Result<usize> {
    let at_most = i64::try_from(at_most).unwrap_or(i64::MAX);
    let rows: Vec<(Uuid, Option<String>)> =
        Statement::<PromoteLeftBehind, _>::with((at_most,)).get_results(connection).await?;
    Ok(rows.len())
}
