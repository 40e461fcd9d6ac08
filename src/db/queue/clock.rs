//! What a clock that was ahead left behind once it is put right: times that lie too far in the future.

use chrono::{DateTime, Utc};
use diesel::{
    deserialize::Queryable,
    sql_types::{BigInt, Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use uuid::Uuid;

use crate::{
    db::statement::{Fixed, Statement},
    domain::Result,
};

struct BringBack;

impl Fixed for BringBack {
    // A task that is due was so when it was enqueued. One that was tried waits for as long as it was to wait after that. One that
    // was enqueued for later keeps its time: it may have been named by somebody whose clock was right.
    const SQL: &'static str = "
        with ahead as (
            select id from tasks
            where (stage = 'due' and run_at > now() + interval '1 second')
                or (stage = 'waiting' and attempt > 0 and updated_at > now() + interval '1 second')
            limit $1 for update skip locked
        ), back as (
            update tasks set updated_at = statement_timestamp(), run_at = now() + case stage
                when 'due' then interval '0' else greatest(run_at - updated_at, interval '0') end
            where id = any(array(select id from ahead)) returning id
        )
        select count(*) from back";
    const REPLAN: bool = true;
    type Args = (BigInt,);
    type Row = (BigInt,);
}

/// Gives tasks the time that they would have had by the clock of now, at most `at_most`. Returns how many.
///
/// # Errors
/// As the database tells.
pub async fn bring_back(connection: &mut AsyncPgConnection, at_most: usize) -> Result<usize> {
    let limit = i64::try_from(at_most).unwrap_or(i64::MAX);
    let (count,): (i64,) = Statement::<BringBack, _>::with((limit,)).get_result(connection).await?;
    Ok(usize::try_from(count).unwrap_or(0))
}

struct FindPlanned;

impl Fixed for FindPlanned {
    const SQL: &'static str = "
        select id, cron, timezone, next_run_at, last_run_at, statement_timestamp() from schedules
        where enabled and next_run_at > now() and id > $1 order by id limit $2";
    type Args = (SqlUuid, BigInt);
    type Row = (SqlUuid, Text, Text, Timestamptz, Nullable<Timestamptz>, Timestamptz);
}

/// A schedule whose next tick is to come.
#[derive(Debug, Clone, Queryable)]
pub struct Planned {
    /// Of the schedule.
    pub id: Uuid,
    /// When it recurs.
    pub cron: String,
    /// In which time zone, an IANA name.
    pub timezone: String,
    /// The next tick.
    pub next: DateTime<Utc>,
    /// The last tick that made a task.
    pub last: Option<DateTime<Utc>>,
    /// The clock of the database.
    pub now: DateTime<Utc>,
}

/// The schedules behind `after`, in the order of their ids, at most `at_most`.
///
/// # Errors
/// As the database tells.
pub async fn planned(connection: &mut AsyncPgConnection, after: Uuid, at_most: i64) -> Result<Vec<Planned>> {
    Ok(Statement::<FindPlanned, _>::with((after, at_most)).get_results(connection).await?)
}

struct Replan;

impl Fixed for Replan {
    const SQL: &'static str =
        "update schedules set next_run_at = $1 where id = $2 and next_run_at = $3 and enabled returning id";
    type Args = (Timestamptz, SqlUuid, Timestamptz);
    type Row = (SqlUuid,);
}

/// Moves the next tick of a schedule, unless somebody moved it meanwhile: then `false`.
///
/// # Errors
/// As the database tells.
pub async fn replan(
    connection: &mut AsyncPgConnection,
    planned: &Planned,
    next: DateTime<Utc>,
) -> Result<bool> {
    let statement = Statement::<Replan, _>::with((next, planned.id, planned.next));
    let rows: Vec<(Uuid,)> = statement.get_results(connection).await?;
    Ok(!rows.is_empty())
}
