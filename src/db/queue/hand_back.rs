//! Giving back claimed tasks that were not begun, as if they had never been claimed.

use diesel::sql_types::{Array, BigInt, Nullable, Text, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use uuid::Uuid;

use super::{columns, leased};
use crate::{
    db::statement::{Fixed, Statement},
    domain::{
        Result,
        attempt::{Lease, Leased, WorkerId},
    },
};

/// What both statements do to a task. Nobody told a handler to stop, so whoever asked to cancel gets it here.
macro_rules! undo_claim {
    () => {
        "update tasks t set attempt = attempt - 1, lease = null, worker_id = null, started_at = null,
            status = case when cancel_requested_at is null then 'pending' else 'cancelled' end,
            stage = case when cancel_requested_at is null then 'due' else 'cancelled' end,
            held_key = case when cancel_requested_at is null then held_key end,
            finished_at = case when cancel_requested_at is null then null else statement_timestamp() end,
            updated_at = statement_timestamp()"
    };
}

struct HandBack;

impl Fixed for HandBack {
    const SQL: &'static str = concat!(
        "with back as (
        ",
        undo_claim!(),
        " from unnest($1, $2) as x (id, lease)
            where t.id = any($1) and t.id = x.id and t.lease = x.lease
            returning t.id, x.lease, t.queue, t.status
        )
        select id, lease, ",
        ring!("back"),
        " from back"
    );
    const REPLAN: bool = true;
    type Args = (Array<SqlUuid>, Array<BigInt>);
    type Row = (SqlUuid, BigInt, Nullable<Text>);
}

/// Gives back these tasks; returns those whose lease was good.
///
/// # Errors
/// As the database tells.
pub async fn hand_back(connection: &mut AsyncPgConnection, tasks: &[Leased]) -> Result<Vec<Leased>> {
    let mut tasks = tasks.to_vec();
    tasks.sort_unstable_by_key(|(id, _)| *id);
    let statement = Statement::<HandBack, _>::with(columns(tasks.iter()));
    let rows: Vec<(Uuid, i64, Option<String>)> = statement.get_results(connection).await?;
    Ok(rows.into_iter().map(|(id, lease, _)| leased((id, lease))).collect())
}

struct TakeBack;

impl Fixed for TakeBack {
    const SQL: &'static str = concat!(
        "with astray as (
            delete from task_claims where worker_id = $1 and lease <> all($2) returning lease, task_ids
        ), x as (select unnest(task_ids) as id, lease from astray
        ), back as (
        ",
        undo_claim!(),
        " from x where t.id = any(array(select id from x)) and t.id = x.id and t.lease = x.lease
            returning t.id, t.queue, t.status
        )
        select id, ",
        ring!("back"),
        " from back"
    );
    const REPLAN: bool = true;
    type Args = (BigInt, Array<BigInt>);
    type Row = (SqlUuid, Nullable<Text>);
}

/// Forgets all claims of this worker but those that it knows of, and gives back what still runs of them. Returns how
/// many tasks that were.
///
/// # Errors
/// As the database tells.
pub async fn take_back(
    connection: &mut AsyncPgConnection,
    worker_id: WorkerId,
    known: &[Lease],
) -> Result<usize> {
    let known: Vec<i64> = known.iter().map(|lease| lease.0).collect();
    let rows: Vec<(Uuid, Option<String>)> =
        Statement::<TakeBack, _>::with((worker_id.0, known)).get_results(connection).await?;
    Ok(rows.len())
}

struct Settle;

impl Fixed for Settle {
    const SQL: &'static str =
        "delete from task_claims where lease = any($1) and worker_id = $2 returning lease";
    type Args = (Array<BigInt>, BigInt);
    type Row = (BigInt,);
}

/// Forgets these claims of this worker, of which nothing runs any more.
///
/// # Errors
/// As the database tells.
pub async fn settle(connection: &mut AsyncPgConnection, worker_id: WorkerId, over: &[Lease]) -> Result<()> {
    let over: Vec<i64> = over.iter().map(|lease| lease.0).collect();
    let _gone: Vec<(i64,)> =
        Statement::<Settle, _>::with((over, worker_id.0)).get_results(connection).await?;
    Ok(())
}
