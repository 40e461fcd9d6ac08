//! Giving back claimed tasks that were not begun, as if they had never been claimed.

use diesel::sql_types::{Array, BigInt, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use uuid::Uuid;

use super::{columns, leased};
use crate::{
    db::statement::{Fixed, Statement},
    domain::{
        Result,
        attempt::{Leased, WorkerId},
    },
};

/// What both statements do to a task. Nobody told a handler to stop, so whoever asked to cancel gets it here.
macro_rules! undo_claim {
    () => {
        "update tasks t set attempt = attempt - 1, lease = null, worker_id = null, started_at = null,
            status = case when cancel_requested_at is null then 'pending' else 'cancelled' end,
            finished_at = case when cancel_requested_at is null then null else statement_timestamp() end,
            updated_at = statement_timestamp()"
    };
}

struct HandBack;

impl Fixed for HandBack {
    const SQL: &'static str = concat!(
        undo_claim!(),
        " from unnest($1, $2) as x (id, lease)
        where t.id = any($1) and t.id = x.id and t.lease = x.lease
        returning t.id, x.lease"
    );
    const REPLAN: bool = true;
    type Args = (Array<SqlUuid>, Array<BigInt>);
    type Row = (SqlUuid, BigInt);
}

/// Gives back these tasks; returns those whose lease was good.
///
/// # Errors
/// As the database tells.
pub async fn hand_back(connection: &mut AsyncPgConnection, tasks: &[Leased]) -> Result<Vec<Leased>> {
    let mut tasks = tasks.to_vec();
    tasks.sort_unstable_by_key(|(id, _)| *id);
    let statement = Statement::<HandBack, _>::with(columns(tasks.iter()));
    let rows: Vec<(Uuid, i64)> = statement.get_results(connection).await?;
    Ok(rows.into_iter().map(leased).collect())
}

struct HandBackAllBut;

impl Fixed for HandBackAllBut {
    const SQL: &'static str = concat!(
        undo_claim!(),
        " where status = 'running' and worker_id = $1
            and not exists (select 1 from unnest($2, $3) as x (id, lease) where x.id = t.id and x.lease = t.lease)
        returning t.id"
    );
    const REPLAN: bool = true;
    type Args = (BigInt, Array<SqlUuid>, Array<BigInt>);
    type Row = (SqlUuid,);
}

/// Gives back all tasks of this worker but those that it knows of. Returns how many there were.
///
/// # Errors
/// As the database tells.
pub async fn hand_back_all_but(
    connection: &mut AsyncPgConnection,
    worker_id: WorkerId,
    known: &[Leased],
) -> Result<usize> {
    let (ids, leases) = columns(known.iter());
    let rows: Vec<(Uuid,)> =
        Statement::<HandBackAllBut, _>::with((worker_id.0, ids, leases)).get_results(connection).await?;
    Ok(rows.len())
}
