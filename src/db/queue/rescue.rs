//! Tasks whose worker died: found by the absence of its row, so that a half-done sweep is finished by the next.

use std::time::Duration;

use diesel::sql_types::{Array, BigInt, Double, Nullable, Text, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use uuid::Uuid;

use super::outcome::status;
use crate::{
    db::statement::{Fixed, Statement},
    domain::{Result, TaskId, attempt::WorkerId, task::Status},
};

struct SignsOfLife;

impl Fixed for SignsOfLife {
    // Each sign of life makes a new version of the row, and its transaction is another, whatever any clock says.
    const SQL: &'static str =
        "select id, xmin::text::bigint, lease_secs from workers order by id limit 10000";
    type Args = ();
    type Row = (BigInt, BigInt, Double);
}

/// A worker's last sign of life.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SignOfLife {
    /// Who gave it.
    pub worker: WorkerId,
    /// Another number for each sign.
    pub version: i64,
    /// How long the worker may be silent.
    pub lease: Duration,
}

/// The last signs of life of all workers.
///
/// # Errors
/// As the database tells.
pub async fn signs_of_life(connection: &mut AsyncPgConnection) -> Result<Vec<SignOfLife>> {
    let rows: Vec<(i64, i64, f64)> = Statement::<SignsOfLife, _>::with(()).get_results(connection).await?;
    let sign = |(id, version, lease): (i64, i64, f64)| SignOfLife {
        worker: WorkerId(id),
        version,
        lease: Duration::try_from_secs_f64(lease).unwrap_or(Duration::MAX),
    };
    Ok(rows.into_iter().map(sign).collect())
}

struct BuryWorkers;

impl Fixed for BuryWorkers {
    // By the clock of the database, too, the lease must be over, unless it ends at a time that no sign of life can lead to: the
    // clock was ahead then.
    const SQL: &'static str = "
        delete from workers where id = any(array(
            select id from workers join unnest($1, $2) as silent (worker, seen)
                on id = worker and xmin::text::bigint = seen
            where lease_expires_at < now() or lease_expires_at > now() + make_interval(secs => lease_secs + 1)
            order by id limit $3 for update of workers skip locked))
        returning id";
    type Args = (Array<BigInt>, Array<BigInt>, BigInt);
    type Row = (BigInt,);
}

/// Gives up those of the workers, a hundred at most, that have given no sign of life since these. The caller has seen none for
/// as long as their lease.
///
/// # Errors
/// As the database tells.
pub async fn bury_workers(
    connection: &mut AsyncPgConnection,
    silent: &[SignOfLife],
) -> Result<Vec<WorkerId>> {
    let (workers, versions): (Vec<i64>, Vec<i64>) =
        silent.iter().map(|sign| (sign.worker.0, sign.version)).unzip();
    let rows: Vec<(i64,)> =
        Statement::<BuryWorkers, _>::with((workers, versions, 100)).get_results(connection).await?;
    Ok(rows.into_iter().map(|(id,)| WorkerId(id)).collect())
}

struct Rescue;

impl Fixed for Rescue {
    // What had not begun goes back as if it had never been claimed. A claim is over when no task of it is locked by
    // somebody else. The third worker that dies with a task makes it poison. Between the deaths it waits, 1 s and 2 s give
    // or take a quarter: those that were only near it part from it.
    const SQL: &'static str = concat!(
        "
        with dead as (
            select lease, task_ids, first_place, begun_to from task_claims c
            where not exists (select 1 from workers w where w.id = c.worker_id)
            order by lease limit $1 for update skip locked
        ), x as (
            select t.id, lease, first_place + t.n - 1 <= begun_to as begun
            from dead, unnest(task_ids) with ordinality as t (id, n)
        ), lost as (
            select t.id, t.attempt, t.worker_id, t.started_at, x.begun,
                case when t.cancel_requested_at is not null then 'cancelled'
                     when not x.begun then 'pending'
                     when t.crashes >= 2 or t.retry_count + 1 >= t.max_attempts then 'failed'
                     else 'retrying' end as status
            from tasks t join x on t.id = x.id and t.lease = x.lease
            where t.id = any(array(select id from x))
            order by t.id
            for update of t skip locked
        ), moved as (
            update tasks t set status = lost.status, lease = null, worker_id = null,
                attempt = t.attempt - (not lost.begun)::int, started_at = case when lost.begun then t.started_at end,
                stage = case lost.status when 'retrying' then 'waiting' when 'pending' then 'due' else lost.status end,
                held_key = case when lost.status in ('retrying', 'pending') then t.held_key end,
                crashes = t.crashes + lost.begun::int, retry_count = t.retry_count + (lost.status = 'retrying')::int,
                run_at = case when lost.status = 'retrying'
                    then statement_timestamp() + make_interval(secs => 2 ^ t.crashes * (0.75 + random() / 2)) else t.run_at end,
                last_error = case when lost.begun then 'its worker was lost' else t.last_error end,
                finished_at = case when lost.status in ('failed', 'cancelled') then statement_timestamp() end,
                updated_at = statement_timestamp()
            from lost where t.id = any(array(select id from lost)) and t.id = lost.id
            returning t.id, t.queue, lost.status
        ), history as (
            insert into task_attempts (task_id, attempt, worker_id, started_at, outcome, error)
            select id, attempt, worker_id, started_at, 'lost', 'its worker was lost' from lost where begun
        ), busy as (
            select t.lease from tasks t join x on t.id = x.id and t.lease = x.lease
            where t.id = any(array(select id from x)) and t.id <> all(array(select id from lost))
        ), over as (
            delete from task_claims
            where lease = any(array(select lease from dead)) and lease <> all(array(select lease from busy))
        )
        select id, status, (select pg_notify('starter_tasks', '+')::text from moved having bool_or(status = 'retrying')), ",
        ring!("moved"),
        " from moved"
    );
    const REPLAN: bool = true;
    type Args = (BigInt,);
    type Row = (SqlUuid, Text, Nullable<Text>, Nullable<Text>);
}

/// A task taken from a worker that is gone, and what became of it.
pub type Rescued = (TaskId, Status);

/// Takes running tasks from workers that are gone, those of at most `claims` claims. Each that may have begun gets another
/// attempt, unless it has none left, was to be cancelled, or lost its worker for the third time; the others go back.
///
/// # Errors
/// As the database tells.
pub async fn rescue(connection: &mut AsyncPgConnection, claims: usize) -> Result<Vec<Rescued>> {
    let claims = i64::try_from(claims).unwrap_or(i64::MAX);
    let rows: Vec<(Uuid, String, Option<String>, Option<String>)> =
        Statement::<Rescue, _>::with((claims,)).get_results(connection).await?;
    rows.into_iter().map(|(id, stored, ..)| Ok((TaskId(id), status(&stored)?))).collect()
}
