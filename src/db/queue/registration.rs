//! Worker processes: each has a row for as long as it gives signs of life. One small update serves for all its tasks.

use std::time::Duration;

use diesel::sql_types::{Array, BigInt, Double, Integer, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use crate::{
    db::statement::{Fixed, Statement},
    domain::{Result, attempt::WorkerId},
};

struct Register;

impl Fixed for Register {
    const SQL: &'static str = "
        insert into workers (host, pid, version, task_types, queues, lease_expires_at, lease_secs)
        values ($1, $2, $3, $4, $5, now() + make_interval(secs => $6), $6) returning id";
    type Args = (Text, Integer, Text, Array<Text>, Array<Text>, Double);
    type Row = (BigInt,);
}

/// Registers a worker process that lives until it has given no sign of life for `lease`.
///
/// # Errors
/// As the database tells.
pub async fn register(
    connection: &mut AsyncPgConnection,
    (host, pid): (&str, u32),
    task_types: &[&str],
    queues: &[String],
    lease: Duration,
) -> Result<WorkerId> {
    let pid = i32::try_from(pid).unwrap_or(0);
    let version = env!("CARGO_PKG_VERSION");
    let statement =
        Statement::<Register, _>::with((host, pid, version, task_types, queues, lease.as_secs_f64()));
    let (id,): (i64,) = statement.get_result(connection).await?;
    Ok(WorkerId(id))
}

struct Beat;

impl Fixed for Beat {
    const SQL: &'static str =
        "update workers set lease_expires_at = now() + make_interval(secs => $1) where id = $2 returning id";
    type Args = (Double, BigInt);
    type Row = (BigInt,);
}

/// A sign of life; `false`: it was given up already, and its tasks are others' now.
///
/// # Errors
/// As the database tells.
pub async fn beat(connection: &mut AsyncPgConnection, worker: WorkerId, lease: Duration) -> Result<bool> {
    let rows: Vec<(i64,)> =
        Statement::<Beat, _>::with((lease.as_secs_f64(), worker.0)).get_results(connection).await?;
    Ok(!rows.is_empty())
}

struct NoteBegun;

impl Fixed for NoteBegun {
    const SQL: &'static str =
        "update workers set begun_to = greatest(begun_to, $1) where id = $2 returning begun_to";
    type Args = (BigInt, BigInt);
    type Row = (BigInt,);
}

/// Notes that the worker's tasks up to this place may have begun. `false`: it was given up, and may begin nothing.
///
/// # Errors
/// As the database tells. It may have been noted all the same.
pub async fn note_begun(connection: &mut AsyncPgConnection, worker: WorkerId, to: i64) -> Result<bool> {
    let rows: Vec<(i64,)> = Statement::<NoteBegun, _>::with((to, worker.0)).get_results(connection).await?;
    Ok(!rows.is_empty())
}

struct Deregister;

impl Fixed for Deregister {
    const SQL: &'static str = "delete from workers where id = $1 returning id";
    type Args = (BigInt,);
    type Row = (BigInt,);
}

/// It is gone, and says so; tasks that it still holds are rescued by others.
///
/// # Errors
/// As the database tells.
pub async fn deregister(connection: &mut AsyncPgConnection, worker: WorkerId) -> Result<()> {
    let _gone: Vec<(i64,)> = Statement::<Deregister, _>::with((worker.0,)).get_results(connection).await?;
    Ok(())
}
