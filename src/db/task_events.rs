//! Reading what the trigger on `tasks` records (see the migration), in an order that loses nothing.
//!
//! Ids are drawn before commit, so a reader who has seen id 7 does not know that 6 will not appear. Transactions are
//! numbered too, and a snapshot knows the oldest one that is still at work: what all before it did is visible now. So the
//! order is that of transactions, and a place below this horizon is final.

use std::{collections::HashSet, sync::Arc};

use chrono::{DateTime, Utc};
use diesel::sql_types::{
    Array, BigInt, Double, Integer, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use super::{
    json::Stored,
    statement::{Fixed, Statement},
};
use crate::domain::{
    Result, TaskId, UserId,
    task_event::{Changes, Look, Position, TaskEvent},
};

struct Want;

impl Fixed for Want {
    const SQL: &'static str = "
        update task_events_wanted set until = statement_timestamp() + make_interval(secs => $1)
        where until < statement_timestamp() + make_interval(secs => $1)
        returning pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
    type Args = (Double,);
    type Row = (BigInt,);
}

/// Has changes recorded for so long, at least.
///
/// # Errors
/// As the database tells.
pub async fn want(connection: &mut AsyncPgConnection, secs: f64) -> Result<()> {
    let _: Vec<(i64,)> = Statement::<Want, _>::with((secs,)).get_results(connection).await?;
    Ok(())
}

struct Snapshot;

impl Fixed for Snapshot {
    const SQL: &'static str = "
        select pg_snapshot_xmin(now)::text::bigint, pg_snapshot_xmax(now)::text::bigint
        from pg_current_snapshot() now";
    type Args = ();
    type Row = (BigInt, BigInt);
}

/// The oldest transaction that is at work, and the next one that will begin.
///
/// # Errors
/// As the database tells.
pub async fn snapshot(connection: &mut AsyncPgConnection) -> Result<(i64, i64)> {
    Ok(Statement::<Snapshot, _>::with(()).get_result(connection).await?)
}

struct ReadEvents;

impl Fixed for ReadEvents {
    const SQL: &'static str = "
        select pg_snapshot_xmin(pg_current_snapshot())::text::bigint, clock_timestamp(), event.*
        from (select 1) always left join lateral (
            select id, xid, at, task_ids, task_types, queues, statuses, attempts, progress, owners
            from task_events
            where xid >= $1 and (xid > $1 or id >= $2) and not (id = any($3))
            order by xid, id limit $4) event on true";
    type Args = (BigInt, BigInt, Array<BigInt>, BigInt);
    type Row = (
        BigInt,
        Timestamptz,
        Nullable<BigInt>,
        Nullable<BigInt>,
        Nullable<Timestamptz>,
        Nullable<Array<SqlUuid>>,
        Nullable<Array<Text>>,
        Nullable<Array<Text>>,
        Nullable<Array<Text>>,
        Nullable<Array<Integer>>,
        Nullable<Array<Nullable<Jsonb>>>,
        Nullable<Array<Nullable<SqlUuid>>>,
    );
}

#[derive(diesel::Queryable)]
struct Row {
    horizon: i64,
    now: DateTime<Utc>,
    id: Option<i64>,
    transaction: Option<i64>,
    at: Option<DateTime<Utc>>,
    task_ids: Option<Vec<Uuid>>,
    task_types: Option<Vec<String>>,
    queues: Option<Vec<String>>,
    statuses: Option<Vec<String>>,
    attempts: Option<Vec<i32>>,
    progress: Option<Vec<Option<Stored>>>,
    owners: Option<Vec<Option<Uuid>>>,
}

/// At most `at_most` statements' changes from the one at `from` on, which is among them, without those whose ids are in
/// `known`.
///
/// # Errors
/// As the database tells.
pub async fn read(
    connection: &mut AsyncPgConnection,
    from: Position,
    known: &HashSet<i64>,
    at_most: i64,
) -> Result<Look> {
    let known: Vec<i64> = known.iter().copied().collect();
    let values = (from.transaction, from.row, known, at_most);
    let rows: Vec<Row> = Statement::<ReadEvents, _>::with(values).get_results(connection).await?;
    let mut look = Look { changes: Vec::with_capacity(rows.len()), horizon: 0, now: DateTime::UNIX_EPOCH };
    for row in rows {
        (look.horizon, look.now) = (row.horizon, row.now);
        look.changes.extend(row.into_changes().map(Arc::new));
    }
    Ok(look)
}

impl Row {
    /// `None` for the row that is there when no other is.
    fn into_changes(self) -> Option<Changes> {
        let (row, transaction, at) = (self.id?, self.transaction?, self.at?);
        let (mut types, mut queues) = (self.task_types?.into_iter(), self.queues?.into_iter());
        let (mut statuses, mut attempts) = (self.statuses?.into_iter(), self.attempts?.into_iter());
        let (mut progress, mut owners) = (self.progress?.into_iter(), self.owners?.into_iter());
        let event = |id| {
            Some(TaskEvent {
                id: TaskId(id),
                task_type: types.next()?,
                queue: queues.next()?,
                status: statuses.next()?,
                attempt: attempts.next()?,
                progress: progress.next()?.and_then(|value| value.read().ok()),
                created_by: owners.next()?.map(UserId),
                at,
            })
        };
        let events = self.task_ids?.into_iter().map_while(event).collect();
        Some(Changes::new(transaction, row, events))
    }
}
