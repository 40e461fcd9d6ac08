//! Reading what the trigger on `tasks` records (see the migration), in an order that loses nothing.
//!
//! Ids are drawn before commit, so a reader who has seen id 7 does not know that 6 will not appear. Transactions are
//! numbered too, and a snapshot knows the oldest one that is still at work: what all before it did is visible now. So the
//! order is that of transactions, and a place below this horizon is final. A reader in this process keeps its last snapshot,
//! and reads what has become visible since: as much as was written, however long another transaction stays at work.

use std::sync::Arc;

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
    Error, Result, TaskId, UserId,
    event_cursor::{Cursor, Look, Snapshot, Wanted},
    task_event::{Changes, TaskEvent},
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

struct TakeSnapshot;

impl Fixed for TakeSnapshot {
    const SQL: &'static str = "
        select pg_snapshot_xmin(now)::text::bigint, pg_snapshot_xmax(now)::text::bigint,
            array(select running::text::bigint from pg_snapshot_xip(now) running)
        from pg_current_snapshot() now";
    type Args = ();
    type Row = (BigInt, BigInt, Array<BigInt>);
}

/// Which transactions are visible now.
///
/// # Errors
/// As the database tells.
pub async fn snapshot(connection: &mut AsyncPgConnection) -> Result<Snapshot> {
    let (oldest, next, running) = Statement::<TakeSnapshot, _>::with(()).get_result(connection).await?;
    Ok(Snapshot { oldest, next, running })
}

struct ReadEvents;

impl Fixed for ReadEvents {
    // What became visible since a snapshot is what transactions did that had not begun or not ended then. Each row is read
    // once, in slices: those of many tasks, or with much progress, would fill the memory. Only the first line
    // brings the transactions at work: there may be hundreds.
    const SQL: &'static str = "
        select pg_snapshot_xmin(now)::text::bigint, pg_snapshot_xmax(now)::text::bigint,
            case when coalesce(number, 1) = 1
                then array(select running::text::bigint from pg_snapshot_xip(now) running) end,
            clock_timestamp(), id, xid, at, first, task_ids, task_types, queues, statuses, attempts, progress, owners
        from pg_current_snapshot() now left join lateral (
            select row_number() over (order by xid, id, slice.first) as number, id, xid, at, slice.first as first,
                task_ids[slice.first + 1 : slice.first + step] as task_ids,
                task_types[slice.first + 1 : slice.first + step] as task_types,
                queues[slice.first + 1 : slice.first + step] as queues,
                statuses[slice.first + 1 : slice.first + step] as statuses,
                attempts[slice.first + 1 : slice.first + step] as attempts,
                progress[slice.first + 1 : slice.first + step] as progress,
                owners[slice.first + 1 : slice.first + step] as owners
            from (
                (select * from task_events
                where xid >= $1 and (xid, id) >= ($3, $4) and xid < $6 and xid <> all($7)
                order by xid, id limit $8 + 1)
                union all
                (select * from task_events
                where xid = any($2) and xid < $1 and (xid, id) >= ($3, $4) and xid < $6 and xid <> all($7)
                order by xid, id limit $8 + 1)
            ) changes
            cross join lateral (select case when pg_column_size(progress) > 65536 then 1 else 100 end) size (step)
            cross join lateral generate_series(
                case when (xid, id) = ($3, $4) then $5 else 0 end, cardinality(task_ids) - 1, step) slice (first)
            order by xid, id, slice.first limit $8
        ) event on true
        order by number";
    type Args = (BigInt, Array<BigInt>, BigInt, BigInt, Integer, BigInt, Array<BigInt>, BigInt);
    type Row = (
        BigInt,
        BigInt,
        Nullable<Array<BigInt>>,
        Timestamptz,
        Nullable<BigInt>,
        Nullable<BigInt>,
        Nullable<Timestamptz>,
        Nullable<Integer>,
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
    oldest: i64,
    next: i64,
    running: Option<Vec<i64>>,
    now: DateTime<Utc>,
    id: Option<i64>,
    transaction: Option<i64>,
    at: Option<DateTime<Utc>>,
    first: Option<i32>,
    task_ids: Option<Vec<Uuid>>,
    task_types: Option<Vec<String>>,
    queues: Option<Vec<String>>,
    statuses: Option<Vec<String>>,
    attempts: Option<Vec<i32>>,
    progress: Option<Vec<Option<Stored>>>,
    owners: Option<Vec<Option<Uuid>>>,
}

/// At most `at_most` statements' changes, or parts of them with a hundred tasks, that come next behind `cursor`.
///
/// # Errors
/// As the database tells.
pub async fn read(connection: &mut AsyncPgConnection, cursor: &Cursor, at_most: usize) -> Result<Look> {
    let Wanted { from, also, behind, until } = cursor.wanted();
    let (next, running) = until.map_or((i64::MAX, &[][..]), |until| (until.next, &until.running));
    let entry = i32::try_from(behind.entry).unwrap_or(i32::MAX).saturating_add(1);
    let limit = i64::try_from(at_most).unwrap_or(i64::MAX - 1);
    let values = (from, also, behind.transaction, behind.row, entry, next, running, limit);
    let mut rows: Vec<Row> = Statement::<ReadEvents, _>::with(values).get_results(connection).await?;

    // There is always one line, with the snapshot.
    let head = rows.first_mut().map(|row| (row.oldest, row.next, row.running.take(), row.now));
    let (oldest, next, running, now) =
        head.ok_or_else(|| Error::internal("no snapshot came with the events"))?;
    let seen = Snapshot { oldest, next, running: running.unwrap_or_default() };
    let snapshot = Arc::new(until.cloned().unwrap_or(seen));
    let changes: Vec<_> = rows.into_iter().filter_map(|row| row.into_changes().map(Arc::new)).collect();
    Ok(Look { more: changes.len() >= at_most, changes, snapshot, now })
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
        Some(Changes::new(transaction, row, usize::try_from(self.first?).ok()?, events))
    }
}
