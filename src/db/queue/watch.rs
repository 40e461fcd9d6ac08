//! Looking whether anybody interfered with tasks that run.

use diesel::sql_types::{Array, BigInt, Bool, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use uuid::Uuid;

use super::{columns, leased};
use crate::{
    db::statement::{Fixed, Statement},
    domain::{Result, attempt::Leased},
};

struct Watch;

impl Fixed for Watch {
    // One look by the primary key for each: a plain join is planned as a scan of the table while that has no
    // statistics.
    const SQL: &'static str = "
        select x.id, x.lease, t.lease is not distinct from x.lease
        from unnest($1, $2) as x (id, lease)
        left join lateral (select lease, cancel_requested_at from tasks where id = x.id limit 1) t on true
        where t.lease is distinct from x.lease or t.cancel_requested_at is not null";
    const REPLAN: bool = true;
    type Args = (Array<SqlUuid>, Array<BigInt>);
    type Row = (SqlUuid, BigInt, Bool);
}

/// What happened to a task while it ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interference {
    /// Somebody wants it cancelled.
    CancelRequested,
    /// It is not this worker's any more.
    TakenAway,
}

/// Those of the tasks that somebody interfered with.
///
/// # Errors
/// As the database tells.
pub async fn watch(
    connection: &mut AsyncPgConnection,
    tasks: &[Leased],
) -> Result<Vec<(Leased, Interference)>> {
    let statement = Statement::<Watch, _>::with(columns(tasks.iter()));
    let rows: Vec<(Uuid, i64, bool)> = statement.get_results(connection).await?;
    let told = |(id, lease, ours): (Uuid, i64, bool)| {
        let what = if ours { Interference::CancelRequested } else { Interference::TakenAway };
        (leased((id, lease)), what)
    };
    Ok(rows.into_iter().map(told).collect())
}
